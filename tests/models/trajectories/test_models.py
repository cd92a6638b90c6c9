"""Trajectory networks: symmetry, masks, priors, losses, training and resume,
generators, metrics.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError
from equidrift.files.trajectories import load_trajectory
from equidrift.models.trajectories.arrays import metrics, nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.data import FrameBatches, windows
from equidrift.models.trajectories.diffusion.egtn import EGTNConfig
from equidrift.models.trajectories.diffusion.flow import Flow, FlowConfig, draw_flow
from equidrift.models.trajectories.diffusion.frames import (
    FrameBatch,
    KnownFrames,
    Sampling,
    centred,
)
from equidrift.models.trajectories.diffusion.geotdm import (
    GeoTDM,
    GeoTDMConfig,
    draw,
    geotdm_loss,
)
from equidrift.models.trajectories.dynamics import Dynamics, load_dynamics, save_dynamics
from equidrift.models.trajectories.graphs import (
    EDGE_FEATURES,
    NODE_FEATURES,
    array_graph,
    fingerprint,
    molecule_graph,
)
from equidrift.models.trajectories.integrator.integrator import (
    Bath,
    Clock,
    Integrator,
    IntegratorConfig,
    advance,
    shoot,
)
from equidrift.models.trajectories.integrator.network import ForceConfig, Graph
from equidrift.models.trajectories.integrator.objective import Segments, fine_loss
from equidrift.models.trajectories.sources import array_source
from equidrift.models.trajectories.train import run_training
from equidrift.models.trajectories.windows import gaps, run_of
from equidrift.records import Molecule
from equidrift.registry import make_trajectory_model

T, N = 8, 5


def rotation(seed: int = 3, d: int = 3) -> Tensor:
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    q *= np.sign(np.diag(r))
    return torch.from_numpy(q * np.sign(np.linalg.det(q)))


def awake(module: torch.nn.Module, size: float = 0.2) -> torch.nn.Module:
    """Every weight random, those that begin at zero too, so that nothing is equivariant
    by being nothing.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(size * torch.randn(p.shape, generator=generator))
        for name, p in module.named_parameters():
            if "move" in name:  # an untrained diffusion would run away otherwise
                p.mul_(0.05)
    return module.eval()


@pytest.fixture
def graph() -> Graph:
    rng = np.random.default_rng(0)
    edges = rng.standard_normal((2, N, N, 1))
    return array_graph(rng.standard_normal((2, N, 1)), edges + edges.transpose(0, 2, 1, 3))


@pytest.fixture
def frames() -> Tensor:
    """Random walks: (2, T, N, 3)."""
    rng = np.random.default_rng(1)
    start = 2.0 * rng.standard_normal((2, 1, N, 3))
    return torch.from_numpy(start + 0.1 * np.cumsum(rng.standard_normal((2, T, N, 3)), 1))


def forecast(model: Integrator, graph: Graph, x: Tensor, spacing: float = 1.0) -> Tensor:
    """Four frames after x, with the thermostat on and no noise."""
    prepared, force = model.bound(graph)
    v = model.velocities(prepared, force, x, spacing)
    weight = graph.mass / graph.mass.sum(1, keepdim=True)
    bath = Bath(0.05, torch.full(graph.mass.shape, 10.0), weight)
    y, out = x[:, -1], []
    with torch.no_grad():
        for _ in range(4):
            y, v = advance(force, y, v, model.clock(spacing), bath)
            out.append(y)
    return torch.stack(out, 1)


@pytest.mark.parametrize(("blocks", "observer"), [(0, False), (2, False), (2, True)])
def test_integrator_symmetries(graph: Graph, frames: Tensor, blocks: int, observer: bool) -> None:
    config = ForceConfig(
        width=32, pair_width=16, blocks=blocks, shortest=0.1, longest=10.0, step_input=blocks > 0
    )
    model = awake(Integrator(IntegratorConfig(config, 0.25, observer)))
    made = forecast(model, graph, frames)  # type: ignore[arg-type]
    moved = (made - frames[:, -1:]).abs().max()
    assert moved > 1e-2  # something happens
    turn, shift = rotation(), torch.tensor([30.0, -20.0, 10.0], dtype=torch.float64)
    for name, given, wanted in (
        ("rotation", frames @ turn, made @ turn),
        ("reflection", -frames, -made),
        ("translation", frames + shift, made + shift),
    ):
        error = (forecast(model, graph, given) - wanted).abs().max() / moved  # type: ignore[arg-type]
        assert error < 1e-5, name
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = Graph(
        graph.node[:, order],
        graph.edge[:, order][:, :, order],
        graph.mass[:, order],
        graph.mask[:, order],
    )
    assert (
        forecast(model, shuffled, frames[:, :, order]) - made[:, :, order]
    ).abs().max() / moved < 1e-5  # type: ignore[arg-type]


