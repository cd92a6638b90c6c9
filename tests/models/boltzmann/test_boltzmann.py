"""The Boltzmann generator: exact maps and densities, invariances, training, weights,
and the proposer made of it.
"""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.errors import InputError, InputTypeError, WeightsError
from equidrift.geometry import dihedrals
from equidrift.models.boltzmann.coordinates import LOG_ROTATIONS, ZMatrix, wrapped
from equidrift.models.boltzmann.data import Batches, Frames, chart_data, soft_torsions
from equidrift.models.boltzmann.network import BoltzmannFlow, FlowConfig
from equidrift.models.boltzmann.objective import Batch, likelihood_loss, path_loss
from equidrift.models.boltzmann.sampler import BoltzmannGenerator, BoltzmannProposer, load_boltzmann
from equidrift.models.boltzmann.splines import circular_spline
from equidrift.models.boltzmann.train import fit, make_flow, run_training
from equidrift.models.boltzmann.weights import (
    ess,
    free_energy_difference,
    importance_weights,
    log_weights,
)
from equidrift.montecarlo.metropolis import Statistics, accept, metropolis
from equidrift.units import BOLTZMANN_EV_PER_K

TEMPERATURE_K = 300.0
KT = BOLTZMANN_EV_PER_K * TEMPERATURE_K
# name -> (atomic numbers, bonds): bent, a torsion, a branched centre, a methyl
MOLECULES: dict[str, tuple[list[int], list[tuple[int, int]]]] = {
    "water": ([8, 1, 1], [(0, 1), (0, 2)]),
    "peroxide": ([1, 8, 8, 1], [(0, 1), (1, 2), (2, 3)]),
    "ammonia": ([7, 1, 1, 1], [(0, 1), (0, 2), (0, 3)]),
    "methanol": ([6, 8, 1, 1, 1, 1], [(0, 1), (1, 2), (0, 3), (0, 4), (0, 5)]),
}
HARMONIC = 20.0  # eV/A^2 of the bonds; a fifth of it per rad^2 for the angles


def toy_frames(name: str, n: int = 400, seed: int = 0) -> Frames:
    """Frames whose internal coordinates are normal, with torsions all around for the
    proper ones.
    """
    numbers, bonds = MOLECULES[name]
    tree = ZMatrix.of(len(numbers), bonds, numbers)
    rng = np.random.default_rng(seed)
    k = len(numbers)
    lengths = 1.2 + 0.04 * rng.standard_normal((n, k - 1))
    angles = 1.9 + 0.08 * rng.standard_normal((n, k - 2))
    placed = tree.rows[3:, 1]
    torsions = np.empty((n, k - 3))
    for j in range(k - 3):
        improper = tree.rows[3 + j, 3] in [
            i for i, a in tree.rows[:, :2].tolist() if a == placed[j]
        ]
        centre = (2.1 if np.sum(placed[:j] == placed[j]) % 2 else -2.1) if improper else 0.0
        torsions[:, j] = (
            centre + 0.1 * rng.standard_normal(n) if improper else rng.uniform(-np.pi, np.pi, n)
        )
    x = tree.to_cartesian(*(torch.from_numpy(v) for v in (lengths, angles, torsions))).numpy()
    return Frames(np.array(numbers), np.array(bonds), x, None, TEMPERATURE_K)


def shaken(flow: BoltzmannFlow, size: float = 0.05, seed: int = 1) -> BoltzmannFlow:
    """The flow in float64 with every weight moved a little, so that nothing is the
    identity any more.
    """
    generator = torch.Generator().manual_seed(seed)
    flow = flow.double()
    with torch.no_grad():
        for weights in flow.parameters():
            weights.add_(
                size * torch.randn(weights.shape, generator=generator, dtype=weights.dtype)
            )
    return flow


def toy_generator(name: str) -> BoltzmannGenerator:
    frames = toy_frames(name)
    flow = shaken(make_flow([frames], network={"width": 16, "layers": 3, "bins": 6}))
    return BoltzmannGenerator(flow, frames.numbers, frames.bonds, TEMPERATURE_K)


