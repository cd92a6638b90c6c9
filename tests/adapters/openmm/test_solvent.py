"""Heat-bath turns in a solvent: the pairs they read are those of OpenMM, whatever cutoff,
box and images there are, and the density of the torsions is that of quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import openmm
import pytest

from equidrift.adapters.openmm.moves import ContextMoves
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.montecarlo.heat_bath import REVERSIBLE_KT, TURNS_IN_SOLVENT, HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.montecarlo.surroundings import within
from equidrift.montecarlo.turns import MOST_ATOMS, MOST_TURNED
from equidrift.torsions import TorsionTree
from equidrift.units import KJ_MOL_PER_EV
from tests.toy_chain import KT_EV, SITES, START, TREE, chain, observables, z_scores

ATOMS = np.arange(SITES)
EDGE_NM = 1.5
Box = Callable[[openmm.System, openmm.NonbondedForce], None]


def around(n: int, seed: int = 0) -> np.ndarray:
    """(n, 3) places in A of particles round the chain, none of them on it."""
    rng, kept = np.random.default_rng(seed), list(START)
    while len(kept) < SITES + n:
        at = rng.uniform(-6, 9, 3)
        if np.linalg.norm(np.array(kept) - at, axis=1).min() > 3.0:
            kept.append(at)
    return np.array(kept[SITES:])


def plain(system: openmm.System, pairs: openmm.NonbondedForce) -> None:
    """No cutoff, no box."""


def droplet(system: openmm.System, pairs: openmm.NonbondedForce) -> None:
    pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffNonPeriodic)
    pairs.setCutoffDistance(0.6)


def box(system: openmm.System, pairs: openmm.NonbondedForce) -> None:
    """A box that is hardly wider than two cutoffs, switched."""
    pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    pairs.setCutoffDistance(0.74)
    pairs.setUseSwitchingFunction(True)
    pairs.setSwitchingDistance(0.5)
    system.setDefaultPeriodicBoxVectors(*np.diag([EDGE_NM] * 3))


def oblique(system: openmm.System, pairs: openmm.NonbondedForce) -> None:
    """A triclinic box, and a reaction field of a weaker solvent."""
    pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    pairs.setCutoffDistance(0.55)
    pairs.setReactionFieldDielectric(4.0)
    a, b, c = (EDGE_NM, 0, 0), (0.5, 1.5, 0), (-0.6, 0.6, 1.6)
    system.setDefaultPeriodicBoxVectors(openmm.Vec3(*a), openmm.Vec3(*b), openmm.Vec3(*c))


def ewald(system: openmm.System, pairs: openmm.NonbondedForce) -> None:
    pairs.setNonbondedMethod(openmm.NonbondedForce.PME)
    pairs.setCutoffDistance(0.7)
    system.setDefaultPeriodicBoxVectors(*np.diag([EDGE_NM] * 3))


BOXES = [plain, droplet, box, oblique]


def solvated(made: Box, *, lone: bool = False, n: int = 24) -> tuple[openmm.System, np.ndarray]:
    """The chain among charged and neutral particles, and their places in A; `lone` takes
    the pairs within the chain away.
    """
    system = chain()
    pairs = system.getForce(3)
    for k in range(n):
        system.addParticle(20.0)
        pairs.addParticle((0.5, -0.5, 0.0)[k % 3], 0.28, 0.4 * (k % 2))
    if lone:
        for i in range(SITES):
            for j in range(i):
                pairs.addException(i, j, 0.0, 0.3, 0.0, True)
    made(system, pairs)
    return system, around(n)


def context_of(system: openmm.System, rest_A: np.ndarray) -> openmm.Context:
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(np.concatenate([START, rest_A]) * 0.1)
    return context


def energies(made: Box, phi: np.ndarray, *, lone: bool = False) -> np.ndarray:
    """(k,) of OpenMM in eV at torsions (k, 2), all else held."""
    system, rest_A = solvated(made, lone=lone)
    context, found = context_of(system, rest_A), []
    for x in TREE.set_torsions(START, phi):
        context.setPositions(np.concatenate([x, rest_A]) * 0.1)
        found.append(context.getState(energy=True).getPotentialEnergy()._value)
    return np.array(found) / KJ_MOL_PER_EV


def bound(made: Box, *, lone: bool = False) -> HeatBathProposer:
    """The proposer where the chain stands, among the particles round it."""
    system, rest_A = solvated(made, lone=lone)
    terms = turn_terms(system, ATOMS)
    assert terms is not None and terms.surroundings is not None
    vectors = system.getDefaultPeriodicBoxVectors()
    periodic = system.usesPeriodicBoundaryConditions()
    box_A = np.array([list(v._value) for v in vectors]) * 10 if periodic else None
    everything = np.concatenate([START, rest_A])
    return HeatBathProposer(TREE, terms, points=6).among(everything, box_A)


@pytest.mark.parametrize("made", BOXES)
@pytest.mark.parametrize("bond", [0, 1])
def test_energies_along_a_turn_are_those_of_openmm(made: Box, bond: int) -> None:
    """To rounding: pairs with particles, and with their images, within the cutoff.

    No angle is half a turn: OpenMM's Reference platform loses pairs of an atom that
    rounding has put a hair outside its box.
    """
    angles = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    phi = np.tile(TREE.torsions(START), (11, 1))
    phi[:, bond] += angles
    expected = energies(made, phi, lone=True)
    found, _ = bound(made, lone=True).circles[bond].energies(START, angles)
    assert np.ptp(expected) > 0.01  # eV: there is something to read
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("made", [*BOXES, ewald])
def test_turns_are_reversible_among_particles(made: Box) -> None:
    assert bound(made).irreversibility_kT(START, KT_EV) < REVERSIBLE_KT


def expected_of(made: Box, points: int) -> np.ndarray:
    """(6,) means of `observables` by quadrature, everything but the torsions held."""
    axis = (np.arange(points) + 0.5) / points * 2 * np.pi - np.pi
    phi = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    u = energies(made, phi) / KT_EV
    w = np.exp(u.min() - u)
    return w @ observables(phi) / w.sum()


def sampled(made: Box, n: int, *, read: bool = True) -> tuple[np.ndarray, float]:
    """Torsions (n, 2) along moves of the chain, and the share accepted."""
    system, rest_A = solvated(made)
    terms = turn_terms(system, ATOMS)
    assert terms is not None
    terms = terms if read else replace(terms, surroundings=None)
    proposer = HeatBathProposer(TREE, terms, points=6, turns=2)
    moves = ContextMoves(context_of(system, rest_A), proposer, atoms=ATOMS)
    statistics, rng, rows = Statistics.of(proposer), np.random.default_rng(5), []
    for _ in range(n):
        _, _, x = moves.apply(
            3, temperature_K=300, rng=rng, statistics=statistics, velocities=False
        )
        rows.append(TREE.torsions(x))
    return np.array(rows), statistics.acceptance


@pytest.mark.long
@pytest.mark.parametrize("made", [box, ewald])
def test_torsions_in_a_solvent_have_the_density_of_quadrature(made: Box) -> None:
    phi, acceptance = sampled(made, 400)
    assert acceptance > 0.4
    assert np.abs(z_scores(phi, expected_of(made, 24))).max() < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("made", [*BOXES, ewald])
def test_torsions_in_a_solvent_have_the_density_of_quadrature_over_20_000_states(
    made: Box,
) -> None:
    phi, _ = sampled(made, 20_000)
    assert np.abs(z_scores(phi, expected_of(made, 72))).max() < 4


@pytest.mark.parametrize("made", BOXES)
@pytest.mark.parametrize("bond", [0, 1])
def test_pairs_within_a_large_molecule_are_read_as_those_round_it(
    made: Box, bond: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding, and with the reaction field of the System."""
    monkeypatch.setattr("equidrift.adapters.openmm.terms.MOST_ATOMS", SITES - 1)
    angles = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    phi = np.tile(TREE.torsions(START), (11, 1))
    phi[:, bond] += angles
    expected, proposer = energies(made, phi), bound(made)
    assert len(proposer.terms.pairs) == 2  # the scaled 1-4 pairs, no others
    found, _ = proposer.circles[bond].energies(START, angles)
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-5, atol=1e-5)
    assert proposer.irreversibility_kT(START, KT_EV) < REVERSIBLE_KT