def test_boosted_trajectory_gives_boosted_continuation(graph: Graph, frames: Tensor) -> None:
    config = ForceConfig(width=32, pair_width=16, blocks=1, shortest=0.1, longest=10.0)
    model = awake(Integrator(IntegratorConfig(config, 0.25, True)))
    made, velocity = (
        forecast(model, graph, frames),
        torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64),
    )  # type: ignore[arg-type]
    clock = torch.arange(T + 4, dtype=torch.float64)[None, :, None, None]
    boosted = forecast(model, graph, frames + clock[:, :T] * velocity)  # type: ignore[arg-type]
    assert (boosted - made - clock[:, T:] * velocity).abs().max() / (
        made - frames[:, -1:]
    ).abs().max() < 1e-5


@pytest.mark.parametrize("blocks", [0, 2])
def test_forces_keep_momentum_and_angular_momentum(
    graph: Graph, frames: Tensor, blocks: int
) -> None:
    model = awake(
        Integrator(IntegratorConfig(ForceConfig(width=32, pair_width=16, blocks=blocks), 0.1))
    )
    _, force = model.bound(graph)  # type: ignore[operator]
    x = frames[:, 0]
    a = force(x, 0.1).detach()
    assert a.abs().max() > 1e-3
    assert a.sum(1).abs().max() < 1e-5 * a.abs().max()
    assert torch.linalg.cross(x, a).sum(1).abs().max() < 1e-4 * a.abs().max()


def test_shooting_finds_the_velocity() -> None:
    def force(x: Tensor, step: float) -> Tensor:
        return -x

    clock = Clock(0.3, 0.01)
    x, v = torch.randn(4, 3, 3, dtype=torch.float64), torch.randn(4, 3, 3, dtype=torch.float64)
    after, now = advance(force, x, v, clock)
    found, miss = shoot(force, torch.stack([x, after], 1), clock, rounds=12)
    assert miss.max() < 1e-10 and (found - now).abs().max() < 1e-8


def small(conditioning: str = "concat", **changes: object) -> EGTNConfig:
    return EGTNConfig(width=16, layers=2, conditioning=conditioning, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("conditioning", ["concat", "masked"])
@pytest.mark.parametrize("prior", ["learned", "com", "last"])
def test_geotdm_symmetries(graph: Graph, frames: Tensor, conditioning: str, prior: str) -> None:
    model = awake(
        GeoTDM(GeoTDMConfig(small(conditioning), steps=50, prior=prior, frames=T)), 0.1
    ).double()  # type: ignore[arg-type]
    graph = Graph(graph.node.double(), graph.edge.double(), graph.mass, graph.mask)
    given = torch.tensor([1, 1, 0, 1, 0, 0, 0, 1], dtype=torch.bool)
    clock, turn, shift = (
        torch.arange(T, dtype=torch.float64),
        rotation(),
        torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64),
    )
    noise = torch.randn(
        11, 2, T, N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )

    def sampled(x: Tensor, turned: Tensor, at: Tensor) -> Tensor:
        numbers = iter(turned)
        known = KnownFrames(graph, x, at, given)
        return draw(model, known, lambda: next(numbers), Sampling(steps=5))  # type: ignore[arg-type]

    made = sampled(frames, noise, clock)
    assert (made[:, given] == frames[:, given]).all()
    close = {"atol": 1e-5 * float(made.abs().max()), "rtol": 0}
    torch.testing.assert_close(sampled(frames @ turn, noise @ turn, clock), made @ turn, **close)
    torch.testing.assert_close(sampled(frames + shift, noise, clock), made + shift, **close)
    torch.testing.assert_close(sampled(frames, noise, clock + 100.0), made, **close)


