"""The systems of B.7 and the rows of `equidrift bench fields`."""

from __future__ import annotations

import pytest
import torch

from equidrift.errors import UnknownNameError
from equidrift.models.fields.benchmark import TASKS, system_rows, test_sets_1d, test_sets_2d
from equidrift.models.fields.data import SAWTOOTH_VARIANCE, SYSTEMS_1D, SYSTEMS_2D, Functions, draw_functions, radial_grid

test_sets_1d.__test__ = test_sets_2d.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("system", ["se", "matern52", "weakly-periodic"])
def test_shipped_gps_are_near_the_optimum_in_both_windows(system: str) -> None:
    for task, shift in TASKS.items():
        rows = {r["row"]: r["values"]["loglik"] for r in system_rows(system, task, test_sets_1d(system, shift, 100), 50)}
        assert rows[f"{system}/{task}"] == pytest.approx(rows[f"{system}/{task}-gp-optimum"], abs=0.03)
        assert rows[f"{system}/{task}-gp-diagonal"] < rows[f"{system}/{task}-gp-optimum"] - 0.5
        assert f"{system}/{task}-geomndp-published" in rows


def test_variances() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(500, 100, 1, generator=generator) - 2
    assert float(draw_functions("sawtooth", x, generator).var()) == pytest.approx(SAWTOOTH_VARIANCE, rel=0.02)
    assert float(draw_functions("mixture", x, generator).var()) == pytest.approx(1.0, rel=0.1)
    assert len(radial_grid()) == 648


@pytest.mark.parametrize("system", [*SYSTEMS_1D, *SYSTEMS_2D])
def test_batches_are_functions_of_the_step(system: str) -> None:
    source = Functions(system, 4, seed=1, points=12)
    one, again, other = source(3), source(3), source(4)
    assert all(torch.equal(a, b) for a, b in zip(one, again)) and not torch.equal(one[1], other[1])
    d = 2 if system in SYSTEMS_2D else 1
    assert one[0].shape == one[1].shape == (4, 12, d) and bool(one[2].any(-1).all())


def test_unknown_system() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'sawtooth'"):
        Functions("sawtoth")