@pytest.fixture(params=sorted(MOLECULES), scope="module")
def generator(request: pytest.FixtureRequest) -> BoltzmannGenerator:
    return toy_generator(request.param)


def rotated(x: np.ndarray, seed: int = 0) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    q[:, 0] *= np.sign(np.linalg.det(q))
    return x @ q + np.array([3.0, -1.0, 10.0])


def test_round_trip_through_chart_and_latent(generator: BoltzmannGenerator) -> None:
    flow = generator.flow
    x = torch.from_numpy(generator.sample(50, 3)[0])
    y, log_volume = flow.to_chart(x)
    back, same_volume = flow.from_chart(y, flow.tree.frame_of(x))
    assert torch.allclose(back, x, atol=1e-9) and torch.allclose(log_volume, same_volume, atol=1e-9)
    latent, log_det = flow.to_latent(y)
    again, minus = flow.from_latent(latent)
    again = torch.cat(
        [wrapped(again[:, : flow.m] - y[:, : flow.m]), again[:, flow.m :] - y[:, flow.m :]], dim=1
    )
    assert again.abs().max() < 1e-8 and torch.allclose(log_det, -minus, atol=1e-8)


def test_torsions_are_those_of_the_core() -> None:
    generator = toy_generator("methanol")
    x, _ = generator.sample(20)
    _, _, torsions = generator.flow.tree.to_internal(torch.from_numpy(x))
    np.testing.assert_allclose(
        torsions.numpy(), dihedrals(x, generator.flow.tree.torsions), atol=1e-12
    )


def test_log_determinant_of_the_flow_is_autograds(generator: BoltzmannGenerator) -> None:
    flow = generator.flow
    y = flow.to_chart(torch.from_numpy(generator.sample(3, 5)[0]))[0]
    for row in y:
        jacobian = torch.autograd.functional.jacobian(lambda v: flow.to_latent(v[None])[0][0], row)
        assert float(flow.to_latent(row[None])[1]) == pytest.approx(
            float(torch.linalg.slogdet(jacobian)[1]), abs=1e-8
        )


def test_volume_of_the_chart_is_autograds(generator: BoltzmannGenerator) -> None:
    """|dx / d(translation, rotation, y)| in all 3n coordinates; a rotation vector at 0
    has the measure of SO(3).
    """
    flow = generator.flow
    x = torch.from_numpy(generator.sample(1, 6)[0][0])
    y, log_volume = flow.to_chart(x[None])
    origin, axes = flow.tree.frame_of(x)

    def placed(v: torch.Tensor) -> torch.Tensor:
        zero = v.new_zeros(())
        a, b, c = v[3:6]
        turn = torch.linalg.matrix_exp(
            torch.stack([torch.stack(r) for r in ((zero, -c, b), (c, zero, -a), (-b, a, zero))])
        )
        return flow.from_chart(v[None, 6:], (origin + v[:3], axes @ turn.T))[0].flatten()

    jacobian = torch.autograd.functional.jacobian(
        placed, torch.cat([torch.zeros(6, dtype=y.dtype), y[0]])
    )
    assert jacobian.shape == (x.numel(), x.numel())
    assert float(log_volume) - LOG_ROTATIONS == pytest.approx(
        float(torch.linalg.slogdet(jacobian)[1]), abs=1e-8
    )


@pytest.mark.long
def test_density_of_three_atoms_integrates_to_one() -> None:
    """By quadrature over both bonds and the angle, the volume element written down
    anew.
    """
    generator = toy_generator("water")
    grids = [np.linspace(0.85, 1.6, 60), np.linspace(0.85, 1.6, 60), np.linspace(1.2, 2.6, 60)]
    p, q, theta = (v.ravel() for v in np.meshgrid(*grids, indexing="ij"))
    zero = np.zeros_like(p)
    x = np.stack(
        [
            np.stack([zero] * 3, 1),
            np.stack([p, zero, zero], 1),
            np.stack([q * np.cos(theta), q * np.sin(theta), zero], 1),
        ],
        axis=1,
    )
    density = np.exp(generator.log_prob(x)) * 8 * np.pi**2 * p**2 * q**2 * np.sin(theta)
    cell = math.prod(float(g[1] - g[0]) for g in grids)
    assert density.sum() * cell == pytest.approx(1.0, abs=2e-3)


