"""Acceptance against known densities, with bad proposers too; a wrong sign of the ratio
must show; what is refused; the counts.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from equidrift.errors import InexactProposalError, InputError, InputTypeError
from equidrift.montecarlo.densities import Uniform, WrappedMixture
from equidrift.montecarlo.metropolis import Statistics, accept, check_proposer, metropolis
from equidrift.montecarlo.move_checks import ConstraintMetric, MoveCheck, check_bonds, check_whole
from equidrift.montecarlo.proposals import LocalTorsionProposer, TorsionProposer
from equidrift.records import Proposal
from equidrift.torsions import TorsionTree

BUTANE = np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [2.0, 1.4, 0.0], [3.5, 1.4, 0.3]])
CHAIN = [(0, 1), (1, 2), (2, 3)]
TREE = TorsionTree(4, CHAIN, [(1, 2)])
BINS = 24


def energy_of(phi: np.ndarray) -> np.ndarray:
    """Three wells of unequal depth, in kT."""
    return 2.0 * np.cos(3 * phi) + 0.8 * np.cos(phi) + 0.5 * np.sin(phi)


def energy(x: np.ndarray) -> float:
    """Of one geometry; plain Python, as numpy is slow on four atoms."""
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2), (x3, y3, z3) = x.tolist()
    b0, b1, b2 = (
        (x1 - x0, y1 - y0, z1 - z0),
        (x2 - x1, y2 - y1, z2 - z1),
        (x3 - x2, y3 - y2, z3 - z2),
    )
    left, right = cross(b0, b1), cross(b1, b2)
    phi = math.atan2(math.sqrt(dot(b1, b1)) * dot(b0, right), dot(left, right))
    return 2.0 * math.cos(3 * phi) + 0.8 * math.cos(phi) + 0.5 * math.sin(phi)


def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def expected() -> np.ndarray:
    """Probability of each bin, by quadrature."""
    grid = (np.arange(BINS * 200) + 0.5) / (BINS * 200) * 2 * np.pi - np.pi
    weight = np.exp(-energy_of(grid)).reshape(BINS, -1).sum(axis=1)
    return weight / weight.sum()


BAD = WrappedMixture([0.7, 0.3], [[0.3], [2.0]], [[0.8], [1.5]])  # has its mass on a barrier
PROPOSERS = {
    "uniform": TorsionProposer(TREE, Uniform(1)),
    "bad mixture": TorsionProposer(TREE, BAD),
    "local": LocalTorsionProposer(TREE, 1.2),
}


class WrongSign:
    """A proposer with the sign of its log_q_ratio turned round."""

    tree = TREE

    def __init__(self, inner):
        self.inner = inner

    def propose(self, positions_A, *, kT_eV, rng):
        proposal = self.inner.propose(positions_A, kT_eV=kT_eV, rng=rng)
        return Proposal(proposal.positions_A, -proposal.log_q_ratio)


def chain(
    proposer, samples: int, thin: int, seed: int = 1, block: int | None = None
) -> tuple[np.ndarray, Statistics]:
    """Torsions after every `thin` moves; blocks of `block` moves are asked for at
    once.
    """
    rng, statistics = np.random.default_rng(seed), Statistics.of(proposer)
    x, u = BUTANE, energy(BUTANE)
    phi = np.empty(samples)
    for k in range(samples):
        x, u, _ = metropolis(
            proposer, x, u, energy, block or thin, kT_eV=1.0, rng=rng, statistics=statistics
        )
        phi[k] = TREE.torsions(x)[0]
    return phi, statistics


def p_value(phi: np.ndarray) -> float:
    counts, _ = np.histogram(phi, BINS, (-np.pi, np.pi))
    return float(stats.chisquare(counts, expected() * len(phi)).pvalue)


@pytest.mark.long
@pytest.mark.parametrize("name", PROPOSERS)
def test_torsion_marginal_is_the_boltzmann_density(name):
    thin = {"uniform": 12, "bad mixture": 20, "local": 15}[name]
    assert p_value(chain(PROPOSERS[name], 600, thin)[0]) > 0.01


def test_energy_is_that_of_the_torsion():
    x = TREE.turn(BUTANE, np.linspace(-3, 3, 7)[:, None])
    assert [energy(frame) for frame in x] == pytest.approx(energy_of(TREE.torsions(x)[:, 0]))


@pytest.mark.long
def test_wrong_sign_of_the_ratio_shows():
    assert p_value(chain(WrongSign(PROPOSERS["bad mixture"]), 500, 5)[0]) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPOSERS)
def test_torsion_marginal_with_1e5_samples(name):
    """pytest -m slow tests/plugin/test_metropolis.py"""
    thin = {"uniform": 12, "bad mixture": 25, "local": 30}[name]
    assert p_value(chain(PROPOSERS[name], 100_000, thin)[0]) > 0.01


@pytest.mark.long
@pytest.mark.parametrize("name", PROPOSERS)
def test_flux_between_cells_balances(name):
    rng, statistics = np.random.default_rng(2), Statistics()
    x, u, cells = BUTANE, energy(BUTANE), []
    for _ in range(5_000):
        x, u, _ = metropolis(
            PROPOSERS[name], x, u, energy, 1, kT_eV=1.0, rng=rng, statistics=statistics
        )
        cells.append(int((TREE.torsions(x)[0] + np.pi) / (2 * np.pi) * 6) % 6)
    flux = np.zeros((6, 6))
    np.add.at(flux, (cells[:-1], cells[1:]), 1)
    upper = np.triu_indices(6, 1)
    forward, backward = flux[upper], flux.T[upper]
    busy = forward + backward > 30
    z = (forward - backward)[busy] / np.sqrt((forward + backward)[busy])
    assert (
        busy.sum() >= 6 and np.abs(z).max() < 4 and (z**2).sum() < stats.chi2.ppf(0.999, busy.sum())
    )


@pytest.mark.long
def test_blocks_and_single_proposals_accept_alike():
    one = Statistics()
    rng, x, u = np.random.default_rng(3), BUTANE, energy(BUTANE)
    for _ in range(1500):
        x, u, _ = metropolis(
            PROPOSERS["bad mixture"], x, u, energy, 1, kT_eV=1.0, rng=rng, statistics=one
        )
    many = chain(PROPOSERS["bad mixture"], 150, 10)[1]
    assert one.proposed == many.proposed == 1500
    assert abs(one.acceptance - many.acceptance) < 0.06


def test_accept_follows_the_rule_and_rejects_what_is_not_finite():
    rng = np.random.default_rng(0)
    share = np.mean([accept(1.0, 0.3, rng) for _ in range(20_000)])
    assert abs(share - math.exp(-0.7)) < 0.015
    for delta, ratio in (
        (math.nan, 0.0),
        (math.inf, 0.0),
        (-math.inf, 0.0),
        (0.0, math.nan),
        (0.0, -math.inf),
    ):
        assert not any(accept(delta, ratio, rng) for _ in range(50))
    assert all(accept(-1.0, 0.0, rng) for _ in range(50))


def test_every_decision_draws_one_number():
    a, b = np.random.default_rng(0), np.random.default_rng(0)
    for delta in (math.nan, -5.0, 5.0):
        accept(delta, 0.0, a)
    b.random(3)
    assert a.random() == b.random()


def test_nan_energies_are_rejected_and_counted():
    statistics = Statistics.of(PROPOSERS["uniform"])
    x, u, accepted = metropolis(
        PROPOSERS["uniform"],
        BUTANE,
        0.0,
        lambda x: math.nan,
        25,
        kT_eV=1.0,
        rng=np.random.default_rng(0),
        statistics=statistics,
    )
    assert (statistics.not_finite, statistics.proposed, accepted) == (25, 25, 0)
    assert u == 0.0 and x is BUTANE


def test_impossible_way_back_is_no_broken_energy():
    class OneWay:
        def propose(self, positions_A, *, kT_eV, rng):
            return Proposal(positions_A + 1, -math.inf)

    statistics = Statistics()
    metropolis(
        OneWay(),
        BUTANE,
        0.0,
        lambda x: math.nan,
        5,
        kT_eV=1.0,
        rng=np.random.default_rng(0),
        statistics=statistics,
    )
    assert (statistics.proposed, statistics.accepted, statistics.not_finite) == (5, 0, 0)


def test_statistics_round_trip_and_count_by_torsion():
    statistics = chain(PROPOSERS["uniform"], 50, 10)[1]
    again = Statistics(**statistics.to_dict())
    assert again.to_dict() == statistics.to_dict()
    (label,) = statistics.labels
    assert label == "0-1-2-3"
    assert (
        0.5 < statistics.turned[0] / statistics.proposed < 0.8
    )  # two thirds of uniform turns exceed 60 degrees
    assert statistics.by_torsion()[label] == statistics.turned_accepted[0] / statistics.turned[0]
    assert set(statistics.seconds) == {"proposals", "energies"}
    assert math.isnan(Statistics().acceptance) and Statistics(labels=("a",)).by_torsion() == {
        "a": None
    }


# What is refused ----------------------------------------------------------------------


class NoDensity:
    name, exact = "sampler", False

    def propose(self, positions_A, *, kT_eV, rng):
        return Proposal(positions_A, None)


def test_refuses_proposers_without_density():
    with pytest.raises(InexactProposalError, match=r"sampler has no proposal density.*'mixture'"):
        check_proposer(NoDensity())
    with pytest.raises(InexactProposalError, match="returned no log_q_ratio"):
        metropolis(
            NoDensity(),
            BUTANE,
            0.0,
            energy,
            1,
            kT_eV=1.0,
            rng=np.random.default_rng(0),
            statistics=Statistics(),
        )


def test_refuses_what_does_not_propose():
    with pytest.raises(InputTypeError, match="must have a method propose"):
        check_proposer(object())


def test_refuses_another_number_of_atoms():
    with pytest.raises(InputError, match="for 4 atoms, but there are 7"):
        check_proposer(PROPOSERS["uniform"], 7)
    with pytest.raises(InputError, match=r"shape \(4, 3\), expected \(5, 3\)"):
        MoveCheck(5)(np.zeros((5, 3)), np.zeros((4, 3)))


def test_refuses_rings_and_strangers_of_the_hosts_topology():
    with pytest.raises(InputError, match="bond 1-2, which lies in a ring of this topology"):
        check_bonds(PROPOSERS["uniform"], [*CHAIN, (3, 0)], 4)
    with pytest.raises(InputError, match="1-2, which is no bond of this topology"):
        check_bonds(PROPOSERS["uniform"], [(0, 1), (2, 3), (0, 3)], 4)
    check_bonds(PROPOSERS["uniform"], CHAIN, 4)


def test_refuses_moves_of_constrained_distances_and_of_frozen_atoms():
    rng = np.random.default_rng(0)
    moved = BUTANE + 0.05 * rng.standard_normal(BUTANE.shape)
    check = MoveCheck(4, np.array([[0, 1], [2, 3]]))
    with pytest.raises(
        InputError, match=r"constrained distance of atoms \d and \d by .*constraints=None"
    ):
        check(BUTANE, moved)
    check(BUTANE, TREE.turn(BUTANE, np.array([2.0])))
    with pytest.raises(InputError, match="held fixed"):
        MoveCheck(4, frozen=np.array([3]))(BUTANE, TREE.turn(BUTANE, np.array([2.0])))
    check(BUTANE, np.full((4, 3), np.nan))  # its energy rejects it


def test_refuses_a_molecule_split_across_the_box():
    box = np.diag([10.0, 12.0, 14.0])
    split = BUTANE + np.array([[0, 0, 0], [0, 0, 0], [10, 0, 0], [10, 0, 0]])
    with pytest.raises(
        InputError, match=r"atoms 1 and 2 are bonded but .* split across the periodic box"
    ):
        check_whole(split, TREE.bonds, box)
    check_whole(BUTANE, TREE.bonds, box)
    with pytest.raises(InputError, match="no volume"):
        check_whole(BUTANE, TREE.bonds, np.zeros((3, 3)))


def test_constraint_metric_is_constant_for_bonds_and_varies_for_angles():
    proposer, masses = PROPOSERS["uniform"], np.array([1.0, 12.0, 16.0, 1.0])
    bonds = ConstraintMetric(np.array(CHAIN), masses)
    bonds.prepare(proposer, BUTANE)
    assert not bonds.varies and bonds(BUTANE) == 0.0
    angles = ConstraintMetric(np.array([*CHAIN, (0, 2), (1, 3)]), masses)
    angles.prepare(proposer, BUTANE)
    assert angles.varies and angles(BUTANE) != angles(TREE.turn(BUTANE, np.array([1.0])))