def test_special_priors(graph: Graph, frames: Tensor) -> None:
    given, clock = torch.arange(T) < 3, torch.arange(T, dtype=torch.float64)

    def anchors(prior: str, mask: Tensor = given) -> Tensor:
        known = KnownFrames(graph, frames, clock, mask)
        return GeoTDM(GeoTDMConfig(small(), prior=prior, frames=T)).anchors(known)  # type: ignore[arg-type]

    assert (anchors("point") == 0).all()
    torch.testing.assert_close(
        anchors("com"), frames[:, :3].mean((1, 2), keepdim=True).expand_as(frames)
    )
    assert (anchors("last") == frames[:, 2:3]).all()
    learned = GeoTDM(GeoTDMConfig(small(), frames=T)).double()
    graph = Graph(graph.node.double(), graph.edge.double(), graph.mass, graph.mask)
    with (
        torch.no_grad()
    ):  # no weight on earlier frames, no move by the prior's network: the last frame
        learned.gamma.zero_()
        for layer in (*learned.prior.spatial, *learned.prior.temporal):
            layer.move[-1].weight.zero_()
            layer.move[-1].bias.zero_()
    torch.testing.assert_close(
        learned.anchors(KnownFrames(graph, frames, clock, given)), frames[:, 2:3].expand_as(frames)
    )


def test_unconditional_stays_in_the_subspace(graph: Graph) -> None:
    model = awake(GeoTDM(GeoTDMConfig(small(), steps=50, frames=T)), 0.05)
    generator = torch.Generator().manual_seed(2)
    none = torch.zeros(T, dtype=torch.bool)
    made = draw(
        model,
        KnownFrames(graph, torch.zeros(2, T, N, 3), torch.arange(T).float(), none),
        lambda: torch.randn(2, T, N, 3, generator=generator),
        Sampling(),
    )  # type: ignore[arg-type]
    assert made.abs().max() > 0.1 and made.mean((1, 2)).abs().max() < 1e-4 * made.abs().max()
    x = torch.randn(2, T, N, 3)
    torch.testing.assert_close(
        centred(centred(x, graph), graph), centred(x, graph), atol=1e-6, rtol=0
    )


def test_partial_noising_at_a_low_level_stays_near(graph: Graph, frames: Tensor) -> None:
    model = awake(GeoTDM(GeoTDMConfig(small(), steps=100, frames=T)), 0.02)
    start = centred(frames.float(), graph)
    none, clock = torch.zeros(T, dtype=torch.bool), torch.arange(T).float()
    known = KnownFrames(graph, start, clock, none)

    def away(level: float) -> float:
        generator = torch.Generator().manual_seed(2)
        normal = lambda: torch.randn(2, T, N, 3, generator=generator)  # noqa: E731
        return float(
            (draw(model, known, normal, Sampling(start=start, level=level)) - start).abs().mean()
        )

    assert away(0.02) < away(0.5)