@pytest.mark.long
def test_density_of_four_atoms_integrates_to_one() -> None:
    """By importance sampling from plain normals and a uniform torsion, independent of
    the flow.
    """
    generator = toy_generator("peroxide")
    rng, n = np.random.default_rng(0), 40000
    y = generator.flow.to_chart(torch.from_numpy(generator.sample(2000)[0]))[0].numpy()[:, 1:]
    mean, spread = y.mean(axis=0), np.linalg.cholesky(1.3 * np.cov(y.T))
    e = rng.standard_normal((n, y.shape[1]))
    log_r = (
        -0.5 * (e**2).sum(axis=1)
        - np.log(np.diag(spread)).sum()
        - 0.5 * y.shape[1] * np.log(2 * np.pi)
        - np.log(2 * np.pi)
    )
    drawn = torch.from_numpy(
        np.concatenate([rng.uniform(-np.pi, np.pi, (n, 1)), mean + e @ spread.T], axis=1)
    )
    x, log_volume = generator.flow.from_chart(drawn)
    ratio = np.exp(generator.log_prob(rotated(x.numpy())) + log_volume.numpy() - log_r)
    assert (
        ratio.mean() == pytest.approx(1.0, abs=5 * ratio.std() / np.sqrt(n))
        and ratio.std() / np.sqrt(n) < 0.02
    )


def test_log_prob_knows_no_place_or_orientation_but_handedness() -> None:
    generator = toy_generator("methanol")
    x, log_q = generator.sample(30, 1)
    np.testing.assert_allclose(generator.log_prob(x), log_q, atol=1e-8)
    np.testing.assert_allclose(generator.log_prob(rotated(x)), log_q, atol=1e-8)
    assert np.all(
        generator.log_prob(x * np.array([1, 1, -1.0])) < log_q - 20
    )  # the other labelling of the methyl was never seen


def test_turning_a_methyl_by_a_third_leaves_the_torsions_density() -> None:
    flow = toy_generator("methanol").flow
    assert len(flow.rotors) == 1
    soft = torch.rand(20, flow.m, dtype=torch.float64) * 2 * math.pi
    k = next(iter(flow.rotors))
    moved = soft.clone()
    moved[:, k] = torch.remainder(moved[:, k] + 2 * math.pi / 3, 2 * math.pi)
    assert torch.allclose(flow.soft_to_latent(soft)[1], flow.soft_to_latent(moved)[1], atol=1e-9)


def test_relabelled_hydrogens_are_the_same_molecule_in_other_coordinates() -> None:
    """A methyl's mean phase moves by a third exactly; energies, and so scores, are
    those of the relabelled frame.
    """
    generator = toy_generator("methanol")
    flow, members = generator.flow, generator.flow.tree.rotors[0]
    x = torch.from_numpy(generator.sample(10)[0])
    order = np.arange(6)
    order[members] = np.roll(members, 1)
    k = next(iter(flow.rotors))
    change = wrapped(flow.to_chart(x[:, order])[0][:, k] - flow.to_chart(x)[0][:, k])
    assert torch.allclose(change.abs(), torch.full_like(change, 2 * math.pi / 3), atol=1e-9)


def test_samples_do_not_depend_on_the_batch_and_keep_their_centres() -> None:
    generator = toy_generator("peroxide")
    many, log_many = generator.sample(1500, 2)
    few, log_few = generator.sample(5, 2)
    np.testing.assert_allclose(many[:5], few, atol=1e-9)
    np.testing.assert_allclose(log_many[:5], log_few, atol=1e-9)
    np.testing.assert_allclose(many.mean(axis=1), 0, atol=1e-12)
    assert not np.allclose(generator.sample(5, 3)[0], few)


