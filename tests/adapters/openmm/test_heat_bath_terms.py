"""Heat-bath turns are exact whatever terms a System has: a chain's torsions against
quadrature, and the odds from both ends of a turn.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import openmm
import pytest

from equidrift.adapters.openmm.sampler import ContextMoves
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.errors import InputError
from equidrift.geometry import dihedrals
from equidrift.montecarlo.adapt import adapt
from equidrift.montecarlo.heat_bath import REVERSIBLE_KT, HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.montecarlo.turns import Turn, TurnTerms, one_turn
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from tests.toy_chain import KT_EV, SITES, START, TREE, chain, context_of, expectations, z_scores


def skipping(system: openmm.System) -> None:
    """A periodic torsion over 0-2-3-4, where 0 is not bonded to 2: it changes with both
    bonds.
    """
    system.getForce(2).addTorsion(0, 2, 3, 4, 1, 0.3, 10.0)


def improper(system: openmm.System) -> None:
    """An out-of-plane term, centre third, whose atoms are on both sides of both bonds."""
    system.getForce(2).addTorsion(0, 4, 2, 3, 2, np.pi, 6.0)


def backwards(system: openmm.System) -> None:
    """A proper torsion given from its other end, and one in a force of its own."""
    system.getForce(2).addTorsion(3, 2, 1, 0, 2, 1.0, 3.0)
    other = openmm.PeriodicTorsionForce()
    other.addTorsion(4, 3, 2, 1, 2, -0.5, 2.0)
    system.addForce(other)


def cmap(system: openmm.System) -> None:
    force, size = openmm.CMAPTorsionForce(), 8
    angle = 2 * np.pi * np.arange(size) / size
    force.addMap(size, (3 * np.cos(angle[:, None] - angle[None] - 0.5)).ravel().tolist())
    force.addTorsion(0, 0, 1, 2, 3, 1, 2, 3, 4)
    system.addForce(force)


def custom_torsion(system: openmm.System) -> None:
    force = openmm.CustomTorsionForce("5*cos(2*theta - 1)")
    force.addTorsion(0, 1, 2, 3, [])
    force.addTorsion(0, 1, 3, 4, [])
    system.addForce(force)


def offsets(system: openmm.System) -> None:
    """Charges, depths and an exception that hang on a global parameter."""
    pairs = system.getForce(3)
    pairs.addGlobalParameter("lambda", 0.7)
    pairs.addParticleParameterOffset("lambda", 4, 0.8, 0.02, 1.0)
    pairs.addExceptionParameterOffset("lambda", _exception(pairs, 0, 3), -0.3, 0.0, 0.5)


def _exception(pairs: openmm.NonbondedForce, i: int, j: int) -> int:
    return next(
        k
        for k in range(pairs.getNumExceptions())
        if set(pairs.getExceptionParameters(k)[:2]) == {i, j}
    )


def global_parameter(system: openmm.System) -> None:
    """A restraint with a global parameter, as alchemical and umbrella Systems have."""
    force = openmm.CustomBondForce("k*(r - 0.3)^2")
    force.addGlobalParameter("k", 150.0)
    force.addBond(0, 4, [])
    system.addForce(force)


FOREIGN = [skipping, improper, backwards, cmap, custom_torsion, offsets, global_parameter]


def proposer_of(system: openmm.System, pairs: float = 0.5) -> HeatBathProposer:
    terms = turn_terms(system)
    assert terms is not None
    return HeatBathProposer(TREE, terms, pairs=pairs, points=6)


def sampled(system: openmm.System, n: int, thin: int = 2) -> tuple[np.ndarray, float]:
    """Torsions (n, 2) along a chain of heat-bath moves, and the share accepted."""
    proposer = proposer_of(system)
    moves, statistics, rng = (
        ContextMoves(context_of(system), proposer),
        Statistics.of(proposer),
        np.random.default_rng(5),
    )
    rows = []
    for _ in range(n):
        _, _, x = moves.apply(
            thin, temperature_K=300, rng=rng, statistics=statistics, velocities=False
        )
        rows.append(TREE.torsions(x))
    return np.array(rows), statistics.acceptance


@pytest.mark.long
@pytest.mark.parametrize("foreign", FOREIGN)
def test_turns_keep_the_density_of_a_system_with_foreign_terms(foreign):
    system = chain()
    foreign(system)
    phi, acceptance = sampled(system, 300)
    assert acceptance > 0.1
    assert np.abs(z_scores(phi, expectations(context_of(system), points=24))).max() < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("foreign", FOREIGN)
def test_turns_keep_the_density_of_a_system_with_foreign_terms_over_20_000_states(foreign):
    """pytest -m slow tests/adapters/test_heat_bath_terms.py"""
    system = chain()
    foreign(system)
    phi, _ = sampled(system, 20_000)
    assert np.abs(z_scores(phi, expectations(context_of(system), points=72))).max() < 4


@pytest.mark.parametrize("foreign", FOREIGN)
def test_odds_of_the_same_states_agree_from_both_ends_of_a_double_turn(foreign):
    """The 144 states that two dozen equal turns make, weighed from the start and from
    one of them.
    """
    system = chain()
    foreign(system)
    first, second = (Turn(TREE, k, proposer_of(system).terms) for k in range(2))
    angles = np.arange(12) * 2 * np.pi / 12

    def seen_from(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outer, axis = first.energies(x, angles)
        ways = [first.turn(x, axis, angle) for angle in angles]
        inner = [second.energies(way, angles) for way in ways]
        states = [
            second.turn(way, found[1], angle)
            for way, found in zip(ways, inner, strict=True)
            for angle in angles
        ]
        return np.concatenate(
            [here + found[0] - found[0][0] for here, found in zip(outer, inner, strict=True)]
        ), np.array(states)

    here, states = seen_from(START)
    end = 5 * 12 + 3
    there, again = seen_from(states[end])
    # the same states in another order: matched by where their atoms are
    match = np.abs(states[:, None] - again[None]).max(axis=(2, 3)).argmin(axis=1)
    assert np.abs(states - again[match]).max() < 1e-9
    odds, back = (here - here[0]) / KT_EV, (there[match] - there[match][0]) / KT_EV
    likely = odds - odds.min() < 40
    assert likely.sum() > 20 and np.abs(odds - back)[likely].max() < 1e-6


def test_a_dihedral_is_read_only_if_one_bond_alone_changes_it():
    rows = np.array(
        [
            (0, 1, 2, 3),
            (3, 2, 1, 0),
            (0, 2, 3, 4),
            (0, 4, 2, 3),
            (0, 1, 2, 4),
            (0, 1, 3, 4),
            (1, 2, 3, 4),
        ]
    )
    numerically = []
    for row in rows:
        changes = []
        for k in range(2):
            delta = np.zeros((3, 2))
            delta[:, k] = (0.4, 1.1, 2.5)
            turned = (
                dihedrals(TREE.turn(START, delta), row[None])[:, 0] - dihedrals(START, row[None])[0]
            )
            by = np.abs((turned + np.pi) % (2 * np.pi) - np.pi)
            changes.append(
                "none"
                if by.max() < 1e-9
                else "angle"
                if np.abs(by - delta[:, k]).max() < 1e-9
                else "other"
            )
        numerically.append(sorted(changes) in (["angle", "none"], ["none", "none"]))
    assert (
        one_turn(TREE, rows).tolist()
        == numerically
        == [True, True, False, False, False, False, True]
    )


def test_dihedrals_left_out_are_counted_and_stay_out_of_plain_data():
    system = chain()
    skipping(system)
    proposer = proposer_of(system)
    assert proposer.unread == 1 and len(proposer.terms.torsions) == 2
    assert len(proposer_from_dict(proposer.to_dict()).terms.torsions) == 2


class OneSided(HeatBathProposer):
    """Turns that read a dihedral of two bonds with one of them only, as version 0.1.0
    did.
    """

    def __init__(self, tree: TorsionTree, terms: TurnTerms) -> None:
        super().__init__(tree, terms)
        self.circles = [Turn(tree, k, terms) for k in range(tree.n_torsions)]


@pytest.mark.long
def test_turns_that_are_not_reversible_are_replaced_at_the_start_with_a_warning():
    system = chain()
    skipping(system)
    wrong = OneSided(TREE, turn_terms(system))
    assert wrong.irreversibility_kT(START, KT_EV) > 1.0
    assert proposer_of(system).irreversibility_kT(START, KT_EV) < REVERSIBLE_KT
    moves, statistics, rng, rows = (
        ContextMoves(context_of(system), wrong),
        Statistics.of(wrong),
        np.random.default_rng(1),
        [],
    )
    with pytest.warns(UserWarning, match=r"not reversible here \(the odds"):
        moves.apply(1, temperature_K=300, rng=rng, statistics=statistics)
    assert moves.proposer.name == "uniform"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        for _ in range(400):
            _, _, x = moves.apply(
                6, temperature_K=300, rng=rng, statistics=statistics, velocities=False
            )
            rows.append(TREE.torsions(x))
    assert np.abs(z_scores(np.array(rows), expectations(context_of(system)))).max() < 4


def test_adaptation_notes_what_turns_do_not_read_and_what_replaces_them(monkeypatch):
    bonds = np.array([(k, k + 1) for k in range(SITES - 1)])
    molecule = Molecule(np.full(SITES, 6), bonds, np.ones(SITES - 1), np.zeros(SITES, np.int64))
    system = chain()
    skipping(system)

    def advance(proposer, cycles):
        statistics = Statistics.of(proposer)
        statistics.proposed = statistics.accepted = cycles
        return np.repeat(START[None], cycles, axis=0), statistics

    options = {"temperature_K": 300.0, "terms": turn_terms(system)}
    found = adapt(advance, molecule, TREE, "heat-bath", 100, **options)
    assert found.proposer.name == "heat-bath" and "1 dihedral " in found.report["note"]
    monkeypatch.setattr("equidrift.montecarlo.adapt.HeatBathProposer", OneSided)
    with pytest.warns(UserWarning, match="not reversible"):
        found = adapt(advance, molecule, TREE, "heat-bath", 100, **options)
    assert (
        found.proposer.name == found.report["chosen"] == "uniform"
        and "not reversible" in found.report["note"]
    )


def test_pairs_given_twice_are_refused():
    terms = turn_terms(chain())
    with pytest.raises(InputError, match="each pair once"):
        replace(terms, pairs=terms.pairs[:, ::-1][[1, *range(1, len(terms.pairs))]])


def past_a_clash() -> np.ndarray:
    """The chain where turning the first bond by 2.3 rad, as the test of reversibility
    does, lays the ends on each other.
    """
    angles = np.linspace(-np.pi, np.pi, 181)
    phi = np.stack(np.meshgrid(angles, angles, indexing="ij"), axis=-1).reshape(-1, 2)
    x = TREE.set_torsions(BENT, phi)
    apart = np.linalg.norm(x[:, 0] - x[:, 4], axis=1)
    assert apart.min() < 0.1
    out: np.ndarray = TREE.turn(x[apart.argmin()], np.array([[-2.3, 0.0]]))[0]
    return out


# angles of 90 degrees: the ends can meet
BENT = np.array(
    [[0.0, 1.5, 0.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [1.5, 1.5, 0.0], [1.5, 1.5, 1.5]]
)


def test_turns_past_a_clash_are_found_reversible():
    x = past_a_clash()
    assert proposer_of(chain()).irreversibility_kT(x, KT_EV) < REVERSIBLE_KT


def test_ends_of_dihedrals_on_the_axis_are_turned_without_a_number_that_is_none():
    straight = START.copy()
    straight[0] = [-1.5, 0.0, 0.0]  # in line with the bond 1-2
    proposer = proposer_of(chain())
    energy, _ = proposer.circles[0].energies(straight, np.linspace(0.0, 6.0, 7))
    assert np.isfinite(energy).all()
    assert proposer.irreversibility_kT(straight, KT_EV) < REVERSIBLE_KT


class Torn(Turn):
    """An energy that is no number, but for the place where it was made."""

    def energies(self, positions_A: np.ndarray, angles_rad: np.ndarray):
        energy, axis = super().energies(positions_A, angles_rad)
        return energy + (0.0 if np.array_equal(positions_A, START) else np.nan), axis


def test_turns_whose_way_back_has_no_energy_are_not_reversible():
    """They would be made, and never taken back."""
    proposer = proposer_of(chain(), 0.0)
    proposer.circles = [Torn(TREE, 0, proposer.terms)]
    assert proposer.irreversibility_kT(START, KT_EV) == np.inf
