"""Learned prior paths, and layers in bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.diffusion.egtn import (
    EGTN,
    EGTNConfig,
    TemporalLayer,
    sinusoidal,
)
from equidrift.models.trajectories.diffusion.frames import FrameBatch, KnownFrames
from equidrift.models.trajectories.diffusion.residual import residual_loss
from equidrift.models.trajectories.networks import make_network
from equidrift.models.trajectories.train import run_training
from tests.models.trajectories.networks import CONFIGS, GIVEN, N, T, awake, system, walks

LEARNED = CONFIGS["residual of a learned path"]


def known(x: torch.Tensor, given: torch.Tensor) -> KnownFrames:
    return KnownFrames(system(), x, torch.arange(len(given)).double(), given)


@torch.no_grad()
def line_of(network: Any, x: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    return network.line(known(x, given))


def test_learned_path_is_the_last_frame_where_nothing_was_learned() -> None:
    network = make_network(LEARNED).double()
    with torch.no_grad():
        for name, p in network.prior.named_parameters():
            if "move" in name:
                p.zero_()
    x, given = walks(), torch.arange(T) < GIVEN
    torch.testing.assert_close(line_of(network, x, given), x[:, GIVEN - 1 : GIVEN].expand_as(x))


@pytest.mark.parametrize("mask", [[1, 1, 1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 1, 0]])
def test_learned_path_is_an_affine_combination_of_the_given_frames(mask: list[int]) -> None:
    network = awake(LEARNED)
    x, given = walks(), torch.tensor(mask, dtype=torch.bool)
    path = line_of(network, x, given)
    shift = torch.tensor([5.0, -3.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(line_of(network, x + shift, given), path + shift)
    spoilt = torch.where(given[None, :, None, None], x, 100.0)
    torch.testing.assert_close(line_of(network, spoilt, given), path)
    assert float((path - x[:, given][:, -1:]).abs().max()) > 0.01
    none = torch.zeros(T, dtype=torch.bool)
    assert not line_of(network, x, none).any()


def test_learned_path_learns_with_the_rest_and_refuses_longer_windows() -> None:
    network = awake(LEARNED)
    batch = FrameBatch(system(), walks(), torch.arange(T).double(), torch.arange(T) < GIVEN)
    residual_loss(network, batch).backward()
    assert float(network.gamma.grad[GIVEN:].abs().min()) > 0
    longer = torch.cat([walks(), walks()], 1)
    with pytest.raises(InputError, match="windows of 8 frames at most, and got 16"):
        network.line(known(longer, torch.arange(2 * T) < GIVEN))


def test_residuals_teach_a_learned_path_and_not_their_own_units() -> None:
    batch = FrameBatch(system(), walks(), torch.arange(T).double(), torch.arange(T) < GIVEN)
    network = awake(LEARNED | {"reads_path": True})
    network.prior_of(batch).residual(batch.frames).square().sum().backward()
    assert float(network.gamma.grad[GIVEN:].abs().min()) > 0
    assert all(p.grad is None for p in network.path_spread.head.parameters())


def test_learned_path_is_an_option_of_a_training(tmp_path: Path) -> None:
    done = run_training(
        {
            "kind": "geotdm",
            "options": {"form": "residual", "prior": "learned"},
            "data": "nbody:spring",
            "trajectories": 4,
            "network": {"width": 8, "layers": 1, "heads": 1, "bf16": True},
            "frames": 8,
            "context": 4,
            "pairs_per_batch": 400,
            "schedule": {"steps": 2},
        },
        tmp_path,
        None,
    )
    data = nbody.simulate("spring", 0, 1, frames=8)
    model = GeometricTrajectoryModel(done["weights"])
    made = model.continue_(data.positions[0, :4], data.nodes[0], data.edges[0], 4, range(2))
    assert made.shape == (2, 4, N, 3)


def test_conditioning_called_cross_is_refused_and_the_masked_one_draws_nothing_given() -> None:
    """What was called "cross" is no cross-attention: given frames pass all layers, and the
    temporal ones update the drawn frames alone.
    """
    with pytest.raises(UnknownNameError, match="masked"):
        EGTNConfig(conditioning="cross")  # type: ignore[arg-type]
    layer = TemporalLayer(EGTNConfig(width=16, conditioning="masked"))
    x, h = walks().float(), torch.randn(2, T, N, 16, generator=torch.Generator().manual_seed(0))
    given = torch.arange(T) < GIVEN
    drawn = (~given).float()[None, :, None, None].expand(2, -1, 1, 1)
    difference = sinusoidal((torch.arange(T)[:, None] - torch.arange(T))[None].float())
    with torch.no_grad():
        y, k = layer(x, h, difference, drawn)
    assert torch.equal(y[:, given], x[:, given]) and torch.equal(k[:, given], h[:, given])
    assert not torch.equal(y[:, ~given], x[:, ~given])


def test_bfloat16_moves_positions_as_single_precision_does_and_keeps_them_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    sizes = {"width": 32, "layers": 2, "heads": 2, "scaled": True, "velocities": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        full = EGTN(EGTNConfig(**sizes, times=False))
    half = EGTN(EGTNConfig(**sizes, times=False, bf16=True))
    half.load_state_dict(full.state_dict())
    graph = system()
    graph.node, graph.edge = graph.node.float(), graph.edge.float()
    x, clock, given = walks().float(), torch.arange(T).float(), torch.zeros(2, T).bool()
    with torch.no_grad():
        (one, h), (other, k) = (net(graph, x, clock, given) for net in (full, half))
        far = half(graph, x + 50.0, clock, given)[0] - 50.0
    moved = float((one - x).abs().max())
    assert other.dtype == k.dtype == torch.float32 and moved > 0.01
    assert 0 < float((other - one).abs().max()) < 0.05 * moved
    assert float((far - other).abs().max()) < 0.02 * moved + 1e-4
    assert float((k - h).norm() / h.norm()) < 0.05