@pytest.mark.long
def test_samples_of_a_range_lie_in_it_with_the_density_within_it() -> None:
    generator = toy_generator("peroxide")
    low, high = 2.0, 5.0  # across pi
    x, log_q = generator.sample(200, first_torsion_rad=(low, high))
    angle = dihedrals(x, generator.soft_torsions)[:, 0] % (2 * np.pi)
    assert angle.min() >= low - 1e-9 and angle.max() <= high + 1e-9
    mass = generator.torsion_mass(low, high)
    np.testing.assert_allclose(log_q, generator.log_prob(x) - np.log(mass), atol=1e-8)
    everything = dihedrals(generator.sample(4000)[0], generator.soft_torsions)[:, 0] % (2 * np.pi)
    assert np.mean((everything > low) & (everything < high)) == pytest.approx(mass, abs=0.04)
    assert generator.torsion_mass(0.3, 0.3 + 2 * np.pi) == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.floats(0.1, 3.0), st.integers(0, 1000))
def test_circular_spline_is_a_periodic_bijection(bins: int, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    numbers = (size * torch.randn(1, 3 * bins, generator=generator, dtype=torch.float64)).expand(
        200, -1
    )
    x = torch.rand(200, generator=generator, dtype=torch.float64)
    y, log_slope = circular_spline(x, numbers, inverse=False)
    back, minus = circular_spline(y, numbers, inverse=True)
    assert torch.allclose(back, x, atol=1e-7) and torch.allclose(minus, -log_slope, atol=1e-5)
    ends, slopes = circular_spline(
        torch.tensor([0.0, 1.0], dtype=torch.float64), numbers[:2], inverse=False
    )
    assert torch.allclose(
        ends, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-12
    ) and slopes[0] == pytest.approx(float(slopes[1]))


# --- training


def potential(x: np.ndarray) -> np.ndarray:
    """(k,) eV of H-O-O-H (k, 4, 3): harmonic bonds and angles, two wells in the
    torsion.
    """
    tree = ZMatrix.of(4, MOLECULES["peroxide"][1], MOLECULES["peroxide"][0])
    lengths, angles, torsions = (v.numpy() for v in tree.to_internal(torch.from_numpy(x)))
    stiff = 0.5 * HARMONIC * ((lengths - 1.2) ** 2).sum(1) + 0.1 * HARMONIC * (
        (angles - 1.9) ** 2
    ).sum(1)
    phi = torsions[:, 0]
    return (
        stiff
        + KT * (1.5 * np.cos(2 * phi) + np.sin(phi))
        + 0.02 * HARMONIC * (angles[:, 0] - 1.9) * np.cos(phi)
    )


def sampled_frames(n: int, seed: int = 0) -> Frames:
    """Frames of `potential` by resampling, with forces by differences."""
    rng = np.random.default_rng(seed)
    tree = ZMatrix.of(4, MOLECULES["peroxide"][1], MOLECULES["peroxide"][0])
    k = 20 * n
    values = [
        1.2 + 0.05 * rng.standard_normal((k, 3)),
        1.9 + 0.12 * rng.standard_normal((k, 2)),
        rng.uniform(-np.pi, np.pi, (k, 1)),
    ]
    log_r = -0.5 * (((values[0] - 1.2) / 0.05) ** 2).sum(1) - 0.5 * (
        ((values[1] - 1.9) / 0.12) ** 2
    ).sum(1)
    b, t, f = (torch.from_numpy(v) for v in values)
    x = tree.to_cartesian(b, t, f).numpy()
    w = importance_weights(-potential(x) / KT + tree.log_volume(b, t).numpy() - log_r)
    x = x[rng.choice(k, n, p=w)]
    forces = np.empty_like(x)
    for i in range(4):
        for j in range(3):
            step = np.zeros((4, 3))
            step[i, j] = 1e-4
            forces[:, i, j] = (potential(x - step) - potential(x + step)) / 2e-4
    return Frames(
        np.array(MOLECULES["peroxide"][0]),
        np.array(MOLECULES["peroxide"][1]),
        x,
        forces,
        TEMPERATURE_K,
    )


def test_scores_in_the_chart_are_those_of_the_density() -> None:
    """grad_y of -U / kT + log |dx / dy| by differences."""
    frames = sampled_frames(5)
    flow = make_flow([sampled_frames(300)]).double()
    y, score = chart_data(flow, frames, KT)
    assert score is not None
    y = flow.to_chart(torch.from_numpy(frames.positions_A))[0]

    def log_p(v: torch.Tensor) -> np.ndarray:
        x, log_volume = flow.from_chart(v)
        return -potential(x.numpy()) / KT + log_volume.numpy()

    for k in range(y.shape[1]):
        step = torch.zeros_like(y)
        step[:, k] = 1e-4
        np.testing.assert_allclose(
            score[:, k].numpy(), (log_p(y + step) - log_p(y - step)) / 2e-4, atol=2e-3
        )


def test_path_gradient_vanishes_at_the_true_density_and_is_unbiased_elsewhere() -> None:
    flow = shaken(make_flow([sampled_frames(300)], network={"width": 8, "layers": 2, "bins": 4}))
    latent = torch.cat(
        [torch.rand(4000, 1) * 2 * math.pi, torch.randn(4000, flow.n_stiff)], dim=1
    ).double()
    y = flow.from_latent(latent)[0].detach()

    def gradients(loss: torch.Tensor, of: BoltzmannFlow) -> torch.Tensor:
        stiff = [weights for name, weights in of.named_parameters() if "spline" not in name]
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, stiff)])

    u = y.clone().requires_grad_()
    (score,) = torch.autograd.grad(flow.log_prob_chart(u).sum(), u)
    batch = Batch(y, torch.ones(len(y), dtype=y.dtype), score)
    scale = gradients(
        likelihood_loss(flow, Batch(y[:50], torch.ones(50, dtype=y.dtype))), flow
    ).norm()
    assert gradients(path_loss(flow, batch), flow).norm() < 1e-6 * scale
    other = shaken(copy.deepcopy(flow), 0.02, seed=5)
    assert float(path_loss(other, batch).detach()) == pytest.approx(
        float(likelihood_loss(other, batch).detach()), rel=1e-9
    )
    a, b = (
        gradients(path_loss(other, batch), other),
        gradients(likelihood_loss(other, batch), other),
    )
    assert (
        torch.dot(a, b) / (a.norm() * b.norm()) > 0.8
    )  # the likelihood's has the noise of 4,000 frames


