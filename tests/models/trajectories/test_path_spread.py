"""Prior paths of plain arrays by an integrator, and spreads that the path tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError, WeightsError
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.arrays.carried_path import CarriedPath
from equidrift.models.trajectories.diffusion.frames import FrameBatch
from equidrift.models.trajectories.diffusion.path_spread import Prior, spread_loss
from equidrift.models.trajectories.networks import make_network
from equidrift.models.trajectories.train import run_training
from tests.models.trajectories.networks import CONFIGS, GIVEN, T, system, walks

SPREAD = CONFIGS["residual in the path's own spread"]
QUIET, LOUD = 0.01, 0.3  # how far the two kinds of particles stray in a frame
SMALL: dict[str, Any] = {
    "kind": "geotdm",
    "options": {"form": "residual", "prior": "integrator", "reads_path": True},
    "prior_weights": "nbody-spring",
    "data": "nbody:spring",
    "trajectories": 12,
    "frames": 8,
    "context": 4,
    "given": "forecast",
    "network": {"width": 8, "layers": 1, "heads": 2},
    "pairs_per_batch": 1000,
    "schedule": {"steps": 3},
}


def test_spread_is_the_ordinary_one_before_training() -> None:
    network = make_network(SPREAD).double()
    network.spread.copy_(torch.arange(1.0, T + 1))
    batch = FrameBatch(system(), walks(), torch.arange(T).double(), torch.arange(T) < GIVEN)
    prior = network.prior_of(batch)
    torch.testing.assert_close(prior.units, prior.usual.expand_as(prior.units))


def test_spread_loss_is_least_at_the_spread_of_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(2, T, 5, 3, dtype=torch.float64, generator=generator)
    batch = FrameBatch(system(), x, torch.arange(T).double(), torch.arange(T) < GIVEN)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)

    def loss(width: float) -> float:
        return float(spread_loss(Prior(torch.zeros_like(x), width * one, one), batch))

    # Student's distribution of 5 degrees of freedom takes a Gaussian for somewhat wider
    found = min(np.linspace(0.1, 0.9, 81), key=loss)
    assert 0.3 <= found <= 0.45


def two_kinds(count: int, seed: int) -> tuple[NDArray[np.float64], ...]:
    """Trajectories (count, 8, 3, 3) of walkers, of which some are loud, as their node
    feature says.
    """
    rng = np.random.default_rng(seed)
    loud = rng.integers(0, 2, (count, 3, 1)).astype(float)
    step = 0.2 * rng.standard_normal((count, 1, 3, 3))
    x = rng.standard_normal((count, 1, 3, 3)) + step * np.arange(8)[:, None, None]
    width = np.where(loud > 0, LOUD, QUIET)[:, None]
    x = x + width * rng.standard_normal(x.shape) * (np.arange(8) >= 4)[:, None, None]
    return x, loud, np.zeros((count, 3, 3, 1))


@pytest.mark.long
def test_samples_spread_as_far_as_the_particles_of_their_kind(tmp_path: Path) -> None:
    x, nodes, edges = two_kinds(400, 0)
    model = GeometricTrajectoryModel.fit(
        x,
        nodes,
        edges,
        kind="geotdm",
        budget_s=600.0,
        out=tmp_path / "run",
        options={"form": "residual", "reads_path": True, "comoving": False},
        network={"width": 16, "layers": 1, "heads": 2},
        context=4,
        given="forecast",
        pairs_per_batch=72 * 32,
        schedule={"steps": 600, "learning_rate": 5e-3, "ema": 0.98},
    )
    x, nodes, edges = two_kinds(1, 1)
    nodes[0, :, 0] = [0.0, 1.0, 0.0]
    made = model.continue_(x[0, :4], nodes[0], edges[0], 4, range(100))
    quiet, loud = (made[:, :, k].std(0).mean() for k in ([0, 2], [1]))
    assert 0.5 * QUIET < quiet < 3 * QUIET
    assert 0.7 * LOUD < loud < 1.4 * LOUD


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("spread") / "run"
    return str(run_training(SMALL, out, None)["weights"])


def test_samples_are_the_integrators_path_when_the_residual_is_none(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = nbody.simulate("spring", 5000, 5002, frames=8)
    given, seeds = np.arange(8) < 4, np.arange(2)
    asked = data.positions, data.nodes, data.edges, given, seeds
    model = GeometricTrajectoryModel(weights)
    wide = model.complete_many(*asked)
    monkeypatch.setattr(model.network, "denoised", lambda known, y, *_: torch.zeros_like(y))
    narrow = model.complete_many(*asked)
    mean = GeometricTrajectoryModel("nbody-spring", noise=0.0).complete_many(*asked)
    np.testing.assert_array_equal(wide[:, given], data.positions[:, given])
    assert np.abs(wide - mean)[:, ~given].max() > 1e-6
    np.testing.assert_allclose(narrow, mean, atol=1e-5)


def test_trained_network_says_whose_path_it_goes_on_from(weights: str) -> None:
    training = GeometricTrajectoryModel(weights).training
    assert training["prior_weights"] == "nbody-spring"
    assert training["prior_sha256"] == CarriedPath("nbody-spring").weights_sha256


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prior_weights": ""}, "set prior_weights, such as nbody-charged"),
        ({"prior_weights": "pedestrians-eth"}, "pedestrians-eth is of kind modes"),
    ],
)
def test_prior_weights_are_refused_when_they_carry_nothing_on(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        run_training(SMALL | changes, tmp_path / "run", None)


def test_integrator_of_other_weights_is_refused_for_plain_arrays() -> None:
    with pytest.raises(WeightsError, match="train it again"):
        CarriedPath("nbody-spring", "0" * 64)