@pytest.mark.long
def test_bonds_of_a_large_molecule_turn_if_they_take_few_atoms_along() -> None:
    sites = MOST_ATOMS + 30
    bonds = [(k, k + 1) for k in range(sites - 1)]
    system, pairs = openmm.System(), openmm.NonbondedForce()
    for k in range(sites):
        system.addParticle(12.0)
        pairs.addParticle((-1) ** k * 0.2, 0.3, 0.3)
    pairs.createExceptionsFromBonds(bonds, 0.5, 0.5)
    pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffNonPeriodic)
    pairs.setCutoffDistance(0.8)
    system.addForce(pairs)
    zigzag = np.stack([1.25 * np.arange(sites), 0.8 * (np.arange(sites) % 2), np.zeros(sites)], 1)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(zigzag * 0.1)
    tree, terms = TorsionTree(sites, bonds, bonds[2:-2]), turn_terms(system)
    assert terms is not None
    proposer = HeatBathProposer(tree, terms)
    assert 100 < len(proposer.circles) < tree.n_torsions
    assert max(len(circle.moved) for circle in proposer.circles) == MOST_TURNED
    statistics = Statistics.of(proposer)
    moves, rng = ContextMoves(context, proposer, bonds=bonds), np.random.default_rng(2)
    moves.apply(20, temperature_K=300, rng=rng, statistics=statistics, velocities=False)
    assert statistics.acceptance == 1.0  # the terms hold all that turning changes