@pytest.mark.long
def test_training_on_user_frames_makes_a_generator_worth_its_weights(tmp_path: Path) -> None:
    frames = sampled_frames(3000)
    path = tmp_path / "frames.npz"
    data = {
        key: getattr(frames, key)
        for key in ("numbers", "bonds", "positions_A", "forces_eV_A", "temperature_K")
    }
    np.savez(path, **data)
    schedule = {"steps": 150, "learning_rate": 3e-3}
    config: dict[str, Any] = {
        "data": str(path),
        "name": "toy",
        "likelihood_steps": 60,
        "likelihood": 1.0,
        "schedule": schedule,
    }
    config["copies"] = 1
    config["network"] = {"width": 32, "layers": 2, "bins": 8}
    done = run_training(config, tmp_path / "run", None)
    assert done["steps"] == 150 and done["frames"] == 2850  # a twentieth is held out
    assert done["held_out_loss_after"] < done["held_out_loss_before"]
    generator = load_boltzmann(done["weights"])
    x, log_q = generator.sample(2000, 1)
    log_w = log_weights(log_q, potential(x), TEMPERATURE_K)
    assert ess(log_w) > 0.9
    again = pickle.loads(pickle.dumps(generator))
    np.testing.assert_array_equal(again.sample(3)[0], generator.sample(3)[0])
    sides = [
        generator.sample(2000, 2, first_torsion_rad=(side, side + math.pi))
        for side in (0.0, math.pi)
    ]
    found, error = free_energy_difference(
        *(log_weights(log_r, potential(y), TEMPERATURE_K) for y, log_r in sides)
    )
    grid = np.linspace(0, 2 * np.pi, 2000, endpoint=False) + np.pi / 2000
    mass = np.exp(
        -1.5 * np.cos(2 * grid) - np.sin(grid) + 0.5 * (0.4 / KT * np.cos(grid)) ** 2 * KT / 4.0
    )  # the angle integrated out
    exact = math.log(mass[grid < np.pi].sum() / mass[grid > np.pi].sum())
    assert found == pytest.approx(exact, abs=4 * error + 0.02) and error < 0.05
    own = fit(
        Frames.load(path),
        tmp_path / "other",
        schedule={"steps": 3},
        network=config["network"],
        copies=1,
    )
    assert own.n_atoms == 4 and own.temperature_K == TEMPERATURE_K
    with pytest.raises(InputError, match="--resume"):
        run_training(config, tmp_path / "run", None)


