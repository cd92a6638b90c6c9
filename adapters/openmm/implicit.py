"""Implicit water round a molecule in MMFF94: OpenMM's generalised Born term (OBC)."""

from __future__ import annotations

import openmm

from equidrift.errors import MoleculeError
from equidrift.mmff import mmff_parameters, mmff_system
from equidrift.records import Molecule
from equidrift.units import NM_PER_A

# intrinsic radii in A and screening factors by atomic number, as Amber and OpenMM take them
# for OBC (Onufriev, Bashford and Case, Proteins 2004, 55, 383; mbondi2, but for hydrogens, all
# of which have the radius of those on carbon)
RADII: dict[int, tuple[float, float]] = {
    1: (1.2, 0.85),
    6: (1.7, 0.72),
    7: (1.55, 0.79),
    8: (1.5, 0.85),
    9: (1.5, 0.88),
    15: (1.85, 0.86),
    16: (1.8, 0.96),
    17: (1.7, 0.8),
}


def in_implicit_water(molecule: Molecule, constraints: str | None = "HBonds") -> openmm.System:
    """MMFF94 of a molecule and the energy of its charges in a dielectric of 78.5.

    No published force field: MMFF94's charges were not fitted with it. It is for tests
    of sampling, where turns cannot read a term of the energy.

    Parameters
    ----------
    molecule : Molecule
        Of H, C, N, O, F, P, S and Cl.
    constraints : str, optional
        As in `equidrift.mmff_system`.

    Raises
    ------
    MoleculeError
        For another element.
    """
    unknown = sorted({int(z) for z in molecule.numbers} - set(RADII))
    if unknown:
        raise MoleculeError(
            f"no radius for the elements of atomic number {unknown} is known here; known are "
            f"{sorted(RADII)}"
        )
    system = mmff_system(molecule, constraints=constraints)
    solvent = openmm.GBSAOBCForce()
    solvent.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    for z, charge in zip(molecule.numbers, mmff_parameters(molecule).charges_e, strict=True):
        radius_A, screening = RADII[int(z)]
        solvent.addParticle(float(charge), radius_A * NM_PER_A, screening)
    system.addForce(solvent)
    return system