@pytest.mark.long
def test_more_is_accepted_if_the_particles_round_the_chain_are_read() -> None:
    assert sampled(box, 100)[1] > 2 * sampled(box, 100, read=False)[1]


def test_a_proposer_in_a_solvent_is_the_same_after_plain_data() -> None:
    system, rest_A = solvated(box)
    terms = turn_terms(system, ATOMS)
    assert terms is not None
    proposer = HeatBathProposer(TREE, terms)
    again = proposer_from_dict(proposer.to_dict())
    assert isinstance(again, HeatBathProposer)
    assert again.turns == 2 * TREE.n_torsions < TURNS_IN_SOLVENT
    everything, box_A = np.concatenate([START, rest_A]), EDGE_NM * 10 * np.eye(3)
    options = {"kT_eV": KT_EV}
    first = proposer.among(everything, box_A).propose(
        START, rng=np.random.default_rng(1), **options
    )
    second = again.among(everything, box_A).propose(START, rng=np.random.default_rng(1), **options)
    assert np.array_equal(first.positions_A, second.positions_A)
    assert first.log_q_ratio == second.log_q_ratio


def test_virtual_sites_and_partners_of_exceptions_are_left_to_the_acceptance() -> None:
    system, _ = solvated(plain)
    pairs = system.getForce(3)
    system.addParticle(0.0)
    system.setVirtualSite(SITES + 24, openmm.TwoParticleAverageSite(3, 4, 1.6, -0.6))
    pairs.addParticle(-0.5, 0.2, 0.0)
    pairs.addException(0, SITES + 2, 0.1, 0.3, 0.2)
    terms = turn_terms(system, ATOMS)
    assert terms is not None and terms.surroundings is not None
    left = np.setdiff1d(np.arange(SITES, SITES + 25), terms.surroundings.others)
    # those without charge and depth have no pairs; the site and the partner have
    assert {SITES + 2, SITES + 24} <= set(left.tolist())
    assert set(left.tolist()) <= {SITES + k for k in (2, 8, 14, 20, 24)}


def test_images_within_a_radius_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(3)
    box_A = np.array([[9.0, 0, 0], [3.0, 8.0, 0], [-2.0, 3.0, 7.0]])
    places, centre, radius = rng.uniform(-30, 30, (40, 3)), rng.uniform(-20, 20, 3), 11.0
    found, rows = within(places, box_A, centre, radius)
    steps = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), -1).reshape(-1, 3)
    images = places[:, None] + steps @ box_A
    inside = np.linalg.norm(images - centre, axis=2) < radius
    assert inside.sum(axis=1).tolist() == np.bincount(rows, minlength=40).tolist()
    both = [np.sort(np.round(x, 6).view("f8,f8,f8"), axis=0) for x in (found, images[inside])]
    assert np.array_equal(*both)