# --- weights


def test_ess_of_known_weights() -> None:
    assert ess(np.zeros(10)) == pytest.approx(1.0)
    assert ess([0.0, -np.inf]) == pytest.approx(0.5)
    assert ess(np.log([3.0, 1.0])) == pytest.approx(16 / 20)
    assert ess(np.array([1e4, 1e4 - np.log(3)])) == pytest.approx(16 / 20)  # no overflow
    log_w = np.random.default_rng(0).standard_normal(200_000)  # log-normal: exp(-s^2)
    assert ess(0.7 * log_w) == pytest.approx(math.exp(-0.49), abs=0.01)


def test_weights_of_energies_that_are_not_finite_are_zero() -> None:
    log_w = log_weights([0.0, 0.0, -np.inf], [0.1, np.nan, 0.0], 300.0)
    assert np.isneginf(log_w[1:]).all() and log_w[0] == pytest.approx(-0.1 / KT)


@pytest.mark.long
def test_free_energy_difference_of_one_set_and_its_error() -> None:
    rng = np.random.default_rng(1)
    spread = []
    for seed in range(60):
        inside = rng.random(2000) < 0.2
        log_w = np.zeros(2000)
        found, error = free_energy_difference(
            np.where(inside, -np.inf, log_w), np.where(inside, log_w, -np.inf), seed
        )
        spread.append(found)
    assert np.mean(spread) == pytest.approx(math.log(4), abs=0.03)
    assert error == pytest.approx(np.std(spread), rel=0.35)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.sample(0), "n must be 1 or more"),
        (lambda g: g.log_prob(np.zeros((2, 3, 3))), r"expected \(k, 4, 3\)"),
        (lambda g: g.sample(3, first_torsion_rad=(2.0, 1.0)), "low < high"),
        (lambda g: log_weights([0.0], [0.0, 1.0], 300), "one per sample"),
        (lambda g: log_weights([0.0], [0.0], 0), "temperature_K"),
        (lambda g: importance_weights([-np.inf, -np.inf]), "at least one finite"),
        (lambda g: importance_weights([np.nan]), "finite"),
        (lambda g: ZMatrix.of(2, [(0, 1)], [1, 1]), "three atoms"),
        (lambda g: ZMatrix.of(4, [(0, 1), (2, 3)], [1, 8, 8, 1]), "fragments"),
        (lambda g: ZMatrix.of(3, [(0, 1), (1, 7)], [1, 8, 1]), "0 to 2"),
        (lambda g: Frames.load("nowhere.npz"), "cannot be read"),
        (
            lambda g: Frames(
                np.array([1, 8, 1]), np.zeros((0, 2)), np.zeros((2, 4, 3)), None, 300.0
            ),
            "positions_A",
        ),
        (
            lambda g: Frames(np.array([1, 8, 1]), np.zeros((0, 2)), np.zeros((2, 3, 3)), None, 0.0),
            "temperature_K",
        ),
        (
            lambda g: Frames(
                np.array([1, 8, 1]),
                np.zeros((0, 2)),
                np.zeros((2, 3, 3)),
                np.zeros((2, 2, 3)),
                300.0,
            ),
            "forces_eV_A",
        ),
        (lambda g: run_training({"data": "x.npz", "wrong": 1}, Path("x"), 10.0), "wrong"),
        (lambda g: run_training({"data": "x.npz"}, Path("x"), None), "--budget"),
        (lambda g: make_flow([toy_frames("water")], network={"layres": 3}), "layres"),
        (lambda g: make_flow([toy_frames("water"), toy_frames("ammonia")]), "different molecules"),
        (lambda g: BoltzmannProposer(g).to_dict(), "pickle"),
    ],
)
def test_bad_input_says_what_to_do(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(toy_generator("peroxide"))


def test_number_of_samples_that_is_no_integer_is_refused() -> None:
    with pytest.raises(InputTypeError, match="n must be an integer, not True"):
        load_boltzmann().sample(True)


def test_other_models_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match="task 'generate', expected 'boltzmann'"):
        load_boltzmann("conformer")


