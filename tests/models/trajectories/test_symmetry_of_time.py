"""Boosts: who moves along sees the same motion, for every kind of model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.diffusion.frames import KnownFrames
from tests.models.trajectories.networks import (
    CONFIGS,
    GIVEN,
    T,
    awake,
    forecast,
    noise,
    system,
    walks,
)

VELOCITY = torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64)
WAY = torch.arange(T).double()[:, None, None] * VELOCITY


def change(kind: str, comoving: bool = True) -> float:
    """By how much a boosted forecast differs from the boost of the forecast, over how far
    things move.
    """
    config = CONFIGS[kind]
    network = awake(config | {"comoving": comoving} if "comoving" in config else config)
    x, graph, normal = walks(), system(), noise()
    made = forecast(network, graph, x, normal)
    boosted = forecast(network, graph, x + WAY, normal)
    moved = (made - x[:, GIVEN - 1 : GIVEN]).abs().max()
    assert moved > 1e-2
    return float((boosted - made - WAY[GIVEN:]).abs().max() / moved)


@pytest.mark.parametrize("kind", CONFIGS)
def test_boosted_frames_are_continued_by_the_boosted_frames(kind: str) -> None:
    assert change(kind) < 1e-5


@pytest.mark.parametrize("kind", ["flow", "residual", "geotdm", "egnn"])
def test_boosts_show_where_the_frame_of_reference_does_not_move_along(kind: str) -> None:
    assert change(kind, comoving=False) > 1e-4


def test_samples_of_an_integrator_are_boosted_with_their_frames() -> None:
    data = nbody.simulate("charged", 0, 3, frames=14)
    model = GeometricTrajectoryModel("nbody-charged")
    given, seeds = np.arange(14) < 10, np.arange(3)
    way = 3.0 * np.arange(14)[:, None, None] * np.array([1.0, -0.5, 0.2])

    def ahead(x: np.ndarray) -> np.ndarray:
        return model.complete_many(x, data.nodes, data.edges, given, seeds)

    np.testing.assert_allclose(ahead(data.positions + way), ahead(data.positions) + way, atol=1e-6)


def test_drift_is_the_steady_motion_of_the_given_frames_alone() -> None:
    x, given = walks(), torch.arange(T) < GIVEN
    clock = 2.0 * torch.arange(T).double() + 7.0
    known = KnownFrames(system(), x, clock, given)
    moved = KnownFrames(system(), x + WAY, clock, given)
    torch.testing.assert_close(
        moved.drift()[:, 1:] - moved.drift()[:, :-1] - known.drift()[:, 1:] + known.drift()[:, :-1],
        VELOCITY.expand(2, T - 1, 1, 3),
    )
    spoilt = torch.where(given[None, :, None, None], x, 100.0)
    torch.testing.assert_close(KnownFrames(system(), spoilt, clock, given).drift(), known.drift())
    alone = KnownFrames(system(), x, clock, torch.arange(T) < 1)
    assert not alone.drift().any(), "one frame tells no motion"


def test_training_moves_along_as_sampling_does() -> None:
    from equidrift.models.trajectories.diffusion.flow import flow_loss
    from equidrift.models.trajectories.diffusion.frames import FrameBatch
    from equidrift.models.trajectories.diffusion.geotdm import geotdm_loss
    from equidrift.models.trajectories.diffusion.residual import residual_loss

    x, given, clock = walks(), torch.arange(T) < GIVEN, torch.arange(T).double()
    losses = {"flow": flow_loss, "residual": residual_loss, "geotdm": geotdm_loss}
    for kind, loss in losses.items():
        network = awake(CONFIGS[kind])
        with torch.no_grad():
            still, moving = (
                float(loss(network, FrameBatch(system(), frames, clock, given, seed=3)))
                for frames in (x, x + WAY)
            )
        assert moving == pytest.approx(still, rel=1e-6), kind


@pytest.mark.parametrize("comoving", [True, False])
def test_a_network_moves_along_as_the_one_that_it_begins_with(
    comoving: bool, tmp_path: Path
) -> None:
    from equidrift.models.trajectories.train import run_training

    config = {
        "kind": "flow",
        "data": "nbody:spring",
        "trajectories": 4,
        "network": {"width": 8, "layers": 1, "heads": 1},
        "frames": 6,
        "context": 3,
        "pairs_per_batch": 300,
        "schedule": {"steps": 1},
    }
    usual = {} if comoving else {"options": {"comoving": False}}
    first = run_training(config | usual, tmp_path / "first", None)["weights"]
    again = run_training(config | {"init": str(first)}, tmp_path / "again", None)["weights"]
    for weights in (first, again):
        assert GeometricTrajectoryModel(weights).card["config"]["comoving"] is comoving
