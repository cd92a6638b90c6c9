"""Among others, a molecule that is moved takes its velocities along, and the others keep
theirs.
"""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app, unit

from equidrift.adapters.openmm.replica_exchange import ProposalReplicaExchange
from equidrift.adapters.openmm.sampler import ContextMoves, ProposalSampler
from equidrift.montecarlo.metropolis import Statistics
from equidrift.montecarlo.proposals import uniform_proposer
from equidrift.torsions import TorsionTree

SITES, OTHERS, BOND_NM, STIFFNESS = 24, 6, 0.15, 250000.0
PAIRS = [(k, k + 1) for k in range(SITES - 1)]
TURNS = uniform_proposer(TorsionTree(SITES, PAIRS, PAIRS[1:-1]), block_size=1)
ATOMS = np.arange(SITES)


def jointed(friction: float, *, constrained: bool = False, seed: int = 1) -> app.Simulation:
    """A freely jointed chain, of which every turn is accepted, and particles beside it;
    w dt is .5.
    """
    system, bonds, topology = openmm.System(), openmm.HarmonicBondForce(), app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for _ in range(SITES + OTHERS):
        system.addParticle(12.0)
        topology.addAtom("C", app.element.carbon, residue)
    atoms = list(topology.atoms())
    for i, j in PAIRS:
        topology.addBond(atoms[i], atoms[j])
        bonds.addBond(i, j, BOND_NM, STIFFNESS)
        if constrained:
            system.addConstraint(i, j, BOND_NM)
    system.addForce(bonds)
    integrator = openmm.LangevinMiddleIntegrator(300, friction, 0.5 * np.sqrt(6 / STIFFNESS))
    integrator.setRandomNumberSeed(seed)
    made = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
    steps = np.random.default_rng(0).standard_normal((SITES + OTHERS, 3))
    steps *= BOND_NM / np.linalg.norm(steps, axis=1, keepdims=True)
    made.context.setPositions(np.cumsum(steps, axis=0))
    made.context.setVelocitiesToTemperature(300, seed)
    return made


def state_of(context: openmm.Context) -> tuple[np.ndarray, np.ndarray]:
    state = context.getState(positions=True, velocities=True)
    x, v = state.getPositions(asNumpy=True), state.getVelocities(asNumpy=True)
    return np.array(x._value), np.array(v._value)


def along_bonds(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    i, j = np.array(PAIRS).T
    return ((x[j] - x[i]) * (v[j] - v[i])).sum(axis=1)


@pytest.mark.parametrize("constrained", [False, True])
def test_velocities_are_turned_along_and_those_of_others_kept_when_a_move_is_accepted(
    constrained: bool,
) -> None:
    context = jointed(1.0, constrained=constrained).context
    moves, rng = ContextMoves(context, TURNS, atoms=ATOMS), np.random.default_rng(0)
    (old_x, old_v), statistics = state_of(context), Statistics.of(TURNS)
    accepted, _, _ = moves.apply(3, temperature_K=300, rng=rng, statistics=statistics)
    x, v = state_of(context)
    assert accepted == 3 and np.abs(x - old_x)[ATOMS].max() > 0.1
    assert np.array_equal(v[SITES:], old_v[SITES:])
    assert np.abs(v - old_v)[ATOMS].max() > 0.1
    np.testing.assert_allclose((v**2).sum(axis=1), (old_v**2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(along_bonds(x, v), along_bonds(old_x, old_v), atol=1e-5)


def test_velocities_are_drawn_anew_if_constraints_reach_further_than_angles() -> None:
    simulated = jointed(1.0)
    simulated.system.addConstraint(0, 3, 0.3)
    simulated.context.reinitialize()
    still = uniform_proposer(TorsionTree(SITES, PAIRS, [(8, 9)]))
    assert ContextMoves(simulated.context, still, atoms=ATOMS, bonds=PAIRS).shells is None
    assert ContextMoves(jointed(1.0).context, still, atoms=ATOMS).shells is not None


def test_velocities_are_drawn_anew_if_bonds_and_held_angles_cannot_be_told_apart() -> None:
    """Without a topology constraints count as bonds: of 0-1-2 any might be an angle."""
    simulated = jointed(1.0, constrained=True)
    simulated.system.addConstraint(0, 2, 0.25)
    simulated.context.reinitialize()
    still = uniform_proposer(TorsionTree(SITES, PAIRS, [(8, 9)]))
    assert ContextMoves(simulated.context, still, atoms=ATOMS).shells is None


@pytest.mark.slow
def test_stiff_bonds_of_a_molecule_among_others_hold_half_a_kT() -> None:
    """By equipartition; velocities drawn anew at whole steps give 1.05 of it."""
    simulated, energies = jointed(50.0), []
    sampler = ProposalSampler(simulated, TURNS, md_steps=3, n_proposals=1, atoms=ATOMS)
    for _ in range(1800):
        sampler.run(1)
        x, _ = state_of(simulated.context)
        stretch = np.linalg.norm(np.diff(x[ATOMS], axis=0), axis=1) - BOND_NM
        energies.append(0.5 * STIFFNESS * (stretch**2).mean())
    half_kT = 0.5 * unit.MOLAR_GAS_CONSTANT_R.value_in_unit_system(unit.md_unit_system) * 300
    blocks = np.array(energies[200:]).reshape(20, -1).mean(axis=1) / half_kT
    assert sampler.statistics.acceptance == 1.0
    assert abs(blocks.mean() - 1) < 3 * blocks.std(ddof=1) / np.sqrt(20)
    assert blocks.std(ddof=1) / np.sqrt(20) < 0.015


def test_replica_exchange_keeps_the_velocities_of_others_when_a_molecule_moves() -> None:
    """Without friction and forces others fly on as they began."""
    simulated = jointed(1e-12)
    _, begun = state_of(simulated.context)
    states = [{"temperature": 300 * unit.kelvin}]
    exchange = ProposalReplicaExchange(states, simulated, 4, TURNS, 2, atoms=ATOMS)
    exchange.simulate(3)
    _, ended = state_of(simulated.context)
    assert exchange.statistics[0].accepted == 6
    np.testing.assert_allclose(ended[SITES:], begun[SITES:], atol=1e-5)