def test_linear_molecules_are_refused() -> None:
    tree = ZMatrix.of(3, [(0, 1), (1, 2)], [8, 6, 8])
    x = np.array([[[0.0, 0, 0], [1.16, 0, 0], [2.32, 0, 1e-3]]] * 2)
    with pytest.raises(InputError, match="one line"):
        soft_torsions(tree, x)


def test_density_is_zero_where_the_geometry_has_none() -> None:
    generator = toy_generator("water")
    x = np.zeros((2, 3, 3))
    x[1, 1:, 0] = 1.0, 2.0
    assert np.isneginf(generator.log_prob(x)).all()


def test_batches_are_the_same_whenever_asked_for() -> None:
    y = torch.arange(20.0)[:, None]
    batches = Batches([(y, y, np.ones(10), 3.0), (-y, -y, 0.5 * np.ones(20), 1.0)], 64, 0)
    one, again, other = batches(3), batches(3), batches(4)
    assert torch.equal(one.y, again.y) and not torch.equal(one.y, other.y)
    assert one.score is not None and torch.equal(one.score, one.y)
    assert torch.equal(
        one.weight[one.y[:, 0] < 0], torch.full_like(one.weight[one.y[:, 0] < 0], 0.5)
    )


# --- the proposer


@pytest.fixture(scope="module")
def rough() -> BoltzmannGenerator:
    """A poor proposer: untrained, torsions and all moved about."""
    frames = sampled_frames(500)
    flow = shaken(make_flow([frames], network={"width": 8, "layers": 2}), 0.1)
    return BoltzmannGenerator(flow, frames.numbers, frames.bonds, TEMPERATURE_K)


def worst_deviation(generator: BoltzmannGenerator, sign: float, moves: int = 100_000) -> float:
    """Of the populations of eight cells of the torsion and of the mean bond lengths, in
    standard errors of 50 blocks.

    The chain is that of `metropolis` with every proposal drawn in one block; `sign` of
    the ratio.
    """
    start = rotated(sampled_frames(2, seed=7).positions_A[0])
    proposals = BoltzmannProposer(generator).propose_independent(
        start, moves, kT_eV=KT, rng=np.random.default_rng(0)
    )
    x = np.concatenate([start[None], [p.positions_A for p in proposals]])
    log_q = np.concatenate([[generator.log_prob(start)], [p.info["log_q"] for p in proposals]])
    u, rng = potential(x) / KT, np.random.default_rng(1)
    at, path = 0, np.empty(moves, np.int64)
    for k in range(1, moves + 1):
        if accept(u[k] - u[at], sign * (log_q[at] - log_q[k]), rng):
            at = k
        path[k - 1] = at
    seen, exact = (
        observables(x, generator)[path],
        observables(sampled_frames(20000, seed=3).positions_A, generator),
    )
    blocks = seen.reshape(50, -1, seen.shape[1]).mean(axis=1)
    error = np.sqrt(blocks.var(axis=0, ddof=1) / 50 + exact.var(axis=0) / len(exact))
    return float((np.abs(seen.mean(axis=0) - exact.mean(axis=0)) / error).max())


