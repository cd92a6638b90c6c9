"""Plain-array trajectories: EGNN, alternatives, pedestrians, invention, the bound on
speeds, and what each says of bad input.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from equidrift.bench import unconditional
from equidrift.bench.trajectories import calls
from equidrift.errors import InputError, ModelError, UnknownNameError
from equidrift.files.trajectories import load_trajectory
from equidrift.models.trajectories.arrays import nbody, pedestrians
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.arrays.carry import CALLS_TO_START
from equidrift.models.trajectories.arrays.egnn import EGNN, EGNNConfig, Rolls, roll, step_loss
from equidrift.models.trajectories.arrays.inputs import Arrays
from equidrift.models.trajectories.arrays.modes import Modes, ModesConfig, modes_loss
from equidrift.models.trajectories.arrays.train import fastest
from equidrift.models.trajectories.diffusion.frames import FrameBatch
from equidrift.models.trajectories.graphs import array_graph
from equidrift.models.trajectories.integrator.integrator import Clock, Integrator, advance
from equidrift.models.trajectories.invent import invent
from equidrift.models.trajectories.train import run_training
from equidrift.records import Molecule
from equidrift.registry import make_trajectory_model
from equidrift.seeds import sample_seeds

K, N = 3, 5


def turned(x: Tensor, seed: int = 0) -> Tensor:
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((x.shape[-1],) * 2))
    q *= np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return x @ torch.from_numpy(q).to(x)


def crowd(frames: int = 20, seed: int = 0) -> np.ndarray:
    """People who walk straight with a little noise: (K, frames, N, 2)."""
    rng = np.random.default_rng(seed)
    step = rng.standard_normal((K, 1, N, 2)) * 0.4 + 0.05 * rng.standard_normal((K, frames, N, 2))
    return 3 * rng.standard_normal((K, 1, N, 2)) + np.cumsum(step, 1)


def features(k: int = K) -> tuple[np.ndarray, np.ndarray]:
    return np.ones((k, N, 1)), np.zeros((k, N, N, 1))


@pytest.fixture
def spring() -> nbody.NBody:
    return nbody.simulate("spring", 0, 12, frames=12)


@pytest.fixture
def modes() -> Modes:
    torch.manual_seed(0)
    return Modes(ModesConfig(count=4, width=16)).eval()


def test_alternatives_turn_and_shift_with_the_past(modes: Modes) -> None:
    graph, x = array_graph(*features()), torch.from_numpy(crowd()[:, :8])
    made, logit = modes(graph, x)
    assert made.shape == (K, N, 4, 12, 2) and (made[:, :, 0] - made[:, :, 1]).abs().max() > 1e-3
    angled, same = modes(graph, turned(x))
    torch.testing.assert_close(angled, turned(made), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(same, logit, atol=1e-4, rtol=0)
    torch.testing.assert_close(modes(graph, x + 50.0)[0], made + 50.0, atol=1e-4, rtol=1e-5)
    order = torch.tensor([2, 0, 1, 4, 3])
    torch.testing.assert_close(
        modes(graph, x[:, :, order])[0], made[:, order], atol=1e-4, rtol=1e-5
    )


def test_who_is_masked_is_not_seen(modes: Modes) -> None:
    graph, x = array_graph(*features()), torch.from_numpy(crowd()[:, :8])
    graph.mask[:, 3:] = False
    other = x.clone()
    other[:, :, 3:] += 0.3
    torch.testing.assert_close(modes(graph, x, 1)[0], modes(graph, other, 1)[0])
    graph.mask[:, 3:] = True
    assert (modes(graph, x, 1)[0] - modes(graph, other, 1)[0]).abs().max() > 1e-5


def test_winner_takes_all_rewards_only_the_nearest() -> None:
    torch.manual_seed(0)
    config = ModesConfig(past=3, future=2, count=2, width=8, relax_steps=0)
    modes, graph = Modes(config), array_graph(*features())
    frames = torch.from_numpy(crowd(5)).float()
    batch = FrameBatch(graph, frames, torch.arange(5.0), torch.arange(5) < 3)
    made, _ = modes(graph, frames[:, :3])
    batch.frames = torch.cat(
        [frames[:, :3], made[:, :, 1].transpose(1, 2).detach()], 1
    )  # the truth is the second alternative
    loss = modes_loss(modes, batch)
    batch.frames = batch.frames + torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0])[None, :, None, None]
    assert loss < 0.3 < modes_loss(modes, batch)


def test_alternatives_train_on_arrays_and_are_drawn_by_seeds(tmp_path: Path) -> None:
    x = np.concatenate([crowd(seed=s) for s in range(4)])
    node, edge = features(len(x))
    settings = {
        "context": 8,
        "frames": 20,
        "network": {"width": 16, "count": 6},
        "schedule": {"steps": 6},
    }
    model = GeometricTrajectoryModel.fit(
        x, node, edge, kind="modes", out=tmp_path, given="forecast", **settings
    )
    futures, chance = model.alternatives(x[:2, :8], node[:2], edge[:2])
    assert futures.shape == (2, 6, 12, N, 2) and chance.shape == (2, 6, N)
    np.testing.assert_allclose(chance.sum(1), 1.0, atol=1e-6)
    made = model.continue_(x[0, :8], node[0], edge[0], 5, range(6))
    assert made.shape == (6, 5, N, 2)
    for k in range(N):  # every drawn future is one of the alternatives
        apart = np.abs(made[:, None, :, k] - futures[0][None, :, :5, k]).max((2, 3))
        assert (apart.min(1) < 1e-4).all()
    np.testing.assert_allclose(
        model.continue_(x[0, :8], node[0], edge[0], 5, [4])[0], made[4], atol=1e-4
    )
    for call, message in (
        (lambda: model.continue_(x[0, :7], node[0], edge[0], 5, [0]), "after 8 given ones"),
        (lambda: model.continue_(x[0, :8], node[0], edge[0], 13, [0]), "up to 12 frames"),
        (lambda: model.alternatives(x[:2, :6], node[:2], edge[:2]), "reads 8 frames in a plane"),
        (lambda: model.sample(node[0], edge[0], 20, [0], d=2), "cannot begin from none"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(InputError, match="must be below frames"):
        GeometricTrajectoryModel.fit(
            x, node, edge, kind="modes", out=tmp_path / "b", **(settings | {"context": 20})
        )
    with pytest.raises(InputError, match="past must be 3"):
        Modes(ModesConfig(past=2))


def test_pedestrian_windows_follow_the_protocol(tmp_path: Path) -> None:
    """Two people for 21 frames, one for the past only, one far shorter: two windows
    each for the two, and their neighbours.
    """
    lines = []
    for frame in range(21):
        for person, (x, y) in ((1, (0.4 * frame, 0.0)), (2, (0.4 * frame, 1.0))):
            lines.append((frame, person, x, y))
        if frame < 9:
            lines.append((frame, 3, 0.4 * frame, -2.0))
        if 2 < frame < 6:
            lines.append((frame, 4, 0.0, 0.0))
    path = tmp_path / "t.txt"
    path.write_text(
        "\n".join(f"{f}.0 {p}.0 Pedestrian {'-1 ' * 10}{x} -1.0 {y} -1.0" for f, p, x, y in lines)
    )
    tracks = pedestrians.read_tracks(path)
    x, real = pedestrians.scene_windows(tracks)
    assert x.shape == (4, 20, pedestrians.PEOPLE, 2) and real.sum(1).tolist() == [3, 3, 3, 3]
    np.testing.assert_allclose(x[0, :, 0], [(0.4 * f, 0.0) for f in range(20)])
    np.testing.assert_allclose(x[0, :8, 1], [(0.4 * f, 1.0) for f in range(8)])  # nearest first
    np.testing.assert_allclose(x[0, 7, 2], (2.8, -2.0))
    with pytest.raises(InputError, match="no ETH-UCY track file"):
        pedestrians.read_tracks(tmp_path / "none.txt")


def test_shipped_pedestrians_beat_constant_velocity() -> None:
    """Somebody who turns slowly: one of the 20 alternatives is nearer than the straight
    line.
    """
    model = GeometricTrajectoryModel("pedestrians-hotel")
    angle = 0.05 * np.arange(20)
    walk = np.cumsum(0.45 * np.stack([np.cos(angle), np.sin(angle)], -1), 0)
    x = np.repeat(walk[None, :8, None], pedestrians.PEOPLE, 2)
    real = (np.arange(pedestrians.PEOPLE) < 1)[None]
    made = model.alternatives(x, *pedestrians.features(1), mask=real)[0][0, :, :, 0]
    line = walk[7] + np.arange(1, 13)[:, None] * (walk[7] - walk[6])
    best = np.linalg.norm(made - walk[8:], axis=-1).mean(-1).min()
    assert best < 0.5 * np.linalg.norm(line - walk[8:], axis=-1).mean()


def test_egnn_is_equivariant_and_learns(spring: nbody.NBody) -> None:
    torch.manual_seed(0)
    model, graph = EGNN(EGNNConfig(width=16, layers=2)), array_graph(spring.nodes, spring.edges)
    x = torch.from_numpy(spring.positions)
    made = roll(model, graph, x[:, 0], x[:, 1], 3)
    assert (made[:, 0] - x[:, 1]).abs().max() > 1e-3
    y = turned(x)
    torch.testing.assert_close(
        roll(model, graph, y[:, 0] + 7, y[:, 1] + 7, 3), turned(made) + 7, atol=1e-5, rtol=1e-5
    )
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = step_loss(model, Rolls(graph, x[:, :4]))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_egnn_trains_on_arrays_and_fills_from_both_sides(
    tmp_path: Path, spring: nbody.NBody
) -> None:
    settings = {
        "network": {"width": 16, "layers": 1},
        "schedule": {"steps": 4},
        "interpolate_steps": 2,
        "pairs_per_batch": 200,
    }
    model = GeometricTrajectoryModel.fit(
        spring.positions, spring.nodes, spring.edges, kind="egnn", out=tmp_path, **settings
    )
    given = (np.arange(12) < 3) | (np.arange(12) > 8)
    made = model.complete(spring.positions[0], spring.nodes[0], spring.edges[0], given, range(2))
    np.testing.assert_array_equal(made[0][given], spring.positions[0][given])
    assert np.isfinite(made).all() and calls(model) == {"calls": 20, "layers_per_call": 1}
    with pytest.raises(InputError, match="horizon of 11 needs trajectories of 13 frames"):
        GeometricTrajectoryModel.fit(
            spring.positions,
            spring.nodes,
            spring.edges,
            kind="egnn",
            out=tmp_path / "b",
            horizon=11,
            **settings,
        )


def test_speeds_are_bounded_against_the_mean() -> None:
    x, v = (
        torch.zeros(1, 3, 3, dtype=torch.float64),
        torch.tensor([[[9.0, 0, 0], [0, 0, 0], [0, 0, 0]]], dtype=torch.float64),
    )
    free = lambda x, step: torch.zeros_like(x)  # noqa: E731
    _, kept = advance(free, x, v, Clock(1.0, 1.0, fastest=2.0))
    assert (kept - v.mean(1, keepdim=True)).norm(dim=-1).max() == pytest.approx(2.0)
    boost = torch.tensor([100.0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(
        advance(free, x, v + boost, Clock(1.0, 1.0, fastest=2.0))[1], kept + boost
    )


def test_the_bound_is_taken_where_it_helps() -> None:
    """Springs never run away: no bound.

    A force that slings nodes off where the truth stands still: the tightest.
    """
    d = nbody.simulate("spring", 0, 6, frames=8)
    shipped = GeometricTrajectoryModel("nbody-spring")
    network = shipped.network
    assert (
        isinstance(network, Integrator)
        and fastest(network, Arrays(d.positions, d.nodes, d.edges, 0.1)) is None
    )
    wild = Integrator(dataclasses.replace(network.config))
    wild.load_state_dict(network.state_dict())
    with torch.no_grad():
        for p in wild.force.law[-1].parameters():
            p.mul_(-300.0)
    assert fastest(wild, Arrays(d.positions, d.nodes, d.edges, 0.1)) is not None


def test_shipped_integrators_take_few_calls() -> None:
    for system in nbody.SYSTEMS:
        found = calls(GeometricTrajectoryModel(f"nbody-{system}"))
        assert found == {
            "calls": 16,
            "layers_per_call": 16,
            "force_evaluations": 8 * (20 + CALLS_TO_START),
        }


def test_two_or_three_given_frames_are_enough() -> None:
    d = nbody.simulate("spring", 0, 2, frames=10)
    model = GeometricTrajectoryModel("nbody-spring", noise=0.0)
    for given in (2, 3):
        made = model.continue_(d.positions[0, :given], d.nodes[0], d.edges[0], 10 - given, [0])
        assert np.abs(made[0] - d.positions[0, given:]).max() < 2e-3


def overdrive(network: torch.nn.Module) -> None:
    """Make a network run away: its moves grow a thousand-millionfold."""
    with torch.no_grad():
        for name, p in network.named_parameters():
            p.mul_(1e9 if "move" in name else 1.0)


@pytest.mark.long
def test_invention_of_arrays(tmp_path: Path, spring: nbody.NBody) -> None:
    settings = {
        "network": {"width": 16, "layers": 1},
        "options": {"steps": 100},
        "schedule": {"steps": 2},
        "frames": 12,
    }
    arrays = (spring.positions, spring.nodes, spring.edges)
    for kind in ("geotdm", "flow"):
        given = settings | ({"options": {}} if kind == "flow" else {})
        model = GeometricTrajectoryModel.fit(
            *arrays, kind=kind, out=tmp_path / kind, given="none", **given
        )
        made = model.sample(spring.nodes[0], spring.edges[0], 12, range(3))
        assert made.shape == (3, 12, N, 3) and np.abs(made[0] - made[1]).max() > 1e-3
        assert np.abs(made.mean((1, 2))).max() < 1e-4 * np.abs(made).max()
        np.testing.assert_allclose(
            model.sample(spring.nodes[0], spring.edges[0], 12, [2])[0],
            made[2],
            atol=1e-4 * np.abs(made).max(),
        )
        if kind == "geotdm":
            overdrive(model.network)
            with pytest.raises(ModelError, match="ran away"):
                model.sample(spring.nodes[0], spring.edges[0], 12, range(3))
    carrier = GeometricTrajectoryModel("nbody-spring", noise=0.0)
    carried = model.sample(spring.nodes[0], spring.edges[0], 12, range(2), carrier=carrier)
    bend = np.abs(np.diff(carried, 2, axis=1)).mean()
    assert bend < 0.1 * np.abs(np.diff(made[:2], 2, axis=1)).mean()  # smooth, as the force wants it
    for call, message in (
        (lambda: model.sample(spring.nodes[0], spring.edges[0], 0, [0]), "n_frames must be 1"),
        (
            lambda: model.sample(spring.nodes[0], spring.edges[0], 12, [0], carrier=model),
            "a carrier must be an integrator",
        ),
        (
            lambda: carrier.sample(spring.nodes[0], spring.edges[0], 12, [0]),
            "cannot begin from none",
        ),
        (
            lambda: model.sample(spring.nodes[0], spring.edges[0], 13, [0]),
            "windows of 12 frames at most",
        ),
        (
            lambda: model.sample(spring.nodes[0], spring.edges[0][:3], 12, [0]),
            "edge_features must be",
        ),
        (
            lambda: model.alternatives(spring.positions[:1, :8], *(a[:1] for a in arrays[1:])),
            "has no alternatives",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_invention_of_molecules() -> None:
    water = Molecule.from_smiles("O")
    start = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    model = make_trajectory_model("default")
    made = invent(model, water, 4, sample_seeds(0, 0, 2), start_A=start, warm_up_fs=20.0)
    assert (
        len(made) == 2
        and made[0].positions_A.shape == (4, 3, 3)
        and made[0].provenance["exact"] is False
    )
    assert 1e-3 < np.abs(made[0].positions_A - made[1].positions_A).max() < 2.0
    for options, message in (
        ({}, "begins from a geometry"),
        ({"start_A": start[:2]}, "start_A must be finite"),
        ({"start_A": start, "dt_fs": 0.0}, "dt_fs positive"),
    ):
        with pytest.raises(InputError, match=message):
            invent(model, water, 4, sample_seeds(0, 0, 2), **options)
    with pytest.raises(InputError, match="given: none"):
        invent(make_trajectory_model("geotdm"), water, 4, sample_seeds(0, 0, 1))


@pytest.mark.long
def test_unconditional_diffusion_of_a_molecule(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "examples" / "data"
    config = {
        "kind": "geotdm",
        "data": str(folder / "aspirin.xtc"),
        "topology": str(folder / "aspirin.pdb"),
        "stride": 1,
        "frames": 4,
    }
    config |= {
        "given": "none",
        "network": {"width": 16, "layers": 1},
        "options": {"steps": 100},
        "schedule": {"steps": 2},
        "name": "mine",
    }
    model = make_trajectory_model(run_training(config, tmp_path, None)["weights"])
    aspirin = load_trajectory(folder / "aspirin.xtc", folder / "aspirin.pdb").molecule
    made = invent(model, aspirin, 4, sample_seeds(0, 0, 2))
    frames = np.stack([t.positions_A for t in made])
    assert (
        frames.shape == (2, 4, aspirin.n_atoms, 3)
        and np.abs(frames.mean((1, 2))).max() < 1e-3 * np.abs(frames).max()
    )
    assert np.abs(frames[0] - frames[1]).max() > 1e-2 and made[1].provenance["seed"] == int(
        sample_seeds(0, 1, 2)[0]
    )
    with pytest.raises(InputError, match="takes no start_A"):
        invent(model, aspirin, 4, sample_seeds(0, 0, 1), start_A=frames[0, 0])
    overdrive(model.network)
    with pytest.raises(ModelError, match="ran away"):
        invent(model, aspirin, 4, sample_seeds(0, 0, 2))


@pytest.mark.long
def test_scores_know_the_same_from_another() -> None:
    real, again = (
        nbody.simulate("spring", 0, 40, frames=6),
        nbody.simulate("spring", 40, 80, frames=6),
    )
    graph = array_graph(real.nodes, real.edges)
    rough = again.positions + 0.3 * np.random.default_rng(0).standard_normal(again.positions.shape)
    good, bad = (
        unconditional.scores(graph, made, real.positions, 12) for made in (again.positions, rough)
    )
    assert good["classification"] > 0.5 > bad["classification"]
    assert good["prediction"] < bad["prediction"] and good["marginal"] <= bad["marginal"]


def test_what_training_says_of_plain_arrays(tmp_path: Path, spring: nbody.NBody) -> None:
    x, node, edge = spring.positions, spring.nodes, spring.edges
    for arrays, options, message in (
        ((x[..., :1], node, edge), {}, r"2 or 3"),
        ((x, node[:, :3], edge), {}, "node_features must be"),
        ((x, node, edge[:, :, :2]), {}, "edge_features must be"),
        ((x[:, :4], node, edge), {}, "five neighbouring frames"),
        ((x, node, edge), {"kind": "flow", "frames": 40}, "window has 40 frames"),
        ((x, node, edge), {"kind": "teacher"}, "kind"),
        ((x, node, edge), {"budget_s": 0.0}, "must be positive"),
    ):
        with pytest.raises(InputError, match=message):
            GeometricTrajectoryModel.fit(*arrays, out=tmp_path / "x", **options)
    broken = x.copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        GeometricTrajectoryModel.fit(broken, node, edge, out=tmp_path / "x")
    with pytest.raises(InputError, match="seeds"):
        GeometricTrajectoryModel("nbody-spring").complete_many(
            x, node, edge, np.arange(12) < 4, [0]
        )
    with pytest.raises(InputError, match="needs 2 given frames"):
        GeometricTrajectoryModel("nbody-spring").continue_(x[0, :1], node[0], edge[0], 4, [0])


def test_training_on_an_npz_of_ones_own(tmp_path: Path, spring: nbody.NBody) -> None:
    """The documented file: positions, nodes, edges, spacing."""
    np.savez(
        tmp_path / "mine.npz",
        positions=spring.positions,
        nodes=spring.nodes,
        edges=spring.edges,
        spacing=0.1,
    )
    config = {
        "data": f"arrays:{tmp_path / 'mine.npz'}",
        "schedule": {"steps": 3},
        "pairs_per_batch": 200,
        "name": "mine",
    }
    done = run_training(config, tmp_path / "run", None)
    card = json.loads(Path(done["weights"]).with_suffix(".json").read_text())
    assert card["task"] == "trajectory-arrays" and card["training"]["spacing"] == pytest.approx(0.1)
    made = GeometricTrajectoryModel(done["weights"]).continue_(
        spring.positions[0, :4], spring.nodes[0], spring.edges[0], 2, [0]
    )
    assert made.shape == (1, 2, N, 3)
    np.savez(tmp_path / "bad.npz", positions=spring.positions)
    with pytest.raises(InputError, match="nodes"):
        run_training(config | {"data": f"arrays:{tmp_path / 'bad.npz'}"}, tmp_path / "other", None)
    with pytest.raises(InputError, match="arrays:"):
        run_training(config | {"data": f"arrays:{tmp_path / 'none.npz'}"}, tmp_path / "other", None)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["train_nbody", "train_nbody_field", "train_pedestrians", "train_pedestrians_density"]
)
def test_example_configs_train(tmp_path: Path, name: str) -> None:
    """As they stand, but for two steps on little data."""
    config = yaml.safe_load((Path(__file__).parents[3] / "examples" / f"{name}.yaml").read_text())
    config["schedule"] |= {"steps": 2}
    if "nbody" in name:
        config |= {"trajectories": 4, "pairs_per_batch": 400}
    else:
        walk = [(f, p, 0.4 * f + p, float(p)) for f in range(24) for p in range(3)]
        text = "\n".join(f"{f} {p} Pedestrian {'-1 ' * 10}{x} -1.0 {y} -1.0" for f, p, x, y in walk)
        for track in [
            *(t for files in pedestrians.SCENES.values() for t in files),
            *pedestrians.FURTHER,
        ]:
            (tmp_path / f"{track}.txt").write_text(text)
        config |= {"data": f"eth-ucy:{tmp_path}", "pairs_per_batch": 8000}
    done = run_training(config, tmp_path / "run", None)
    model = GeometricTrajectoryModel(done["weights"])
    assert model.name == config["name"] and done["steps"] == 2
    if name == "train_pedestrians_density":
        assert model.card["config"]["comoving"] is False, "ground is a frame of its own"
    if name == "train_pedestrians":
        with pytest.raises(UnknownNameError, match="hotels"):
            run_training(config | {"leave_out": "hotels"}, tmp_path / "other", None)
        with pytest.raises(InputError, match="no force between pairs"):
            run_training(config | {"kind": "integrator", "network": {}}, tmp_path / "other", None)
        with pytest.raises(InputError, match="20 frames"):
            run_training(config | {"frames": 12}, tmp_path / "other", None)
