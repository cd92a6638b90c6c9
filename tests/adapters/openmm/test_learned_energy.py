"""The learned energy as an OpenMM force, and as an openmmml potential by name."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import unit

from equidrift.adapters.openmm.energy import energy_force
from equidrift.adapters.openmm.topology import to_topology
from equidrift.errors import InputError, MoleculeError
from equidrift.records import Molecule
from equidrift.registry import make_refiner
from equidrift.units import KJ_MOL_PER_EV
from tests.conftest import make_ensemble
from tests.models.networks import small_energy_weights

PROPANOL = Molecule.from_smiles("CCCO")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_energy_weights(tmp_path_factory.mktemp("weights")))


def context_of(force: openmm.PythonForce, molecule: Molecule) -> openmm.Context:
    system = openmm.System()
    for _ in range(molecule.n_atoms):
        system.addParticle(12.0)
    system.addForce(force)
    integrator = openmm.VerletIntegrator(1 * unit.femtosecond)
    platform = openmm.Platform.getPlatformByName("Reference")
    return openmm.Context(system, integrator, platform)


def test_force_has_the_energy_and_gradient_of_the_surface_in_openmms_units(weights: str) -> None:
    ensemble = make_ensemble("R centre")
    molecule, x = ensemble.molecule, ensemble.positions_A[0]
    energy, gradient = make_refiner(weights).surface(molecule)(x[None])
    context = context_of(energy_force(molecule, weights=weights), molecule)
    context.setPositions(x * unit.angstrom)
    state = context.getState(energy=True, forces=True)
    kj_mol = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    assert kj_mol == pytest.approx(energy[0] * KJ_MOL_PER_EV, rel=1e-4)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
    np.testing.assert_allclose(forces, -gradient[0] * KJ_MOL_PER_EV, atol=0.05)


def test_a_system_with_the_force_gives_the_same_energy_when_it_is_read_back(weights: str) -> None:
    ensemble = make_ensemble("R centre")
    context = context_of(energy_force(ensemble.molecule, weights=weights), ensemble.molecule)
    text = openmm.XmlSerializer.serialize(context.getSystem())
    again = openmm.XmlSerializer.deserialize(text)
    other = openmm.Context(
        again,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    energies = []
    for one in (context, other):
        one.setPositions(ensemble.positions_A[0] * unit.angstrom)
        energies.append(one.getState(energy=True).getPotentialEnergy()._value)
    assert energies[0] == pytest.approx(energies[1], rel=1e-6)


def test_force_refuses_an_element_that_the_energy_does_not_know() -> None:
    with pytest.raises(MoleculeError, match="not Si"):
        energy_force(Molecule.from_smiles("C[Si](C)(C)C"))


def test_potential_by_name_makes_a_system_of_a_topology_of_ours() -> None:
    openmmml = pytest.importorskip("openmmml")
    from equidrift.adapters.openmmml.energy import EnergyPotentialImplFactory

    name = "equidrift-conformer-energy"
    openmmml.MLPotential.registerImplFactory(name, EnergyPotentialImplFactory())
    topology = to_topology(PROPANOL)
    system = openmmml.MLPotential(name).createSystem(topology)
    assert any(isinstance(force, openmm.PythonForce) for force in system.getForces())
    with pytest.raises(InputError, match="whole molecule"):
        EnergyPotentialImplFactory().createImpl(name).addForces(topology, system, [0, 1], 0)


def test_force_refuses_weights_by_name_when_they_have_no_energy() -> None:
    with pytest.raises(InputError, match=r"weights='refine' has no energy.*conformer-energy"):
        energy_force(PROPANOL, weights="refine")
