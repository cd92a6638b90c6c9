"""Small molecules by MMFF94 in an `app.ForceField`: the same inner energy, alone and in
water, and what is refused.
"""

from __future__ import annotations

import io
import math

import numpy as np
import openmm
import pytest
from openmm import app, unit

import equidrift
from equidrift.adapters.openmm.ligand_terms import (
    TIP3P_EPSILON_KJ_MOL,
    TIP3P_SIGMA_NM,
    lennard_jones,
)
from equidrift.adapters.openmm.templates import MMFFTemplateGenerator
from equidrift.errors import InputError, MoleculeError
from equidrift.mmff import mmff_parameters, mmff_system
from equidrift.records import Ensemble, Molecule
from equidrift.units import KJ_MOL_PER_KCAL_MOL, NM_PER_A

LIGANDS = ["CC(=O)Nc1ccc(O)cc1", "CC#CC(=O)[O-]", "C[NH2+]CCS(C)(=O)=O", "FC(Cl)c1ncc[nH]1"]
KJ = unit.kilojoule_per_mole


def made(smiles: str, seed: int = 0) -> Ensemble:
    """One conformer by distance geometry."""
    return equidrift.sample(smiles, 1, model="etkdg", seed=seed)


def force_field(*molecules, files=(), variant="MMFF94") -> app.ForceField:
    """A ForceField that knows the molecules."""
    field = app.ForceField(*files)
    field.registerTemplateGenerator(MMFFTemplateGenerator(molecules, variant=variant).generator)
    return field


def energy_kJ_mol(system: openmm.System, positions, *, forces=None) -> float:
    """Potential energy; of the forces of these names if given."""
    for force in system.getForces():
        force.setForceGroup(0 if forces is None or force.getName() in forces else 1)
    integrator = openmm.VerletIntegrator(1 * unit.femtosecond)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return context.getState(getEnergy=True, groups={0}).getPotentialEnergy().value_in_unit(KJ)


@pytest.mark.parametrize("smiles", LIGANDS)
@pytest.mark.parametrize("variant", ["MMFF94", "MMFF94s"])
def test_isolated_ligand_has_the_energy_of_its_mmff_system(smiles, variant):
    ensemble = made(smiles)
    topology, positions = ensemble.to_openmm()
    system = force_field(ensemble, variant=variant).createSystem(topology)
    ours = mmff_system(ensemble.molecule, variant)
    found, expected = energy_kJ_mol(system, positions[0]), energy_kJ_mol(ours, positions[0])
    assert found == pytest.approx(expected, abs=1e-6)
    names = {force.getName() for force in ours.getForces()}
    assert names < {force.getName() for force in system.getForces()}
    assert {k: system.getParticleMass(k) for k in range(3)} == {
        k: ours.getParticleMass(k) for k in range(3)
    }


def test_isolated_ligand_has_the_energy_of_its_mmff_system_whatever_the_order_of_atoms():
    """OpenMM matches by elements and bonds: the atoms of a Topology may come in any order."""
    ensemble = made(LIGANDS[0])
    order = np.random.default_rng(0).permutation(ensemble.molecule.n_atoms)
    topology, positions = _permuted(ensemble, order)
    system = force_field(ensemble).createSystem(topology)
    expected = energy_kJ_mol(mmff_system(ensemble.molecule), ensemble.to_openmm()[1][0])
    assert energy_kJ_mol(system, positions) == pytest.approx(expected, abs=1e-6)


def _permuted(ensemble: Ensemble, order):
    """(topology, positions) of the ensemble's first conformer in another order of atoms."""
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain())
    atoms = {
        int(k): topology.addAtom(
            f"X{k}", app.Element.getByAtomicNumber(int(ensemble.molecule.numbers[k])), residue
        )
        for k in order
    }
    for i, j in ensemble.molecule.bonds.tolist():
        topology.addBond(atoms[i], atoms[j])
    return topology, ensemble.positions_A[0][order] * NM_PER_A


@pytest.fixture(scope="module")
def in_water():
    """(topology, positions, force field, ensemble) of two ligands in water."""
    first, second = made(LIGANDS[0]), made(LIGANDS[2])
    field = force_field(first, second, files=["amber14-all.xml", "amber14/tip3p.xml"])
    topology, positions = first.to_openmm()
    modeller = app.Modeller(topology, positions[0])
    for shift in (1.2, -1.2):
        topology, positions = second.to_openmm()
        modeller.add(topology, positions[0] + np.array([0.0, 0.0, shift]) * unit.nanometer)
    modeller.addSolvent(field, boxSize=openmm.Vec3(2.2, 2.2, 4.2) * unit.nanometer, neutralize=True)
    return modeller.topology, modeller.positions, field, (first, second)