def test_flow_symmetries_and_given_frames(graph: Graph, frames: Tensor) -> None:
    flow = awake(Flow(FlowConfig(small(heads=2, scaled=True, velocities=True), frames=T))).double()
    flow.spread.fill_(0.3)  # type: ignore[operator]
    graph = Graph(graph.node.double(), graph.edge.double(), graph.mass, graph.mask)
    given, clock, turn = torch.arange(T) < 4, torch.arange(T, dtype=torch.float64), rotation()
    noise = torch.randn(2, T, N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    known, three = KnownFrames(graph, frames, clock, given), Sampling(steps=3)
    made = draw_flow(flow, known, lambda: noise, three)  # type: ignore[arg-type]
    assert (made[:, given] == frames[:, given]).all()
    known = KnownFrames(graph, frames @ turn, clock, given)
    turned = draw_flow(flow, known, lambda: noise @ turn, three)  # type: ignore[arg-type]
    torch.testing.assert_close(turned, made @ turn, atol=1e-5, rtol=0)


def test_flow_lines() -> None:
    flow = Flow(FlowConfig(small(), frames=6))
    x = torch.arange(6.0)[None, :, None, None].expand(1, 6, 1, 3)
    for mask in ([1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 1, 1]):
        torch.testing.assert_close(flow.anchors(x, torch.tensor(mask, dtype=torch.bool)), x)
    assert (flow.anchors(x, torch.tensor([0, 1, 0, 0, 0, 0], dtype=torch.bool)) == 1).all()


def test_fine_loss_knows_a_harmonic_oscillator() -> None:
    """A leapfrog's second difference is exactly its force: the right force has no loss,
    no force has one in each norm.
    """
    x, v, frames = (
        torch.randn(3, 4, 3, dtype=torch.float64),
        torch.zeros(3, 4, 3, dtype=torch.float64),
        [],
    )
    for _ in range(11):
        frames.append(x)
        v = v - 0.1 * x
        x = x + 0.1 * v

    class Spring(torch.nn.Module):
        def __init__(self, k: float):
            super().__init__()
            self.k = k

        def prepare(self, graph: Graph) -> Graph:
            return graph

        def forward(self, graph: Graph, x: Tensor, step: float) -> Tensor:
            return -self.k * x

    batch = Segments(
        array_graph(np.ones((3, 4, 1)), np.ones((3, 4, 4, 1))), torch.stack(frames, 1), 0.1
    )
    assert fine_loss(Spring(1.0), batch) < 1e-20
    assert fine_loss(Spring(0.0), batch) == pytest.approx(2.0)


def test_geotdm_loss_counts_drawn_frames_alone(
    graph: Graph, frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = awake(GeoTDM(GeoTDMConfig(small(), steps=10, prior="last", frames=T)))
    given = torch.arange(T) < 4
    batch = FrameBatch(graph, frames.float(), torch.arange(T).float(), given, seed=0)
    loss = geotdm_loss(model, batch)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())

    noise_of = model.noise_of

    def wrong_in(chosen: Tensor) -> Tensor:
        wrong = 10.0 * chosen.float()[None, :, None, None]
        monkeypatch.setattr(model, "noise_of", lambda *args: noise_of(*args) + wrong)
        return geotdm_loss(model, batch)

    assert torch.equal(wrong_in(given), loss)
    assert wrong_in(~given) > 10 * loss


@pytest.mark.parametrize("system", nbody.SYSTEMS)
def test_generators_conserve(system: str) -> None:
    d = nbody.simulate(system, 0, 4, frames=12)
    x, v = d.positions, np.gradient(d.positions, nbody.SPACING, axis=1)
    momentum = v.sum(2)[:, 1:-1]
    assert np.abs(momentum - momentum[:, :1]).max() < 1e-6 * max(1.0, np.abs(v).max())
    apart = np.linalg.norm(x[:, :, :, None] - x[:, :, None], axis=-1) + 1e9 * np.eye(x.shape[2])
    edges = d.edges[:, None, ..., 0]
    if system == "spring":
        potential = (
            0.5
            * nbody.SPRING_STRENGTH
            * (edges * np.where(apart < 1e8, apart, 0) ** 2).sum((2, 3))
            / 2
        )
    elif system == "charged":
        potential = (np.where(apart < 1e8, edges / apart, 0)).sum((2, 3)) / 2
    else:
        potential = (
            -(np.where(apart < 1e8, (apart**2 + nbody.SOFTENING**2) ** -0.5, 0)).sum((2, 3)) / 2
        )
    if system == "spring":  # the only one slow enough for velocities by differences of frames
        energy = 0.5 * (v**2).sum((2, 3)) + potential
        assert np.abs(energy - energy[:, 2:3])[:, 1:-1].max() < 1e-3
    else:  # the force is the slope of that potential
        y, h = x[:1, 3].copy(), 1e-5
        force = nbody.force(system, y, d.edges[:1])
        sums = []
        for sign in (1, -1):
            z = y.copy()
            z[0, 0, 0] += sign * h
            r = np.linalg.norm(z[0, 0] - z[0, 1:], axis=-1)
            sums.append(
                float(
                    (d.edges[0, 0, 1:, 0] / r).sum()
                    if system == "charged"
                    else -((r**2 + 0.01) ** -0.5).sum()
                )
            )
        assert force[0, 0, 0] == pytest.approx(-(sums[0] - sums[1]) / (2 * h), rel=1e-5)


def test_generators_do_not_depend_on_how_many() -> None:
    np.testing.assert_array_equal(
        nbody.simulate("spring", 2, 4, frames=2).positions[1],
        nbody.simulate("spring", 3, 4, frames=2).positions[0],
    )
    with pytest.raises(UnknownNameError, match="springs"):
        nbody.simulate("springs", 0, 1)
    with pytest.raises(InputError, match="start, stop"):
        nbody.simulate("spring", 1, 1)


def test_metrics_on_hand_made_cases() -> None:
    a = np.zeros(10)
    assert metrics.jensen_shannon(a, a, bounds=(-1, 1)) == 0 and metrics.jensen_shannon(
        a, a + 1, bounds=(-1, 1)
    ) == pytest.approx(np.log(2) ** 0.5)
    square = np.array([[1.0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 1]])
    assert abs(metrics.torsions(square, np.array([[0, 1, 2, 3]]))[0]) == pytest.approx(np.pi / 2)
    line = np.cumsum(np.ones((1, 6, 2, 3)) * np.array([1.0, -1.0])[None, None, :, None], 1)
    np.testing.assert_allclose(metrics.velocity_correlation(line, 3), 1.0)


def test_gaps_and_runs() -> None:
    given = torch.tensor([0, 1, 1, 0, 0, 1], dtype=torch.bool)
    assert gaps(given) == [(0, 0), (3, 4)]
    assert (
        run_of(given, 2, -1) == slice(1, 3)
        and run_of(given, 5, 1) == slice(5, 6)
        and run_of(given, -1, -1) is None
    )


def test_windows_and_dynamics(tmp_path: Path) -> None:
    x = np.arange(60.0).reshape(20, 1, 3)
    assert windows(x, 3, 4, 5).shape == (5, 3, 1, 3)
    with pytest.raises(InputError, match="needs more than the 20 frames"):
        windows(x, 6, 4, 1)
    run = Dynamics(
        Molecule.from_smiles("O"),
        np.random.default_rng(0).random((2, 4, 3, 3)).astype(np.float32),
        0.5,
        "MMFF94",
        300.0,
        0.01,
    )
    save_dynamics(tmp_path / "a.npz", [run, run])
    back = load_dynamics(tmp_path / "a.npz")
    assert len(back) == 2 and back[1].molecule == run.molecule and back[1].spacing_fs == 0.5
    np.testing.assert_array_equal(back[1].positions_A, run.positions_A)
    with pytest.raises(InputError, match="make_md"):
        load_dynamics(tmp_path / "b.npz")


def test_molecule_graph_has_one_hot_codes() -> None:
    graph = molecule_graph(Molecule.from_smiles("CO"), "MMFF94", 2)
    assert graph.node.shape == (2, 6, NODE_FEATURES) and graph.edge.shape == (
        2,
        6,
        6,
        EDGE_FEATURES,
    )
    assert (graph.node.sum(-1) == 8).all() and (graph.edge.sum(-1) == 4).all()
    assert graph.mass[0, :2].tolist() == pytest.approx([12.011, 15.999])


@pytest.mark.parametrize("given", ["forecast", "any", "none"])
def test_masks_leave_something_to_draw(given: str) -> None:
    d = nbody.simulate("spring", 0, 4, frames=8)
    batches = FrameBatches(
        array_source(d.positions, d.nodes, d.edges, frames=8),
        frames=8,
        context=3,
        given=given,
        pairs=2000,
        seed=0,
    )
    masks = [batches(step).given for step in range(30)]
    assert all(not m.all() for m in masks) and all(m.any() for m in masks) == (given != "none")
    assert torch.equal(batches(3).frames, batches(3).frames)


@pytest.mark.long
def test_arrays_train_resume_and_continue(tmp_path: Path) -> None:
    d = nbody.simulate("spring", 0, 12, frames=12)
    settings = {"interpolate_steps": 15, "pairs_per_batch": 200}
    common = {"spacing": nbody.SPACING, "out": tmp_path / "run"}
    whole = GeometricTrajectoryModel.fit(
        d.positions,
        d.nodes,
        d.edges,
        schedule={"steps": 20},
        spacing=0.1,
        out=tmp_path / "whole",
        **settings,
    )
    GeometricTrajectoryModel.fit(
        d.positions,
        d.nodes,
        d.edges,
        schedule={"steps": 20},
        budget_s=1e-9 + 0.05,
        **common,
        **settings,
    )
    model = GeometricTrajectoryModel.fit(
        d.positions, d.nodes, d.edges, schedule={"steps": 20}, resume=True, **common, **settings
    )
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[key], value, atol=0, rtol=0)
    with pytest.raises(InputError, match="--resume"):
        GeometricTrajectoryModel.fit(
            d.positions, d.nodes, d.edges, schedule={"steps": 20}, **common, **settings
        )
    made = model.continue_(d.positions[0, :5], d.nodes[0], d.edges[0], 4, range(2))
    assert made.shape == (2, 4, 5, 3) and np.isfinite(made).all()
    alone = model.continue_(d.positions[0, :5], d.nodes[0], d.edges[0], 4, [1])
    np.testing.assert_allclose(alone[0], made[1], atol=1e-4)
    given = np.array([1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1], bool)
    filled = model.complete(d.positions[0], d.nodes[0], d.edges[0], given, [0])
    np.testing.assert_array_equal(filled[0][given], d.positions[0][given])
    for bad, message in (
        (d.positions[0], "trajectories, frames"),
        (np.where(d.positions > 0, np.nan, 1.0), "NaN"),
    ):
        with pytest.raises(InputError, match=message):
            GeometricTrajectoryModel.fit(bad, d.nodes, d.edges, out=tmp_path / "bad")


