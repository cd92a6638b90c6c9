"""The one-step N-body protocol, and the rows of `equidrift bench backbones`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equidrift.bench import backbones
from equidrift.models.shared.backbones import fit
from equidrift.models.shared.backbones.choice import TRUNKS
from equidrift.models.shared.backbones.products import PRODUCTS, product_ms
from equidrift.models.trajectories.arrays import nbody


@pytest.fixture(scope="module")
def systems():
    return backbones.one_step(0, 160)


@pytest.mark.long
def test_systems_are_the_same_when_they_are_drawn_in_another_batch(systems):
    again = backbones.one_step(150, 160)
    assert torch.equal(systems[150:].later, again.later)


def test_motion_keeps_the_total_momentum(systems):
    """Forces are equal and opposite; only a clipped one is not."""
    seconds = (backbones.ASKED - backbones.GIVEN) * nbody.SPACING
    drift = systems.later.mean(1) - systems.positions.mean(1)
    gap = (drift - seconds * systems.velocities.mean(1)).abs().amax(1)
    assert gap.median() < 1e-6


def test_straight_lines_err_as_published(systems):
    """0.0819 is the published error of the best linear law; a straight line is a little
    worse, and no movement much worse.
    """
    rows = {row["row"]: row["values"]["MSE"] for row in backbones.baselines(systems)}
    assert 0.06 < rows["nbody/straight-line"] < 0.2 < rows["nbody/no-movement"] < 0.6


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in TRUNKS if name not in backbones.LEFT_OUT])
def test_a_trunk_learns_and_its_row_tells_what_it_took(systems, name, monkeypatch):
    monkeypatch.setattr(backbones, "TRAIN", 128)
    monkeypatch.setattr(backbones, "WIDTH", 8)
    monkeypatch.setattr(backbones, "LAYERS", 1)
    monkeypatch.setattr(fit, "BATCH", 16)
    clock = iter(np.arange(1000.0))  # a second a step: as many of them on a crowded machine
    monkeypatch.setattr(fit.time, "process_time", lambda: float(next(clock)))
    found = backbones.trunk_row(name, systems, 60.0)
    values = found["values"]
    still = backbones.baselines(systems[128:])[0]["values"]["MSE"]
    assert found["row"] == f"nbody/{name}" and values["n"] == 32
    assert values["MSE"] < 0.9 * still and values["MSE_se"] > 0
    assert values["steps"] == values["cpu_s"] == 60 and values["ms"] > 0
    exact = name != "ponita"
    assert (values["equivariance_error"] < 1e-4) is exact


def test_training_is_the_same_at_a_seed_when_steps_are_the_same(systems, monkeypatch):
    clock = iter(np.arange(1000.0))
    monkeypatch.setattr(fit.time, "process_time", lambda: float(next(clock)))
    one, other = (fit.fit("egcl", systems, 4.0, width=8, layers=1) for _ in range(2))
    assert one[1].steps == other[1].steps == 4
    for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_rows_of_products_count_the_couplings(monkeypatch):
    monkeypatch.setattr(backbones, "DEGREES", (1, 2))
    rows = {row["row"]: row["values"] for row in backbones.product_rows(1)}
    assert len(rows) == 2 * len(PRODUCTS)
    assert rows["product-L2/clebsch-gordan"]["couplings"] == 15
    assert rows["product-L2/gaunt-grid"]["couplings"] == 11
    assert all(values["ms"] > 0 for values in rows.values())


def test_a_product_costs_more_when_its_degree_is_higher():
    low, high = (product_ms("clebsch-gordan", degree, 3, pairs=200) for degree in (1, 5))
    assert high > 3 * low