@pytest.mark.long
def test_ligands_in_water_keep_their_inner_energy_and_water_its_own(in_water):
    topology, positions, field, (first, second) = in_water
    system = field.createSystem(topology, nonbondedMethod=app.PME, nonbondedCutoff=1.0)
    own = {name for force in system.getForces() if (name := force.getName()).startswith("MMFF94")}
    expected = energy_kJ_mol(mmff_system(first.molecule), first.to_openmm()[1][0])
    expected += 2 * energy_kJ_mol(mmff_system(second.molecule), second.to_openmm()[1][0])
    assert energy_kJ_mol(system, positions, forces=own) == pytest.approx(expected, abs=1e-4)
    ligand = set(range(first.molecule.n_atoms + 2 * second.molecule.n_atoms))
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            bonded = {k for n in range(force.getNumBonds()) for k in force.getBondParameters(n)[:2]}
            assert not bonded & ligand


def test_pairs_within_a_ligand_are_left_out_of_the_nonbonded_force(in_water):
    topology, _, field, (first, _) = in_water
    system = field.createSystem(topology, nonbondedMethod=app.PME, nonbondedCutoff=1.0)
    (nonbonded,) = [f for f in system.getForces() if isinstance(f, openmm.NonbondedForce)]
    n = first.molecule.n_atoms
    inner = {}
    for k in range(nonbonded.getNumExceptions()):
        i, j, charges, _, epsilon = nonbonded.getExceptionParameters(k)
        if max(i, j) < n:
            inner[min(i, j), max(i, j)] = (charges._value, epsilon._value)
    assert len(inner) == n * (n - 1) // 2
    assert set(inner.values()) == {(0.0, 0.0)}
    charges = [nonbonded.getParticleParameters(k)[0]._value for k in range(n)]
    np.testing.assert_allclose(charges, mmff_parameters(first.molecule).charges_e)


@pytest.mark.parametrize("constraints", [app.HBonds, app.AllBonds, app.HAngles])
def test_constraints_hold_the_lengths_of_mmff(constraints):
    ensemble = made("OCC")
    topology, _ = ensemble.to_openmm()
    system = force_field(ensemble).createSystem(topology, constraints=constraints)
    parameters = mmff_parameters(ensemble.molecule)
    lengths = {
        frozenset(pair): r0 * NM_PER_A
        for pair, r0 in zip(parameters.bonds.tolist(), parameters.bond_r0_A.tolist(), strict=True)
        if constraints is not app.HBonds or 1 in parameters.numbers[pair]
    }
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        if frozenset((i, j)) in lengths:
            assert length._value == pytest.approx(lengths.pop(frozenset((i, j))))
        else:
            assert constraints is app.HAngles
            assert 1 in ensemble.molecule.numbers[[i, j]]
    assert not lengths
    stretched = [f for f in system.getForces() if f.getName() == "MMFF94 bond"]
    free = sum(force.getNumBonds() for force in stretched)
    assert free == (2 if constraints is app.HBonds else 0)


def test_well_with_water_is_mmffs():
    """The minimum of the mixed 12-6 potential, found on a grid, is the 14-7 potential's."""
    molecule = Molecule.from_smiles("CC(=O)N")
    sigma_nm, epsilon = lennard_jones(molecule, "MMFF94")
    both = Molecule.from_smiles("CC(=O)N.O")
    parameters = mmff_parameters(both)
    oxygen = 4  # before all hydrogens
    r = np.linspace(0.15, 0.6, 40_001)
    checked = 0
    for (i, j), r_star, depth in zip(
        parameters.pairs.tolist(),
        parameters.pair_r_star_A.tolist(),
        parameters.pair_epsilon_kcal_mol.tolist(),
        strict=True,
    ):
        if oxygen not in (i, j):
            continue
        other = i if j == oxygen else j
        k = other if other < oxygen else other - 1  # in the molecule alone
        sigma = 0.5 * (sigma_nm[k] + TIP3P_SIGMA_NM)
        well = (
            4
            * math.sqrt(epsilon[k] * TIP3P_EPSILON_KJ_MOL)
            * ((sigma / r) ** 12 - (sigma / r) ** 6)
        )
        assert r[well.argmin()] == pytest.approx(r_star * NM_PER_A, abs=2e-5)
        assert -well.min() == pytest.approx(depth * KJ_MOL_PER_KCAL_MOL, rel=1e-5)
        checked += 1
    assert checked == molecule.n_atoms
    assert (sigma_nm > 0).all()


def minimum_kJ_mol(system: openmm.System, positions_nm) -> float:
    """Energy at the minimum below these positions."""
    integrator = openmm.VerletIntegrator(1 * unit.femtosecond)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm)
    openmm.LocalEnergyMinimizer.minimize(context, 0.5, 3000)
    return context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(KJ)