@pytest.mark.parametrize("kind", ["flow", "geotdm"])
def test_window_models_train_on_arrays_of_two_dimensions(tmp_path: Path, kind: str) -> None:
    d = nbody.simulate("spring", 0, 6, frames=8)
    network, options = {"width": 16, "layers": 1}, {"steps": 5} if kind == "geotdm" else {}
    model = GeometricTrajectoryModel.fit(
        d.positions[..., :2],
        d.nodes,
        d.edges,
        kind=kind,
        schedule={"steps": 3},
        out=tmp_path,
        network=network,
        options=options,
        frames=8,
        context=3,
    )
    made = model.continue_(d.positions[0, :3, :, :2], d.nodes[0], d.edges[0], 5, range(2))
    assert (
        made.shape == (2, 5, 5, 2)
        and np.isfinite(made).all()
        and np.abs(made[0] - made[1]).max() > 1e-6
    )


def test_training_config_says_what_is_wrong(tmp_path: Path) -> None:
    for config, message in (
        ({"data": "nbody:spring", "colour": 1}, "colour"),
        ({"data": "nbody:springs"}, "springs"),
        ({"data": "nbody:spring", "level": "AM1"}, "AM1"),
    ):
        with pytest.raises(InputError, match=message):
            run_training(config, tmp_path, 1.0)
    with pytest.raises(InputError, match="--budget"):
        run_training({"data": "nbody:spring"}, tmp_path, None)


