"""Rows of `equidrift bench backbones` on energies, forces and gaps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.bench import backbones_molecules as bench
from equidrift.bench.machine import silent
from equidrift.models.shared.backbones import energies, fit
from equidrift.models.shared.backbones.choice import make_trunk
from equidrift.models.shared.backbones.trunk import Sizes

DATA = Path(os.environ.get("EQUIDRIFT_DATA", "/nowhere"))
NUMBERS = np.array([8, 1, 1, 6])
SPRING = 2.0


def springs(count: int, seed: int = 0) -> energies.Clouds:
    """Molecules whose atoms are tied to each other by springs of 1.5 A."""
    rng = np.random.default_rng(seed)
    rest = np.array([[0, 0, 0], [1.4, 0, 0], [0, 1.4, 0], [0, 0, 1.4]])
    x = rest + 0.2 * rng.standard_normal((count, 4, 3))
    line = x[:, :, None] - x[:, None]
    d = np.linalg.norm(line, axis=-1) + np.eye(4)
    off = (d - 1.5) * (1 - np.eye(4))
    energy = 0.25 * SPRING * np.square(off).sum((1, 2))
    forces = -SPRING * (off[..., None] * line / d[..., None]).sum(2)
    return bench.clouds([NUMBERS] * count, list(x), energy - energy.mean(), forces)


def test_forces_are_minus_the_slope_of_the_energy() -> None:
    torch.manual_seed(0)
    trunk = make_trunk("radial", Sizes(5, width=8, layers=1)).double().eval()
    double = energies.Clouds(*(part.double() for part in vars(springs(3)).values()))
    _, forces = energies.predicted(trunk, double)
    step = 1e-5
    for axis in range(3):
        moved = []
        for sign in (1.0, -1.0):
            x = double.positions.clone()
            x[:, 1, axis] += sign * step
            moved.append(
                energies.predicted(
                    trunk, energies.Clouds(double.elements, x, double.energies, double.forces)
                )[0]
            )
        slope = (moved[0] - moved[1]) / (2 * step)
        torch.testing.assert_close(forces[:, 1, axis], -slope.detach(), atol=1e-7, rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("name", ["radial", "egcl", "ponita", "local-frames"])
def test_a_trunk_learns_energies_and_forces_and_its_row_tells_what_it_took(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "WIDTH", 8)
    monkeypatch.setattr(bench, "LAYERS", 1)
    clock = iter(np.arange(1000.0))  # a second a step
    monkeypatch.setattr(fit.time, "process_time", lambda: float(next(clock)))
    values = bench.trunk_values(name, springs(64), springs(32, 1), 60.0, 16, 1.0)
    still = springs(32, 1).forces.abs().mean()
    assert values["forces_meV_A"] < 0.8 * float(still) and values["forces_meV_A_se"] > 0
    assert values["steps"] == values["cpu_s"] == 60 and values["parameters"] > 100
    assert (values["equivariance_error"] < 1e-4) is (name != "ponita")


def test_a_number_without_forces_is_a_mean_over_the_atoms_that_there_are() -> None:
    torch.manual_seed(0)
    trunk = make_trunk("radial", Sizes(5, width=8, layers=1)).eval()
    one, two = NUMBERS, np.array([6, 1])
    places = [np.eye(4)[:, :3] * 1.3, np.eye(2, 3)]
    both = bench.clouds([one, two], places, np.zeros(2))
    alone = bench.clouds([two], places[1:], np.zeros(1))
    with torch.no_grad():
        together, single = (energies.predicted(trunk, c)[0] for c in (both, alone))
    torch.testing.assert_close(together[1], single[0], atol=1e-6, rtol=1e-5)
    assert set(energies.errors(trunk, both, 2)) == {"energy"}


def test_rows_of_a_data_set_begin_with_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "TRUNKS", ("radial", "frames"))
    monkeypatch.setitem(bench.BUDGET_S, "rmd17", (0.01, 9.0))
    monkeypatch.setattr(bench, "WIDTH", 8)
    rows = bench.set_rows("x", "rmd17", springs(16), springs(8, 1), 0.5, False, silent)
    assert [row["row"] for row in rows] == ["x/mean", "x/radial"]
    mean = rows[0]["values"]
    assert mean["n"] == 8
    assert mean["energy_meV"] == pytest.approx(500 * float(springs(8, 1).energies.abs().mean()))


def test_nothing_is_measured_without_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EQUIDRIFT_DATA", raising=False)
    assert bench.molecule_rows(False, silent) == []


@pytest.mark.long
@pytest.mark.skipif(not (DATA / "rmd17").is_dir(), reason="EQUIDRIFT_DATA holds no rmd17")
def test_frames_and_gaps_are_read_in_ev() -> None:
    train, unseen, scale_eV = bench.rmd17(DATA, "ethanol", 30)
    assert len(train) == 950 and len(unseen) == 30 and train.nodes.all()
    assert 0.5 < scale_eV < 3 and float(train.forces.square().mean()) == pytest.approx(1, rel=1e-4)
    assert 0.1 < scale_eV * float(train.energies.std()) < 0.4, "kT sqrt(21 / 2) at 500 K is .14"
    train, unseen, scale_eV = bench.qm9_gaps(DATA, 60, 20)
    assert len(train) == 60 and len(unseen) == 20 and not train.with_forces
    assert 0.8 < scale_eV < 2.0 and abs(float(train.energies.mean())) < 1e-5
    assert set(train.nodes.sum(1).tolist()) != {train.nodes.shape[1]}
