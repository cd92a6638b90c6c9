"""A System softened in two parts: the parts add up to OpenMM's energy, moves keep the
density at every softness, and annealing finds a partition function known in closed form.
"""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app, unit
from scipy.special import i0e, i1e

from equidrift.adapters.openmm.peptides import FORCE_FIELD, peptide_path, peptide_system
from equidrift.adapters.openmm.softened import SOFT, STIFF, SoftenedContext, softened_system
from equidrift.adapters.openmm.topology import to_topology
from equidrift.errors import InputError
from equidrift.montecarlo.annealing import anneal, first_states
from equidrift.peptides import capped_peptide
from equidrift.torsions import TorsionTree
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A

HEIGHT_KJ_MOL = 8.0
START_A = np.array([[1.5, 1.4, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.5], [-1.4, 0.4, 2.0]])


def chain(constrained: bool) -> tuple[openmm.System, TorsionTree]:
    """Four particles in a row, with one cosine about the middle bond and a pair term that
    heat-bath turns can read but that does nothing.
    """
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    torsions, pairs = openmm.PeriodicTorsionForce(), openmm.NonbondedForce()
    for k in range(4):
        system.addParticle(12.0 + k)
        pairs.addParticle(0, 0.1, 0)
    for k in range(3):
        if constrained:
            system.addConstraint(k, k + 1, 0.15)
        else:
            bonds.addBond(k, k + 1, 0.15, 2e5)
    for k in range(2):
        angles.addAngle(k, k + 1, k + 2, 1.9, 400.0)
    torsions.addTorsion(0, 1, 2, 3, 1, 0.6, HEIGHT_KJ_MOL)
    pairs.addException(0, 3, 0, 0.1, 1e-9)
    for force in (bonds, angles, torsions, pairs):
        system.addForce(force)
    return system, TorsionTree(4, [(0, 1), (1, 2), (2, 3)], [(1, 2)])


@pytest.mark.parametrize("constrained", [False, True])
def test_annealing_finds_the_partition_function_of_a_cosine(constrained):
    """Z(s) = exp(-s h / kT) I0(s h / kT), and the mean cosine is I1 / I0, whatever bonds
    and angles do.
    """
    system, tree = chain(constrained)
    path, rng = SoftenedContext(system, tree, timestep_fs=4.0, steps=4), np.random.default_rng(2)
    states = first_states(path, path.minimised(START_A), 80, 0.2, rng=rng, apart=4, warm_up=20)
    found = anneal(path, states, np.linspace(0.2, 1, 6), seed=3)
    z = HEIGHT_KJ_MOL / KJ_MOL_PER_EV / path.kT_eV
    log_ratio, error = found.log_ratio
    wanted = np.log(i0e(z) / i0e(0.2 * z))  # i0e has exp(-z) in it
    assert abs(log_ratio - wanted) < 4 * error < 0.6
    phase = np.cos(tree.torsions(found.positions_A)[:, 0] - 0.6)
    mean, spread = found.mean(phase)
    assert abs(mean + i1e(z) / i0e(z)) < 4 * spread < 0.5
    assert 0 < path.trajectories.acceptance <= 1 and path.turned.acceptance > 0.9


def test_trajectories_alone_keep_the_energy_of_bonds_and_angles():
    """Equipartition: three bonds and two angles hold 5/2 kT (bonds of 2e5 kJ/mol/nm^2
    and angles of 400 kJ/mol are as good as harmonic), at a step whose error would show.
    """
    system, tree = chain(constrained=False)
    path = SoftenedContext(system, tree, timestep_fs=6.0, steps=5, turns=0)
    rng, x = np.random.default_rng(1), path.minimised(START_A)
    energies = []
    for _ in range(1500):
        x = path.move(x, 0.3, rng)
        energies.append((path.energy_eV(x) - path.soft_eV(x)) / path.kT_eV)
    assert np.mean(energies[50:]) == pytest.approx(2.5, abs=0.25)
    assert path.trajectories.acceptance < 0.98  # there was something to correct


@pytest.mark.parametrize("sequence", ["AF", "PD"])
def test_parts_of_a_peptide_add_up_to_the_energy_that_openmm_gives(sequence):
    """With its own implicit/obc2.xml, at three geometries; turning an amide changes the
    stiff part, turning a side chain does not.
    """
    molecule, path, start_A = peptide_path(sequence, seed=3)
    whole = app.ForceField(*FORCE_FIELD).createSystem(to_topology(molecule), constraints=app.HBonds)
    context = openmm.Context(
        whole, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = start_A + 0.03 * rng.standard_normal(start_A.shape)
        context.setPositions(x * NM_PER_A)
        found = context.getState(energy=True).getPotentialEnergy()
        wanted = found.value_in_unit(unit.kilojoule_per_mole)
        assert path.energy_eV(x) * KJ_MOL_PER_EV == pytest.approx(wanted, abs=0.05)
    amides = {frozenset(p) for p in TorsionTree.of(molecule, amides=True).atoms[:, 1:3].tolist()}
    amides -= {frozenset(p) for p in TorsionTree.of(molecule).atoms[:, 1:3].tolist()}
    assert len(amides) == 3
    for k, bond in enumerate(path.tree.atoms[:, 1:3].tolist()):
        turned = path.tree.turn(start_A, 0.5 * (np.arange(path.tree.n_torsions) == k))
        stiff = [path.energy_eV(x) - path.soft_eV(x) for x in (start_A, turned)]
        changed = abs(stiff[1] - stiff[0]) > 1e-6
        assert changed == (frozenset(bond) in amides)


def test_the_softened_system_is_a_copy_and_forgets_the_motion_of_the_centre():
    system = peptide_system(capped_peptide("G"))
    system.addForce(openmm.CMMotionRemover())
    before = openmm.XmlSerializer.serialize(system)
    made = softened_system(system, TorsionTree.of(capped_peptide("G"), hydrogens=True))
    assert openmm.XmlSerializer.serialize(system) == before
    assert {force.getForceGroup() for force in made.getForces()} == {STIFF, SOFT}
    assert not any(isinstance(force, openmm.CMMotionRemover) for force in made.getForces())


def test_a_system_without_pairs_is_annealed_without_turns_alone():
    system, tree = chain(constrained=False)
    system.removeForce(3)
    with pytest.raises(InputError, match="give turns=0"):
        SoftenedContext(system, tree)
    assert SoftenedContext(system, tree, turns=0).turns == 0
