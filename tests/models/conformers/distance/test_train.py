"""Training se3-distance: what comes out samples, and what is wrong with a config is
said.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.models.conformers.train import run_training
from equidrift.records import Molecule
from equidrift.registry import make_model
from tests.models.shared.trainings import distance


def test_trained_model_samples_by_its_path(tmp_path: Path) -> None:
    _, config = distance(tmp_path)
    done = run_training({**config, "schedule": {"steps": 3}}, tmp_path / "out", None)
    assert done["steps"] == 3 and done["conformers"] == 5
    made = make_model(done["weights"]).sample(Molecule.from_smiles("CCO"), np.arange(2), steps=4)
    assert made.shape == (2, 9, 3) and np.isfinite(made).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "nowhere"}, "make_distance_data.py writes them"),
        ({"network": {"hiden": 3}}, "network.hiden: is no setting of the network"),
        ({"gfn2_share": 1.5}, "gfn2_share: must be"),
    ],
)
def test_training_says_what_is_wrong(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    _, config = distance(tmp_path)
    with pytest.raises(InputError, match=message):
        run_training({**config, "schedule": {"steps": 3}, **change}, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()
