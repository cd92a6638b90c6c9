"""Heat-bath turns: the surrogate keeps its own distribution, and with the acceptance
the host's, however bad the surrogate is.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from equidrift.errors import InputError, UnknownNameError
from equidrift.geometry import dihedrals
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics, metropolis
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.montecarlo.surroundings import CLASH_EV
from equidrift.montecarlo.turns import Turn, TurnTerms, closest_A2
from equidrift.torsions import TorsionTree
from tests.torus import balanced, fits

CHAIN = [(k, k + 1) for k in range(5)]
TREE = TorsionTree(6, CHAIN, [(1, 2), (2, 3), (3, 4)])
START = np.array(
    [
        [0.0, 1.0, 0.1],
        [0.0, 0.0, 0.0],
        [1.4, -0.5, 0.0],
        [2.1, 0.3, 1.1],
        [3.4, 0.1, 1.5],
        [4.1, 1.2, 1.1],
    ]
)


def terms(form: str = "lennard-jones", scale: float = 1.0) -> TurnTerms:
    """Pairs of a chain of six atoms, and cosines about its inner bonds; energies in
    units of kT.
    """
    pairs = np.array([(0, 3), (0, 4), (0, 5), (1, 4), (1, 5), (5, 2)])
    torsions = np.array([(0, 1, 2, 3), (4, 3, 2, 1), (2, 3, 4, 5), (0, 1, 2, 3)])
    return TurnTerms(
        n_atoms=6,
        form=form,
        pairs=pairs,
        r0_A=np.linspace(2.0, 2.6, 6),
        epsilon_eV=scale * np.linspace(0.2, 1.0, 6),
        coulomb_eV_A=scale * np.array([1.0, -2.0, 3.0, -1.0, 0.5, 2.0]),
        torsions=torsions,
        orders=np.array([3, 1, 2, 1]),
        phases_rad=np.array([0.3, 0.0, np.pi, -1.0]),
        heights_eV=scale * np.array([0.8, 1.0, 0.6, 0.5]),
    )


def energy(x: np.ndarray, found: TurnTerms) -> np.ndarray:
    """(k,) of positions (k, 6, 3), term by term."""
    r = np.linalg.norm(x[:, found.pairs[:, 0]] - x[:, found.pairs[:, 1]], axis=-1)
    if found.form == "mmff":
        s = r / found.r0_A
        pair = found.epsilon_eV * (1.07 / (s + 0.07)) ** 7 * (
            1.12 / (s**7 + 0.12) - 2
        ) + found.coulomb_eV_A / (r + 0.05)
    else:
        s = (found.r0_A / r) ** 6
        pair = 4 * found.epsilon_eV * (s * s - s) + found.coulomb_eV_A / r
    phi = dihedrals(x, found.torsions)
    return pair.sum(axis=-1) + (
        found.heights_eV * (1 + np.cos(found.orders * phi - found.phases_rad))
    ).sum(axis=-1)


class Target:
    """The density on the torus that rigid turning of START gives an energy."""

    def __init__(self, found: TurnTerms) -> None:
        self.found = found

    def log_prob(self, phi: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                -energy(TREE.set_torsions(START, part), self.found)
                for part in np.array_split(phi, 1 + len(phi) // 20000)
            ]
        )


def chain(
    surrogate: TurnTerms,
    target: TurnTerms,
    n: int,
    *,
    sign: float = 1.0,
    seed: int = 0,
    pairs: float = 0.05,
) -> tuple[np.ndarray, float]:
    """Torsions (n, 3) along a chain of proposals, and the share accepted."""
    proposer, rng = HeatBathProposer(TREE, surrogate, pairs=pairs), np.random.default_rng(seed)
    statistics = Statistics.of(proposer)

    class Signed:
        exact, tree, name = True, TREE, "signed"

        def propose(self, x, **options):
            made = proposer.propose(x, **options)
            return replace(made, log_q_ratio=sign * made.log_q_ratio)

    x, u, rows = START, float(energy(START[None], target)[0]), []
    for _ in range(n):
        found = lambda y: float(energy(y[None], target)[0])  # noqa: E731
        x, u, _ = metropolis(Signed(), x, u, found, 1, kT_eV=1.0, rng=rng, statistics=statistics)
        rows.append(TREE.torsions(x))
    return np.array(rows), statistics.acceptance


@pytest.mark.parametrize("form", ["lennard-jones", "mmff"])
def test_a_circle_has_the_energy_of_turned_positions(form):
    found, angles = terms(form), np.linspace(-3, 3, 7)
    for k in range(3):
        delta = np.zeros((7, 3))
        delta[:, k] = angles
        wanted = energy(TREE.turn(START, delta), found)
        got, _ = Turn(TREE, k, found).energies(START, angles)
        np.testing.assert_allclose(
            got - got[0], wanted - wanted[0], atol=1e-9 * np.abs(wanted).max()
        )


@pytest.mark.parametrize("form", ["lennard-jones", "mmff"])
def test_pairs_are_read_up_to_the_repulsion_of_a_clash(form):
    """One pair without charges at the distance where it is cut off."""
    found = terms(form)
    whole = replace(found, coulomb_eV_A=np.zeros(6)).without(np.ones(4, bool))
    least = np.sqrt(closest_A2(form, whole.r0_A, whole.epsilon_eV))
    for k, distance in enumerate(least):
        one = {key: getattr(whole, key)[k : k + 1] for key in ("r0_A", "epsilon_eV")}
        pair = replace(whole, pairs=np.array([[0, 1]]), coulomb_eV_A=np.zeros(1), **one)
        x = np.zeros((1, 6, 3))
        x[0, 1, 0] = distance
        assert energy(x, pair)[0] == pytest.approx(CLASH_EV, rel=0.01)
    assert closest_A2(form, np.ones(1), np.zeros(1)) == pytest.approx(0.01)  # no repulsion


def test_two_turns_past_a_clash_have_the_energy_of_where_they_end():
    """The first lays atoms 0 and 4 on each other, the second parts them."""
    square = np.array([[0, 2, 0], [0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0], [0, 2, 2.0]])
    x = TREE.turn(square, np.array([[-np.pi, 0, 0]]))[0]
    whole = terms()
    found = replace(
        whole,
        **{key: getattr(whole, key)[1:2] for key in ("pairs", "r0_A", "epsilon_eV")},
        coulomb_eV_A=np.zeros(1),
    ).without(np.ones(4, bool))
    proposer, past = HeatBathProposer(TREE, found, turns=1, points=6, pairs=1.0), 0
    for seed in range(200):
        made = proposer.propose(x, kT_eV=1.0, rng=np.random.default_rng(seed))
        here, there = energy(np.array([x, made.positions_A]), found)
        assert made.log_q_ratio == pytest.approx(there - here, abs=1e-6)
        turned = TREE.torsions(made.positions_A) - TREE.torsions(x)
        past += bool(np.isclose(np.abs(turned[0]), np.pi, atol=1e-6))
    assert past >= 3


def test_the_ratio_is_the_change_of_the_surrogate():
    proposer = HeatBathProposer(TREE, terms("mmff"), turns=5)
    made = proposer.propose(START, kT_eV=0.7, rng=np.random.default_rng(3))
    change = energy(np.stack([made.positions_A, START]), terms("mmff"))
    assert made.log_q_ratio == pytest.approx((change[0] - change[1]) / 0.7, abs=1e-9)
    assert np.abs(made.positions_A - START).max() > 0.1


@pytest.mark.long
def test_a_perfect_surrogate_is_always_accepted_and_pairs_of_turns_keep_the_target():
    phi, acceptance = chain(TRUE, TRUE, 400, pairs=0.8)
    assert acceptance == 1.0
    assert fits(phi, Target(TRUE).log_prob, bins=3, fine=8) > 0.01


TRUE = terms(scale=0.5)
BAD = replace(
    TRUE, heights_eV=-0.5 * TRUE.heights_eV, coulomb_eV_A=0 * TRUE.coulomb_eV_A
)  # off by the size of kT


@pytest.mark.long
def test_chains_keep_the_target_and_balance_with_a_bad_surrogate():
    phi, acceptance = chain(BAD, TRUE, 2500)
    assert 0.4 < acceptance < 0.9
    assert fits(phi[::7], Target(TRUE).log_prob, bins=3, fine=8) > 0.01
    assert balanced(phi[:-1:4], phi[1::4], bins=2) > 0.01


@pytest.mark.slow
def test_the_target_with_1e5_samples():
    """pytest -m slow tests/plugin/test_heat_bath.py"""
    phi, _ = chain(BAD, TRUE, 100_000, seed=2)
    assert fits(phi[::8], Target(TRUE).log_prob, bins=4, fine=8) > 0.01
    assert balanced(phi[:-1:8], phi[1::8], bins=3) > 0.01


@pytest.mark.long
def test_a_wrong_sign_of_the_ratio_is_found_out():
    phi, _ = chain(BAD, TRUE, 2500, sign=-1.0)
    assert fits(phi[::7], Target(TRUE).log_prob, bins=3, fine=8) < 1e-4


def test_plain_data_and_pickle_give_the_same_proposals():
    proposer = HeatBathProposer(TREE, terms("mmff"), turns=4, points=8)
    first = proposer.propose(START, kT_eV=1.0, rng=np.random.default_rng(1)).positions_A
    for other in (
        proposer_from_dict(json.loads(json.dumps(proposer.to_dict()))),
        pickle.loads(pickle.dumps(proposer)),
    ):
        np.testing.assert_array_equal(
            other.propose(START, kT_eV=1.0, rng=np.random.default_rng(1)).positions_A, first
        )


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="make both of one molecule"):
        HeatBathProposer(TREE, replace(terms(), n_atoms=7))
    with pytest.raises(InputError, match="at least 2"):
        HeatBathProposer(TREE, terms(), points=1)
    with pytest.raises(InputError, match="share from 0 to 1"):
        HeatBathProposer(TREE, terms(), pairs=1.5)
    with pytest.raises(UnknownNameError, match="lennard-jones"):
        terms("lennard-jone")
    with pytest.raises(InputError, match="r0_A must be 6 finite numbers"):
        replace(terms(), r0_A=np.ones(5))
    with pytest.raises(InputError, match="pairs must be"):
        replace(terms(), pairs=np.array([[0, 6]] * 6))
    with pytest.raises(InputError, match="no rotatable bond"):
        HeatBathProposer(TorsionTree(6, CHAIN, []), terms())