def test_fingerprints_do_not_depend_on_the_order_of_atoms() -> None:
    prints = [fingerprint(Molecule.from_smiles(s)) for s in ("CCO", "OCC", "COC")]
    assert prints[0] == prints[1] != prints[2]


def test_training_on_files_of_ones_own_and_forecasting_with_it(tmp_path: Path) -> None:
    """XTC and PDB in, weights out, frames from them; and what the integrator says of
    frames too far apart.
    """
    folder = Path(__file__).parents[3] / "examples" / "data"
    config = {
        "kind": "flow",
        "data": str(folder / "aspirin.xtc"),
        "topology": str(folder / "aspirin.pdb"),
        "stride": 1,
        "frames": 6,
    }
    config |= {
        "context": 3,
        "network": {"width": 16, "layers": 1},
        "schedule": {"steps": 2},
        "name": "mine",
    }
    done = run_training(config, tmp_path, None)
    model = make_trajectory_model(done["weights"])
    whole = load_trajectory(folder / "aspirin.xtc", folder / "aspirin.pdb")
    made = model.continue_(whole[:3], 2, np.arange(2), steps=2)
    assert len(made) == 2 and np.isfinite(made[0].positions_A).all()
    with pytest.raises(InputError, match="kind: flow"):
        run_training(config | {"kind": "integrator", "network": {}}, tmp_path / "other", None)
