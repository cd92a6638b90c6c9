"""MMFF94 in implicit water: the energy of one ion is Born's."""

from __future__ import annotations

import math

import numpy as np
import openmm
import pytest

from equidrift.adapters.openmm.implicit import RADII, in_implicit_water
from equidrift.errors import MoleculeError
from equidrift.mmff import mmff_system
from equidrift.records import Molecule
from tests.sampling import BUTANE, start_A


def energy(system: openmm.System, positions_A: np.ndarray) -> float:
    """In kJ/mol."""
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions_A * 0.1)
    return float(context.getState(energy=True).getPotentialEnergy()._value)


def test_energy_of_an_ion_in_implicit_water_is_borns() -> None:
    """-(1 - 1 / 78.5) q^2 / 2 r with r less the offset of .009 nm, and 2.25936 kJ/mol per
    nm^2 of the surface of r + .14 nm, times (r / (r - .009))^6.
    """
    radius = RADII[17][0] / 10
    born = -0.5 * 138.935457 * (1 - 1 / 78.5) / (radius - 0.009)
    surface = 4 * math.pi * 2.25936 * (radius + 0.14) ** 2 * (radius / (radius - 0.009)) ** 6
    found = energy(in_implicit_water(Molecule.from_smiles("[Cl-]")), np.zeros((1, 3)))
    assert found == pytest.approx(born + surface, rel=1e-4)


def test_implicit_water_is_added_to_mmff() -> None:
    system = in_implicit_water(BUTANE, None)
    solvent = system.getNumForces() - 1
    assert energy(system, start_A()) != pytest.approx(energy(mmff_system(BUTANE), start_A()))
    system.removeForce(solvent)
    assert energy(system, start_A()) == energy(mmff_system(BUTANE), start_A())


def test_an_element_without_a_radius_is_refused() -> None:
    with pytest.raises(MoleculeError, match=r"atomic number \[35\]"):
        in_implicit_water(Molecule.from_smiles("CBr"))