@pytest.mark.parametrize(("smiles", "acceptor"), [("CO", 1), ("CC(C)=O", 3), ("c1ccncc1", 3)])
def test_minimum_with_a_water_is_nearly_mmffs(smiles, acceptor):
    """A hydrogen of water points at the acceptor, 1.9 A from it, away from the molecule."""
    ensemble, water = made(smiles), made("O")
    n, molecule, x_A = ensemble.molecule.n_atoms, ensemble.molecule, ensemble.positions_A[0]
    outward = x_A[acceptor] - x_A[molecule.bonds[(molecule.bonds == acceptor).any(1)]].mean((0, 1))
    outward /= np.linalg.norm(outward)
    bond_A = np.linalg.norm(water.positions_A[0][1] - water.positions_A[0][0])
    oxygen_A = x_A[acceptor] + (1.9 + bond_A) * outward
    side = np.linalg.svd(outward[None])[2][-1]
    hydrogens_A = [oxygen_A - bond_A * outward, oxygen_A + bond_A * (0.25 * outward + 0.97 * side)]
    start_nm = np.concatenate([x_A, [oxygen_A], hydrogens_A]) * NM_PER_A
    pair = Molecule(
        numbers=np.append(molecule.numbers, [8, 1, 1]),
        bonds=np.concatenate([molecule.bonds, [[n, n + 1], [n, n + 2]]]),
        bond_orders=np.append(molecule.bond_orders, [1.0, 1.0]),
        formal_charges=np.append(molecule.formal_charges, [0, 0, 0]),
        residue_names=("LIG",) * n + ("HOH",) * 3,
        residue_ids=(1,) * n + (2,) * 3,
    )
    topology = Ensemble(pair, np.zeros((1, n + 3, 3))).to_openmm()[0]
    field = force_field(ensemble, files=["amber14/tip3p.xml"])
    alone = minimum_kJ_mol(mmff_system(molecule), x_A * NM_PER_A)
    water_alone = minimum_kJ_mol(mmff_system("O"), water.positions_A[0] * NM_PER_A)
    expected = minimum_kJ_mol(mmff_system(pair), start_nm) - alone - water_alone
    found = minimum_kJ_mol(field.createSystem(topology), start_nm) - alone
    assert expected < -20
    assert found == pytest.approx(expected, abs=1.5)


def test_residue_of_another_molecule_is_left_to_others():
    ensemble = made("CCO")
    topology, _ = made("CCN").to_openmm()
    with pytest.raises(ValueError, match="No template found"):
        force_field(ensemble).createSystem(topology)


def test_ligand_bonded_to_something_else_is_left_to_others():
    """Ethane, of which each methyl is a residue: it is known as a whole molecule alone."""
    topology = app.Topology()
    chain = topology.addChain()
    carbons = []
    for _ in range(2):
        residue = topology.addResidue("ME", chain)
        carbons.append(topology.addAtom("C", app.element.carbon, residue))
        for k in range(3):
            hydrogen = topology.addAtom(f"H{k}", app.element.hydrogen, residue)
            topology.addBond(carbons[-1], hydrogen)
    topology.addBond(*carbons)
    assert force_field("CC").createSystem(topology).getNumParticles() == 8
    with pytest.raises(ValueError, match="No template found"):
        force_field("C").createSystem(topology)


CHARMM = """<ForceField>
 <NonbondedForce coulomb14scale="1.0" lj14scale="1.0"/>
 <LennardJonesForce lj14scale="1.0"/>
</ForceField>"""


@pytest.mark.parametrize(
    ("files", "term"),
    [([CHARMM], "LennardJones"), (["amber96.xml", "amber96_obc.xml"], "GBSAOBC")],
)
def test_force_field_that_asks_more_of_each_atom_is_refused(files, term):
    ensemble = made(LIGANDS[2])
    opened = [io.StringIO(file) if file.startswith("<") else file for file in files]
    with pytest.raises(InputError, match=term):
        force_field(ensemble, files=opened).createSystem(ensemble.to_openmm()[0])


@pytest.mark.long
def test_ligand_has_an_implicit_solvent_whose_radii_are_those_of_elements():
    ensemble = made(LIGANDS[0])
    topology, positions = ensemble.to_openmm()
    system = force_field(ensemble, files=["amber14-all.xml", "implicit/obc2.xml"]).createSystem(
        topology
    )
    alone = energy_kJ_mol(mmff_system(ensemble.molecule), positions[0])
    assert -150 < energy_kJ_mol(system, positions[0]) - alone < -10


def test_two_molecules_that_openmm_cannot_tell_apart_are_refused_unless_they_are_the_same():
    both = MMFFTemplateGenerator(["C[C@H](O)F", "C[C@@H](O)F", "C[C@H](O)F"])
    assert len(both.molecules) == 1, "enantiomers have the same parameters"
    with pytest.raises(InputError, match="same elements and bonds"):
        MMFFTemplateGenerator(["CC1=C(C)C=C1", "CC1=CC=C1C"])


def test_molecule_of_fragments_is_refused():
    with pytest.raises(InputError, match="several fragments"):
        MMFFTemplateGenerator("CCO.O")


def test_molecule_without_parameters_is_refused_by_name():
    with pytest.raises(MoleculeError, match="B1"):
        MMFFTemplateGenerator("CB(O)O")


def test_isotopes_have_their_masses():
    ensemble = made("[2H]C([2H])([2H])O")
    system = force_field(ensemble).createSystem(ensemble.to_openmm()[0])
    masses = [system.getParticleMass(k)._value for k in range(system.getNumParticles())]
    assert sum(2.01 < mass < 2.02 for mass in masses) == 3
