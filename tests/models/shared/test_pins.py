"""Seeds give the samples that they gave: `pins.py` says what is held,
`tools/make_pins.py` writes the numbers anew.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.models.shared import pins

TOLERANCE = 2e-3  # of an array's spread: processors differ by a tenth of it


@pytest.mark.parametrize("name", pins.SAMPLES)
def test_samples_stay_the_same_at_fixed_seeds(name: str) -> None:
    held, made = json.loads(pins.FILE.read_text())[name], pins.summary(pins.SAMPLES[name]())
    assert made["shape"] == held["shape"]
    for key in ("mean", "spread", "some"):
        np.testing.assert_allclose(
            made[key],
            held[key],
            rtol=0,
            atol=TOLERANCE * max(held["spread"], 1e-3),
            err_msg=f"{name}: {key}",
        )


@pytest.mark.long
@pytest.mark.parametrize("name", pins.TRAININGS)
def test_losses_of_a_short_training_stay_the_same(name: str) -> None:
    held, made = json.loads(pins.FILE.read_text())[name]["some"], pins.TRAININGS[name]()
    np.testing.assert_allclose(
        made,
        held,
        rtol=TOLERANCE,
        atol=1e-4,
        err_msg="held-out loss before and after, loss of the batches",
    )
