"""Masses of isotopes, and isotopes of masses, by RDKit's periodic table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from equidrift.errors import MoleculeError
from equidrift.records import Molecule

MASS_TOLERANCE_AMU = 1e-5  # within which a mass is that of one isotope


def isotope_masses_amu(molecule: Molecule, *, strict: bool = True) -> NDArray[np.float64]:
    """(n,) masses of the atoms: of their isotopes, else of the elements as they occur.

    Parameters
    ----------
    strict : bool
        Refuse isotopes that are not known, as numbers that mark atoms are; else these
        weigh what the element does.

    Raises
    ------
    MoleculeError
        For an isotope that is not known, if strict.
    """
    table = Chem.GetPeriodicTable()
    masses = np.array([table.GetAtomicWeight(z) for z in molecule.numbers.tolist()], np.float64)
    for k in np.flatnonzero(molecule.isotopes).tolist():
        mass = table.GetMassForIsotope(int(molecule.numbers[k]), int(molecule.isotopes[k]))
        if not mass > 0 and not strict:
            continue
        if not mass > 0:
            raise MoleculeError(
                f"atom {k} of {molecule!r} is {molecule.symbols[k]} of mass number "
                f"{molecule.isotopes[k]}, of which no mass is known"
            )
        masses[k] = mass
    return masses


def isotopes_of_masses(
    numbers: NDArray[np.int64], masses_amu: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The isotopes whose masses are given.

    Parameters
    ----------
    numbers : array of int, shape (n,)
        Atomic numbers.
    masses_amu : array of float, shape (n,)
        Masses in u.

    Returns
    -------
    array of int, shape (n,)
        Mass numbers; 0 for a mass that no isotope has to 1e-5 u, such as the mean of an
        element, or a hydrogen's of mass repartitioning.
    """
    table = Chem.GetPeriodicTable()
    isotopes = np.zeros(len(numbers), np.int64)
    for k, (z, mass) in enumerate(zip(numbers.tolist(), masses_amu.tolist(), strict=True)):
        near = round(mass)
        if near > 0 and abs(table.GetMassForIsotope(z, near) - mass) < MASS_TOLERANCE_AMU:
            isotopes[k] = near
    return isotopes
