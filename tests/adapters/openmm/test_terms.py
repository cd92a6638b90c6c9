"""What turning changes is read from the user's System: heat-bath moves are never
rejected where it is all there, and exact where not.
"""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import unit
from openmmtools.testsystems import AlanineDipeptideVacuum

from equidrift.adapters.openmm.sampler import ContextMoves
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.errors import InputError
from equidrift.mmff import mmff_system
from equidrift.montecarlo.adapt import adapt
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from equidrift.units import KJ_MOL_PER_EV
from tests.sampling import BUTANE, KT_EV, TREE, p_value, rigid_density, simulation, start_A


def context_of(system: openmm.System, positions_A: np.ndarray) -> openmm.Context:
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(positions_A * 0.1)
    return context


def energy_eV(context: openmm.Context, positions_A: np.ndarray) -> float:
    context.setPositions(positions_A * 0.1)
    return context.getState(energy=True).getPotentialEnergy()._value / KJ_MOL_PER_EV


def drug() -> tuple[openmm.System, np.ndarray, TorsionTree]:
    molecule = Molecule.from_smiles("CCOC(=O)c1ccc(NC(=O)CS)cc1")
    return (
        mmff_system(molecule, constraints="HBonds"),
        ETKDGMMFF().sample(molecule, np.array([0]))[0],
        TorsionTree.of(molecule),
    )


def peptide() -> tuple[openmm.System, np.ndarray, TorsionTree]:
    made = AlanineDipeptideVacuum()
    bonds = [(bond.atom1.index, bond.atom2.index) for bond in made.topology.bonds()]
    return (
        made.system,
        made.positions.value_in_unit(unit.angstrom),
        TorsionTree(22, bonds, [(6, 8), (8, 14)]),
    )


@pytest.mark.parametrize("make", [drug, peptide])
def test_the_surrogate_is_the_system_itself(make):
    system, x, tree = make()
    terms = turn_terms(system)
    assert terms is not None
    context, rng = context_of(system, x), np.random.default_rng(1)
    proposer = HeatBathProposer(tree, terms, turns=3)
    for _ in range(5):
        made = proposer.propose(x, kT_eV=5 * KT_EV, rng=rng)
        change = energy_eV(context, made.positions_A) - energy_eV(context, x)
        assert made.log_q_ratio * 5 * KT_EV == pytest.approx(change, abs=2e-6)
        x = made.positions_A


def test_nothing_is_rejected_in_mmff():
    system, x, tree = drug()
    moves, statistics = (
        ContextMoves(context_of(system, x), HeatBathProposer(tree, turn_terms(system))),
        None,
    )
    statistics = Statistics.of(moves.proposer)
    moves.apply(
        40, temperature_K=300, rng=np.random.default_rng(0), statistics=statistics, velocities=False
    )
    assert statistics.acceptance == 1.0
    assert (statistics.turned > 0).any()


@pytest.mark.long
def test_a_surrogate_that_lacks_terms_leaves_the_systems_distribution():
    """The System has a torsion that the surrogate was never told of."""
    system = mmff_system(BUTANE)
    proposer = HeatBathProposer(TREE, turn_terms(system))
    extra = openmm.CustomTorsionForce("4*cos(theta - 1)")
    extra.addTorsion(*TREE.atoms[0].tolist(), [])
    system.addForce(extra)
    sim = simulation(system=system)
    expected = rigid_density(lambda x: energy_eV(sim.context, x), start_A())
    sim.context.setPositions(start_A() * 0.1)
    moves, rng, statistics, phi = (
        ContextMoves(sim.context, proposer),
        np.random.default_rng(0),
        Statistics.of(proposer),
        [],
    )
    for _ in range(500):
        _, _, x = moves.apply(
            6, temperature_K=300, rng=rng, statistics=statistics, velocities=False
        )
        phi.append(TREE.torsions(x)[0])
    assert 0.2 < statistics.acceptance < 0.95
    assert p_value(np.array(phi), expected) > 0.01


def test_systems_without_terms_to_read_give_none():
    empty = openmm.System()
    for _ in range(4):
        empty.addParticle(1.0)
    assert turn_terms(empty) is None
    system = AlanineDipeptideVacuum().system
    system.addParticle(0.0)
    system.setVirtualSite(22, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    assert turn_terms(system) is None


def test_heat_bath_by_name_needs_terms():
    with pytest.raises(InputError, match="pair terms that can be read"):
        adapt(
            lambda proposer, n: (np.zeros((n, 1, 3)), Statistics()),
            BUTANE,
            TREE,
            "heat-bath",
            100,
            temperature_K=300.0,
        )
