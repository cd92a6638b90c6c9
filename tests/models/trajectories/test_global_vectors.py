"""Global vectors: forecasts are exact about them, free off them, and worth having."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.diffusion.egtn import EGTN, EGTNConfig, calm
from equidrift.models.trajectories.graphs import array_graph
from equidrift.models.trajectories.integrator.network import ForceConfig, make_force
from equidrift.models.trajectories.train import run_training
from tests.models.shared.backbones.rotations import about
from tests.models.trajectories.networks import (
    CONFIGS,
    GIVEN,
    awake,
    forecast,
    noise,
    system,
    walks,
    with_axes,
)

AXIS = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
ACROSS = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
FIELD = AXIS.expand(2, 1, 3)
COUNT = 48  # systems of a short training


@pytest.mark.parametrize("kind", CONFIGS)
def test_forecasts_turn_about_the_field_and_not_off_it(kind: str) -> None:
    network, x, normal = awake(with_axes(CONFIGS[kind], 1)), walks(), noise()
    made = forecast(network, system(FIELD), x, normal)
    moved = (made - x[:, GIVEN - 1 : GIVEN]).abs().max()
    for axis, exact in ((AXIS, True), (ACROSS, False)):
        turn = about(axis, 1.7)
        found = forecast(network, system(FIELD), x @ turn.mT, normal @ turn.mT)
        assert (float((found - made @ turn.mT).abs().max() / moved) < 1e-5) is exact
    turn = about(ACROSS, 1.7)
    together = forecast(network, system(FIELD @ turn.mT), x @ turn.mT, normal @ turn.mT)
    assert float((together - made @ turn.mT).abs().max() / moved) < 1e-5


@pytest.mark.parametrize("kind", ["residual", "egnn", "integrator", "integrator of blocks"])
def test_all_turns_are_back_where_the_field_is_zero(kind: str) -> None:
    network, x, normal = awake(with_axes(CONFIGS[kind], 1)), walks(), noise()
    none, turn = system(0.0 * FIELD), about(ACROSS, 1.7)
    made = forecast(network, none, x, normal)
    found = forecast(network, none, x @ turn.mT, normal @ turn.mT)
    torch.testing.assert_close(found, made @ turn.mT, atol=1e-4, rtol=1e-5)


def charges(count: int) -> tuple[Any, Tensor, Tensor]:
    """Graphs of charges in fields of any direction, where they are (b, n, 3), and the
    accelerations: of the field, and of a spring between each two.
    """
    draw = torch.Generator().manual_seed(8)
    x = torch.randn(count, 4, 3, generator=draw)
    charge = torch.randint(0, 2, (count, 4, 1), generator=draw) * 2.0 - 1
    field = torch.randn(count, 1, 3, generator=draw)
    field = field / field.norm(dim=-1, keepdim=True)
    graph = array_graph(charge.numpy(), np.zeros((count, 4, 4, 1)), vectors=field.numpy())
    return graph, x, charge * field - 0.3 * (x - x.mean(1, keepdim=True))


def left(kind: str, told: bool, steps: int) -> float:
    """Share of the variance of the accelerations that a short training leaves."""
    graph, x, wanted = charges(COUNT)
    axes = int(told)
    graph = graph if told else replace(graph, vectors=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "egtn":
            network: Any = EGTN(EGTNConfig(1, 1, 16, 1, True, times=False, global_vectors=axes))
            calm(network)
        else:
            sizes = {"blocks": int(kind == "blocks"), "shortest": 0.2, "longest": 8.0}
            network = make_force(
                ForceConfig(1, 1, 16, pair_width=16, strength=1.0, global_vectors=axes, **sizes)
            )
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    clock, given = torch.zeros(1), torch.zeros(COUNT, 1, dtype=torch.bool)
    for _ in range(steps):
        if kind == "egtn":
            found = network(graph, x[:, None], clock, given)[0][:, 0] - x
        else:
            found = network(network.prepare(graph), x, 0.0)
        loss = (found - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach() / wanted.square().mean())


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pairs", "blocks", "egtn"])
def test_a_field_is_learned_where_it_is_told_and_not_otherwise(kind: str) -> None:
    assert left(kind, told=True, steps=150) < 0.01
    assert left(kind, told=False, steps=40) > 0.3


def test_particles_in_a_field_train_and_are_continued_by_vectors(tmp_path: Path) -> None:
    data = nbody.simulate(nbody.FIELD, 0, 6, frames=14)
    assert data.vectors is not None and data.vectors.shape == (6, 1, 3)
    mean = data.positions - nbody.simulate("charged", 0, 6, frames=14).positions
    assert np.abs(mean).max() > 0.1, "the field moves them"
    done = run_training(
        {
            "kind": "integrator",
            "data": f"nbody:{nbody.FIELD}",
            "trajectories": 6,
            "network": {"pair_width": 8},
            "pairs_per_batch": 200,
            "schedule": {"steps": 3},
        },
        tmp_path,
        None,
    )
    model = GeometricTrajectoryModel(done["weights"])
    asked = data.positions[0, :10], data.nodes[0], data.edges[0], 4, range(2)
    made = model.continue_(*asked, vectors=data.vectors[0])
    assert made.shape == (2, 4, 5, 3)
    with pytest.raises(InputError, match=r"must hold 1 global vectors .* and there are 0"):
        model.continue_(*asked)
    with pytest.raises(InputError, match=r"vectors must be \(2, vectors, 3\)"):
        model.continue_(*asked, vectors=[0.0, 0.0, 1.0])


def test_arrays_of_ones_own_hold_their_vectors(tmp_path: Path) -> None:
    data = nbody.simulate(nbody.FIELD, 0, 4, frames=8)
    held = {"positions": data.positions, "nodes": data.nodes, "edges": data.edges}
    np.savez(tmp_path / "mine.npz", **held, vectors=data.vectors, spacing=0.1)
    done = run_training(
        {
            "kind": "geotdm",
            "options": {"form": "residual"},
            "data": f"arrays:{tmp_path / 'mine.npz'}",
            "network": {"width": 8, "layers": 1, "heads": 1},
            "frames": 6,
            "context": 3,
            "pairs_per_batch": 400,
            "schedule": {"steps": 2},
        },
        tmp_path / "run",
        None,
    )
    model = GeometricTrajectoryModel(done["weights"])
    assert model.card["config"]["network"]["global_vectors"] == 1
    assert model.card["config"]["comoving"] is True
    given = np.arange(6) < 3
    made = model.complete_many(
        data.positions[:, :6], data.nodes, data.edges, given, np.arange(4), vectors=data.vectors
    )
    assert np.isfinite(made).all()
