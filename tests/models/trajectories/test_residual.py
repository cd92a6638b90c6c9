"""The residual form of GeoTDM, and samples in fewer steps than a diffusion was trained
with: spread, symmetry, given frames, training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from equidrift.errors import UnknownNameError
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.atom_masks import drawn_atoms
from equidrift.models.trajectories.diffusion.egtn import EGTNConfig
from equidrift.models.trajectories.diffusion.frames import KnownFrames, Sampling
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM, GeoTDMConfig, draw
from equidrift.models.trajectories.diffusion.residual import (
    ResidualConfig,
    ResidualGeoTDM,
    draw_residual,
)
from equidrift.models.trajectories.graphs import array_graph
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.train import run_training

T, N = 8, 5
SPREAD = 0.05  # of the Gaussian whose exact denoiser stands in for a network
DRAWS = 400


def blank(count: int, dtype: torch.dtype = torch.float64) -> Graph:
    graph = array_graph(np.ones((count, N, 1)), np.zeros((count, N, N, 1)))
    return Graph(graph.node.to(dtype), graph.edge.to(dtype), graph.mass, graph.mask)


def numbers(count: int, d: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, T, N, d, dtype=torch.float64, generator=generator)


@pytest.mark.long
@pytest.mark.parametrize(("steps", "within"), [(1000, 0.03), (50, 0.03), (20, 0.05), (10, 0.2)])
def test_published_diffusion_keeps_the_spread_of_a_gaussian_in_fewer_steps(
    monkeypatch: pytest.MonkeyPatch, steps: int, within: float
) -> None:
    network = EGTNConfig(width=8, layers=1)
    model = GeoTDM(GeoTDMConfig(network, steps=1000, prior="last", frames=T))

    def exact(known: KnownFrames, y: Tensor, tau: Tensor) -> Tensor:
        kept = float(model.kept[tau[0]])
        return (1 - kept) ** 0.5 / (kept * SPREAD**2 + 1 - kept) * y

    monkeypatch.setattr(model, "noise_of", exact)
    generator = torch.Generator().manual_seed(0)
    x, given = torch.zeros(DRAWS, T, N, 3, dtype=torch.float64), torch.arange(T) == 0
    made = draw(
        model,
        KnownFrames(blank(DRAWS), x, torch.arange(T).double(), given),
        lambda: torch.randn(x.shape, generator=generator, dtype=x.dtype),
        Sampling(steps=steps),
    )
    assert float(made[:, 1:].std()) == pytest.approx(SPREAD, rel=within)


@pytest.fixture
def model() -> ResidualGeoTDM:
    network = EGTNConfig(width=16, layers=2, heads=2, scaled=True, velocities=True)
    made = ResidualGeoTDM(ResidualConfig(network, frames=T)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in made.named_parameters():
            size = 0.01 if "move" in name else 0.2
            p.copy_(size * torch.randn(p.shape, generator=generator))
        made.spread.fill_(0.3)
    return made.eval()


@pytest.mark.parametrize(("steps", "within"), [(5, 0.3), (10, 0.12), (20, 0.03)])
def test_residual_form_draws_the_spread_when_its_denoiser_is_exact(
    model: ResidualGeoTDM, monkeypatch: pytest.MonkeyPatch, steps: int, within: float
) -> None:
    """The exact denoiser of residuals as wide as the training's."""

    def exact(known: KnownFrames, y: Tensor, line: Tensor, sigma: Tensor) -> Tensor:
        return y / (1 + sigma[:, None, None, None].square())

    monkeypatch.setattr(model, "denoised", exact)
    x, given = torch.zeros(DRAWS, T, N, 3, dtype=torch.float64), torch.arange(T) < 2
    noise = numbers(DRAWS)
    clock = torch.arange(T).double()
    known = KnownFrames(blank(DRAWS), x, clock, given)
    made = draw_residual(model, known, lambda: noise, Sampling(steps=steps))
    assert float(made[:, 2:].std()) == pytest.approx(0.3, rel=within)