def observables(x: np.ndarray, generator: BoltzmannGenerator) -> np.ndarray:
    """(k, 11): in which eighth of the circle the torsion is, and the three bonds."""
    cell = (
        np.floor((dihedrals(x, generator.soft_torsions)[:, 0] / np.pi + 1) * 4)
        .astype(int)
        .clip(0, 7)
    )
    return np.concatenate([np.eye(8)[cell], np.linalg.norm(x[:, :-1] - x[:, 1:], axis=2)], axis=1)


@pytest.mark.long
def test_proposals_leave_the_boltzmann_distribution_unchanged(rough: BoltzmannGenerator) -> None:
    assert worst_deviation(rough, 1.0) < 4.5


@pytest.mark.long
def test_the_wrong_sign_of_the_ratio_would_be_seen(rough: BoltzmannGenerator) -> None:
    assert worst_deviation(rough, -1.0) > 10


def test_metropolis_keeps_place_and_orientation_and_uses_the_ratio(
    rough: BoltzmannGenerator,
) -> None:
    x = rotated(sampled_frames(2, seed=7).positions_A[0])
    start, axes = rough.flow.tree.frame_of(torch.from_numpy(x))
    statistics, rng = Statistics(), np.random.default_rng(0)
    options: dict[str, Any] = {"kT_eV": KT, "rng": rng, "statistics": statistics}
    energy = lambda v: float(potential(v[None])[0])  # noqa: E731
    new, u, accepted = metropolis(BoltzmannProposer(rough), x, energy(x), energy, 200, **options)
    place, orientation = rough.flow.tree.frame_of(torch.from_numpy(new))
    assert torch.allclose(place, start, atol=1e-9) and torch.allclose(orientation, axes, atol=1e-9)
    assert (
        accepted == statistics.accepted and 0 < accepted < 200 and u == pytest.approx(energy(new))
    )


def test_ratios_of_every_way_to_propose_agree(rough: BoltzmannGenerator) -> None:
    proposer = BoltzmannProposer(rough)
    states = rotated(sampled_frames(3).positions_A)
    for x, found in zip(
        states, proposer.propose_many(states, kT_eV=KT, rng=np.random.default_rng(0)), strict=True
    ):
        assert found.log_q_ratio == pytest.approx(
            float(rough.log_prob(x) - rough.log_prob(found.positions_A)), abs=1e-8
        )
    one = proposer.propose(states[0], kT_eV=KT, rng=np.random.default_rng(1))
    same = proposer.propose_independent(states[0], 1, kT_eV=KT, rng=np.random.default_rng(1))[0]
    np.testing.assert_array_equal(one.positions_A, same.positions_A)
    assert one.log_q_ratio == same.log_q_ratio == same.info["log_q_current"] - same.info["log_q"]


def test_proposer_survives_pickling(rough: BoltzmannGenerator) -> None:
    proposer = BoltzmannProposer(rough)
    x = sampled_frames(2).positions_A[0]
    again = pickle.loads(pickle.dumps(proposer))
    options: dict[str, Any] = {"kT_eV": KT}
    a, b = (p.propose(x, rng=np.random.default_rng(3), **options) for p in (proposer, again))
    np.testing.assert_array_equal(a.positions_A, b.positions_A)
    assert a.log_q_ratio == b.log_q_ratio


def test_config_is_plain_data() -> None:
    config = toy_generator("methanol").flow.config
    assert FlowConfig(**config.to_dict()) == config
