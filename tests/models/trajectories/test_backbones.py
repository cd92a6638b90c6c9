"""`backbone:` of a trajectory training picks the trunk of a frame-to-frame network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.shared.backbones.choice import TRUNKS
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.arrays.egnn import EGNN, EGNNConfig, Rolls, roll, step_loss
from equidrift.models.trajectories.graphs import array_graph
from tests.models.shared.backbones.rotations import random_rotations


@pytest.fixture(scope="module")
def spring() -> nbody.NBody:
    return nbody.simulate("spring", 0, 8, frames=12)


@pytest.mark.parametrize("name", [name for name in TRUNKS if name != "egcl"])
def test_a_trunk_rolls_frames_on_and_keeps_its_symmetry(spring: nbody.NBody, name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = EGNN(EGNNConfig(width=8, layers=1, backbone=name))
    graph, x = array_graph(spring.nodes, spring.edges), torch.from_numpy(spring.positions)
    made = roll(model, graph, x[:, 0], x[:, 1], 3)
    shifted = roll(model, graph, x[:, 0] + 7, x[:, 1] + 7, 3)
    torch.testing.assert_close(shifted, made + 7, atol=1e-5, rtol=1e-5)
    if name != "ponita":
        turn = random_rotations(1)[0]
        turned = roll(model, graph, x[:, 0] @ turn.mT, x[:, 1] @ turn.mT, 3)
        torch.testing.assert_close(turned, made @ turn.mT, atol=1e-5, rtol=1e-5)


def test_a_trunk_learns_the_steps_of_springs(spring: nbody.NBody) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = EGNN(EGNNConfig(width=16, layers=2, backbone="radial"))
    graph, x = array_graph(spring.nodes, spring.edges), torch.from_numpy(spring.positions)
    optimiser, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(25):
        optimiser.zero_grad()
        loss = step_loss(model, Rolls(graph, x[:, :4]))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5


SETTINGS = {
    "network": {"width": 8, "layers": 1},
    "schedule": {"steps": 3},
    "interpolate_steps": 2,
    "pairs_per_batch": 200,
}


def test_a_training_takes_a_backbone_and_its_model_is_loaded_with_it(
    tmp_path: Path, spring: nbody.NBody
) -> None:
    arrays = spring.positions, spring.nodes, spring.edges
    model = GeometricTrajectoryModel.fit(
        *arrays, kind="egnn", backbone="ponita", out=tmp_path, **SETTINGS
    )
    again = GeometricTrajectoryModel(next(tmp_path.glob("*.safetensors")))
    given = np.arange(12) < 3
    one = spring.positions[0], spring.nodes[0], spring.edges[0], given, range(2)
    assert again.network.config.backbone == "ponita"
    np.testing.assert_allclose(model.complete(*one), again.complete(*one), atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "backbone", "told"),
    [("egnn", "ponyta", "unknown backbone 'ponyta'"), ("flow", "ponita", "give kind: egnn")],
)
def test_a_backbone_is_refused_when_it_is_unknown_or_has_no_place(
    tmp_path: Path, spring: nbody.NBody, kind: str, backbone: str, told: str
) -> None:
    arrays = spring.positions, spring.nodes, spring.edges
    with pytest.raises(InputError, match=told):
        GeometricTrajectoryModel.fit(
            *arrays, kind=kind, backbone=backbone, out=tmp_path, **SETTINGS
        )