@pytest.mark.parametrize("mask", [[1, 1, 1, 0, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0], [0] * 8])
def test_residual_form_turns_shifts_and_permutes_with_its_input(
    model: ResidualGeoTDM, mask: list[int]
) -> None:
    given, clock = torch.tensor(mask, dtype=torch.bool), torch.arange(T).double()
    x, noise = 2 * numbers(2), numbers(2) + 0.1
    turn = torch.linalg.qr(numbers(1)[0, 0, :3])[0]
    turn = turn * torch.linalg.det(turn)
    order, shift = torch.tensor([3, 1, 4, 0, 2]), 5.0 if any(mask) else 0.0

    def drawn(frames: Tensor, normal: Tensor, at: Tensor = clock) -> Tensor:
        known = KnownFrames(blank(2), frames, at, given)
        return draw_residual(model, known, lambda: normal, Sampling(steps=4))

    made = drawn(x, noise)
    assert torch.equal(made[:, given], x[:, given])
    assert float((drawn(x, noise.flip(0)) - made)[:, ~given].abs().max()) > 1e-3
    close = {"atol": 1e-8, "rtol": 1e-6}
    torch.testing.assert_close(drawn(x @ turn + shift, noise @ turn), made @ turn + shift, **close)
    torch.testing.assert_close(
        drawn(x[:, :, order], noise[:, :, order]), made[:, :, order], **close
    )
    torch.testing.assert_close(drawn(x, noise, clock + 100), made, **close)


def test_residual_form_stays_nearer_when_a_start_is_noised_less(model: ResidualGeoTDM) -> None:
    x, given, noise = numbers(2), torch.arange(T) < 3, numbers(2)

    def away(level: float) -> float:
        known = KnownFrames(blank(2), x, torch.arange(T).double(), given)
        made = draw_residual(model, known, lambda: noise, Sampling(start=x, level=level))
        return float((made - x)[:, 3:].abs().mean())

    assert away(0.05) < away(0.3) < away(0.8)


def test_form_of_geotdm_is_named_when_it_is_unknown(tmp_path: Path) -> None:
    config = {"kind": "geotdm", "data": "nbody:spring", "trajectories": 4, "frames": 8}
    with pytest.raises(UnknownNameError, match="residuals"):
        run_training(config | {"options": {"form": "residuals"}}, tmp_path / "run", 1.0)
    with pytest.raises(UnknownNameError, match="cross"):
        run_training(config | {"network": {"conditioning": "cross"}}, tmp_path / "run", 1.0)


def test_residual_form_keeps_known_atoms_and_spreads_the_others(
    model: ResidualGeoTDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exact(known: KnownFrames, y: Tensor, line: Tensor, sigma: Tensor) -> Tensor:
        return y / (1 + sigma[:, None, None, None].square())

    monkeypatch.setattr(model, "denoised", exact)
    x, generator = numbers(60), torch.Generator().manual_seed(3)
    mask = (torch.arange(T) < 2)[:, None] | (torch.arange(N) == 1)[None]  # (t, n)
    made = drawn_atoms(
        model,
        KnownFrames(blank(60), x, torch.arange(T).double(), mask.all(1)),
        mask,
        lambda: torch.randn(x.shape, generator=generator, dtype=x.dtype),
        20,
    )
    free = (made - model.anchors(x, mask.all(1)))[:, ~mask]
    assert float((made - x)[:, mask].abs().max()) < 0.05
    assert float(free.std()) == pytest.approx(0.3, rel=0.15)


@pytest.mark.long
def test_residual_example_lowers_the_held_out_loss_when_it_trains(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "examples" / "train_nbody_residual.yaml").read_text()
    config = yaml.safe_load(text) | {
        "trajectories": 60,
        "frames": 12,
        "context": 4,
        "network": {"width": 16, "layers": 2},
        "pairs_per_batch": 2400,
    }
    config["schedule"] |= {"steps": 60}
    done = run_training(config, tmp_path / "run", None)
    assert done["held_out_loss_after"] < done["held_out_loss_before"]
    model = GeometricTrajectoryModel(done["weights"])
    unseen = nbody.simulate("charged", 5000, 5003, frames=12)
    x, given = unseen.positions, np.arange(12) < 4
    made = model.complete_many(x, unseen.nodes, unseen.edges, given, np.arange(3), steps=4)
    np.testing.assert_array_equal(made[:, given], x[:, given])
    assert np.isfinite(made).all()
