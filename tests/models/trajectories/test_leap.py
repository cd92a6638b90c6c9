"""Leaps: the density, an analytic process that it learns, mirror images, models and
exact proposals made of it.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import expm

from equidrift import forecast
from equidrift.errors import InputError
from equidrift.models.shared.run import fit, fresh
from equidrift.models.shared.trainer import Schedule
from equidrift.models.trajectories.dynamics import save_dynamics
from equidrift.models.trajectories.leap import scan
from equidrift.models.trajectories.leap.data import LeapBatches, present_of
from equidrift.models.trajectories.leap.density import LeapConfig, LeapNetwork, Leaps, Present
from equidrift.models.trajectories.leap.features import NODE, PAIR, TorsionTable
from equidrift.models.trajectories.leap.objective import leap_loss
from equidrift.models.trajectories.leap.proposer import LeapProposer
from equidrift.models.trajectories.leap.sampler import LeapModel
from equidrift.models.trajectories.train import run_training
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_model, make_trajectory_model
from equidrift.seeds import sample_seeds
from equidrift.units import BOLTZMANN_EV_PER_K
from tests.leaps import SMALL, config, walk
from tests.sampling import BINS, p_value, rigid_density

Array = NDArray[np.float64]
LAG = 1.0  # of the analytic process, in ps


def potential(phi: Array) -> Array:
    """Three wells of unequal depth, in kT."""
    return 1.5 * np.cos(3 * phi) + 0.6 * np.cos(phi) + 0.4 * np.sin(phi)


def generator(cells: int, diffusion: float) -> Array:
    """The rate matrix (cells, cells) of overdamped Langevin dynamics on the circle, in
    detailed balance with `potential`.
    """
    phi = -math.pi + (np.arange(cells) + 0.5) * 2 * math.pi / cells
    hop, energy = diffusion / (2 * math.pi / cells) ** 2, potential(phi)
    rates = np.zeros((cells, cells))
    for way in (1, -1):
        to = (np.arange(cells) + way) % cells
        rates[np.arange(cells), to] = hop * np.exp(-0.5 * (energy[to] - energy))
    return rates - np.diag(rates.sum(1))


class CircleBatches:
    """Pairs (phi(t), phi(t + LAG)) of the process, drawn from its exact law."""

    def __init__(self, cells: int = 180):
        self.step = expm(LAG * generator(cells, 0.35))
        still = np.exp(-potential(-math.pi + (np.arange(cells) + 0.5) * 2 * math.pi / cells))
        self.still, self.cells = still / still.sum(), cells

    def angles(self, cell: NDArray[np.int64], rng: np.random.Generator) -> Array:
        return -math.pi + (cell + rng.random(len(cell))) * 2 * math.pi / self.cells

    def __call__(self, step: int) -> Leaps:
        rng = np.random.default_rng([7, step])
        now = rng.choice(self.cells, 512, p=self.still)
        after = (self.step[now].cumsum(1) > rng.random((512, 1))).argmax(1)
        phi = [torch.from_numpy(self.angles(cell, rng)[:, None]).float() for cell in (now, after)]
        return Leaps(alone(phi[0]), phi[1])


def alone(phi: torch.Tensor) -> Present:
    """Systems of one torsion (b, 1) in the potential, that differ in nothing else."""
    b, angles = len(phi), phi.double().numpy()
    middle = -math.pi + (np.arange(scan.BINS) + 0.5) * 2 * math.pi / scan.BINS
    energy = np.broadcast_to(potential(middle), (b, 1, scan.BINS))
    told = [scan.log_odds(energy), -scan.ways(energy, potential(angles), angles)]
    channels = torch.from_numpy(np.stack(2 * told, -1) / scan.SCALE_KT).float()
    return Present(
        torch.zeros(b, 1, NODE),
        torch.zeros(b, 1, 1, PAIR),
        channels,
        phi,
        torch.ones(b, 1, dtype=torch.bool),
        torch.full((b,), LAG),
        torch.full((b,), 300.0),
    )


@pytest.mark.long
def test_trained_density_has_the_timescales_and_the_rest_of_a_process_known_exactly() -> None:
    batches = CircleBatches()
    network = fresh(lambda: LeapNetwork(LeapConfig(width=32, layers=1, heads=2, dropout=0.0)), 0)
    fit(network, batches, leap_loss, Schedule(steps=500, learning_rate=3e-3, warmup_steps=20), 60.0)
    bins = network.config.bins
    middle = -math.pi + (torch.arange(bins) + 0.5) * 2 * math.pi / bins
    present = alone(middle[:, None])
    with torch.no_grad():
        found = network.log_bins(network.encoded(present), present, middle[:, None])
    learned = found[:, 0].double().exp().numpy()
    group = batches.cells // bins
    weight = batches.still.reshape(bins, group)
    exact = batches.step.reshape(bins, group, bins, group).sum(3)
    exact = (weight[..., None] * exact).sum(1) / weight.sum(1)[:, None]

    def slow(step: Array) -> Array:
        values = np.sort(np.linalg.eigvals(step).real)[::-1]
        return -LAG / np.log(values[1:3])

    def rest(step: Array) -> Array:
        return np.linalg.matrix_power(step, 4096)[0]

    np.testing.assert_allclose(slow(learned), slow(exact), rtol=0.25)
    apart = 0.5 * np.abs(rest(learned) / rest(learned).sum() - weight.sum(1)).sum()
    assert apart < 0.06


@pytest.fixture(scope="module")
def pentanol() -> tuple[Molecule, Array]:
    """A chiral molecule of several torsions, and conformers (k, n, 3)."""
    molecule = Molecule.from_smiles("CC[C@H](C)CO")
    return molecule, make_model("etkdg-mmff").sample(molecule, sample_seeds(0, 0, 6))


def wild(config: LeapConfig, seed: int = 0) -> LeapNetwork:
    """A network of large random weights: a density that is far from uniform."""
    network = LeapNetwork(config)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=numbers))
    return network.eval()


def conformers(molecule: Molecule, x: Array, bins: int = scan.BINS) -> Present:
    return present_of(TorsionTable.of(molecule), x, np.full(len(x), 10.0), 300.0, bins=bins)


def test_density_integrates_to_one_and_is_that_of_the_draws(
    pentanol: tuple[Molecule, Array],
) -> None:
    molecule, x = pentanol
    network, present = wild(LeapConfig(**SMALL, bins=6)), conformers(molecule, x[:1], 6)
    m = present.phi.shape[1]
    grid = -math.pi + (torch.arange(6) + 0.5) * math.pi / 3
    every = torch.cartesian_prod(*[grid] * m).reshape(-1, m)
    many = Present(**{k: v.expand(len(every), *v.shape[1:]) for k, v in vars(present).items()})
    with torch.no_grad():
        share = network.log_prob(many, every).double().exp() * (math.pi / 3) ** m
    assert float(share.sum()) == pytest.approx(1.0, abs=1e-4)
    some = Present(**{k: v.expand(6000, *v.shape[1:]) for k, v in vars(present).items()})
    uniform = torch.from_numpy(np.random.default_rng(0).random((6000, m, 2)))
    phi, log_density = network.draw(some, uniform)
    torch.testing.assert_close(log_density, network.log_prob(some, phi).detach())
    place = (network.bin_of(phi) * 6 ** torch.arange(m - 1, -1, -1)).sum(1)
    drawn = torch.bincount(place, minlength=6**m) / 6000
    assert float((drawn - share).abs().sum()) < 2 * float((share * (1 - share) / 6000).sqrt().sum())


def test_density_does_not_see_turns_and_tells_mirror_images_apart(
    pentanol: tuple[Molecule, Array],
) -> None:
    molecule, x = pentanol
    network = wild(LeapConfig(**SMALL))
    turn = np.linalg.qr(np.cos(np.arange(9.0)).reshape(3, 3))[0]
    turn *= np.linalg.det(turn)
    phi = torch.linspace(-3, 3, 6)[:, None].expand(6, conformers(molecule, x).phi.shape[1])

    def density(y: Array, to: torch.Tensor) -> torch.Tensor:
        return network.log_prob(conformers(molecule, y), to).detach()

    torch.testing.assert_close(density(x @ turn + 3.0, phi), density(x, phi), atol=1e-3, rtol=1e-4)
    assert float((density(-x, -phi) - density(x, phi)).abs().max()) > 0.1
    table = TorsionTable.of(molecule)
    sine = np.abs(table.node(-x) - table.node(x)).max((0, 1))
    assert sine.max() > 0.5 and (sine > 1e-9).sum() < NODE / 2  # the odd numbers, and no others


@pytest.fixture(scope="module")
def weights(leap_training: dict[str, Any]) -> str:
    return str(leap_training["weights"])


@pytest.mark.long
def test_training_lowers_the_held_out_loss(leap_training: dict[str, Any]) -> None:
    assert leap_training["held_out_loss_after"] < leap_training["held_out_loss_before"]


def test_forecast_leaps_by_the_weights_of_a_training(
    weights: str, pentanol: tuple[Molecule, Array]
) -> None:
    molecule, x = pentanol
    past = Trajectory(molecule, x[:2], [0.0, 5000.0])
    past = past.replace(positions_A=np.repeat(x[:1], 2, 0))
    made = forecast(past, 3, n=2, model=weights, settle_fs=20.0)
    again = forecast(past, 3, n=1, model=weights, settle_fs=20.0)
    np.testing.assert_allclose(made[0].positions_A, again[0].positions_A, atol=1e-6)
    assert made[0].dt_fs == 5000.0 and made[0].provenance["exact"] is False
    assert np.abs(made[0].positions_A - made[1].positions_A).max() > 0.1


def test_leap_goes_where_the_density_says_when_it_has_settled(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    butane = Molecule.from_smiles("CCCC")
    x = make_model("etkdg-mmff").sample(butane, sample_seeds(0, 0, 1))
    model = make_trajectory_model(weights, settle_fs=100.0)
    assert isinstance(model, LeapModel)
    wells = np.array([np.pi, 1.1, -1.1])
    for phi in wells:
        monkeypatch.setattr(model.leaper, "drawn", lambda *_, phi=phi: (np.array([phi]), 0.0))
        one = Trajectory(butane, np.repeat(x, 2, 0), [0.0, 1000.0])
        (made,) = model.continue_(one, 1, sample_seeds(0, 0, 1))
        found = TorsionTable.of(butane).tree.torsions(made.positions_A[0])[0]
        assert wells[np.abs(np.angle(np.exp(1j * (wells - found)))).argmin()] == phi


@pytest.mark.long
def test_proposals_sample_the_boltzmann_distribution_whatever_the_density(weights: str) -> None:
    """Detailed balance: a density that was learned from another process costs acceptance,
    and nothing else.
    """
    butane = Molecule.from_smiles("CCCC")
    x = make_model("etkdg-mmff").sample(butane, sample_seeds(0, 0, 1))[0]
    proposer = LeapProposer(weights, butane, lag_ps=5.0)
    kT_eV = BOLTZMANN_EV_PER_K * 300.0
    tree, rng = proposer.tree, np.random.default_rng(1)

    def energy(y: Array) -> float:
        return float(kT_eV * potential(tree.torsions(y))[0])

    expected = rigid_density(energy, x, tree, kT_eV)
    kept, accepted = [], 0
    for _ in range(3000):
        made = proposer.propose(x, kT_eV=kT_eV, rng=rng)
        assert made.log_q_ratio is not None
        change = (energy(x) - energy(made.positions_A)) / kT_eV + made.log_q_ratio
        if math.log(rng.random()) < change:
            x, accepted = made.positions_A, accepted + 1
        kept.append(tree.torsions(x)[0])
    assert accepted > 300
    counts = np.histogram(kept, BINS, (-np.pi, np.pi))[0] / len(kept)
    assert 0.5 * np.abs(counts - expected).sum() < 0.08
    assert p_value(np.array(kept[::30]), expected) > 1e-3


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda w, t: LeapModel(w, temperature_K=500.0), "trained on dynamics at 300 to 300 K"),
        (lambda w, t: LeapProposer(w, t.molecule, lag_ps=50.0), "the training held 1 to 5 ps"),
        (lambda w, t: LeapProposer(w, Molecule.from_smiles("C"), lag_ps=5.0), "no rotatable bond"),
        (lambda w, t: LeapModel(w, settle_fs=-1.0), "settle_fs"),
        (
            lambda w, t: LeapModel(w).complete(t, np.array([True, False, True]), np.arange(1)),
            "missing before given ones",
        ),
        (
            lambda w, t: LeapProposer(w, t.molecule, lag_ps=5.0).propose(
                t.positions_A[0], kT_eV=0.05, rng=np.random.default_rng(0)
            ),
            "the leap at 300 K",
        ),
    ],
)
def test_leaps_are_refused_where_the_training_says_nothing(
    act: Any, told: str, weights: str, pentanol: tuple[Molecule, Array]
) -> None:
    molecule, x = pentanol
    t = Trajectory(molecule, x[:3], 1000.0 * np.arange(3))
    with pytest.raises(InputError, match=told):
        act(weights, t)


def test_training_is_refused_where_nothing_turns(tmp_path: Path) -> None:
    still = dataclasses.replace(walk(Molecule.from_smiles("CCCC"), 3), spacing_fs=1.0)
    save_dynamics(tmp_path / "runs.npz", [still])
    with pytest.raises(InputError, match="no run has a molecule with a rotatable bond"):
        run_training(config(tmp_path / "runs.npz"), tmp_path / "run", None)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"no \.npz file"):
        run_training(config(tmp_path / "none"), tmp_path / "other", None)


def test_batches_hold_as_many_mirror_images_and_the_lags_asked_for() -> None:
    runs = [walk(Molecule.from_smiles("CC[C@H](C)CO"), 50)]
    batches = LeapBatches(runs, lags_ps=[1.0, 5.0, 400.0], pairs=400, seed=0)
    seen = [batches(step) for step in range(6)]
    assert {float(b.present.lag_ps[0]) for b in seen} == {1.0, 5.0}
    table = TorsionTable.of(runs[0].molecule)
    odd = np.sign(
        (
            table.node(runs[0].positions_A[0].astype(float))
            - table.node(-runs[0].positions_A[0].astype(float))
        )[0]
    )
    side = np.sign((seen[0].present.node.numpy() * odd).sum((1, 2)))
    assert 0.4 < (side > 0).mean() < 0.6
