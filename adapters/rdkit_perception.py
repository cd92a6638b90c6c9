"""Bonds, bond orders, charges and stereo from a geometry alone, by RDKit's bond perception."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds

from equidrift.errors import InputError, MoleculeError
from equidrift.records import Molecule
from equidrift.registry import resolve

ITERATIONS = 100_000  # of the search over bond orders, which has no bound of its own
OTHER_CHARGES = (-1, 1, -2, 2)


def molecule_from_xyz(numbers: ArrayLike, positions_A: ArrayLike, charge: int | None = None) -> Molecule:
    """The Molecule of a bare geometry; atom order is kept.

    Parameters
    ----------
    numbers : (n,) atomic numbers; every hydrogen must be there.
    positions_A : (n, 3).
    charge : total charge. None takes the molecule as neutral, and is refused where no neutral structure fits.

    Raises
    ------
    InputError
        for shapes that do not fit or positions that are not finite.
    MoleculeError
        where no bond orders fit the charge; the message names charges that would fit.
    """
    z, positions = np.asarray(numbers, np.int64), np.asarray(positions_A, np.float64)
    if z.ndim != 1 or positions.shape != (len(z), 3):
        raise InputError(f"numbers {z.shape} and positions_A {positions.shape} do not fit; expected (n,) and (n, 3)")
    if not np.isfinite(positions).all():
        raise InputError("positions_A holds NaN or infinite numbers, from which no bond can be told")
    rw = Chem.RWMol()
    for number in z.tolist():
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        rw.AddAtom(atom)
    mol = rw.GetMol()
    resolve("equidrift.adapters.rdkit_molecule:add_conformers")(mol, positions[None])

    def perceive(copy: Chem.Mol, total: int) -> None:
        rdDetermineBonds.DetermineBonds(copy, charge=total, maxIterations=ITERATIONS)
        _close_ylides(copy)

    molecule: Molecule = resolve("equidrift.adapters.rdkit_molecule:from_mol")(fit_charge(mol, charge, perceive))
    return molecule


def complete_bond_orders(mol: Chem.Mol, charge: int | None = None) -> Chem.Mol:
    """A copy of an unsanitised Mol with one conformer whose bonds are known, with their orders perceived; see `molecule_from_xyz`."""

    def perceive(copy: Chem.Mol, total: int) -> None:
        rdDetermineBonds.DetermineBondOrders(copy, charge=total, maxIterations=ITERATIONS)
        _close_ylides(copy)

    return fit_charge(mol, charge, perceive)


def fit_charge(mol: Chem.Mol, charge: int | None, perceive: Callable[[Chem.Mol, int], None]) -> Chem.Mol:
    """A copy of `mol` after `perceive(copy, charge)`, or `MoleculeError` with the charges that fit."""
    fitted = _attempt(mol, charge or 0, perceive)
    if fitted is not None:
        return fitted
    others = [other for other in (0, *OTHER_CHARGES) if other != (charge or 0) and _attempt(mol, other, perceive) is not None]
    what = "the charge is not given and no neutral structure fits" if charge is None else f"no structure of charge {charge:+d} fits"
    hint = f"charge {' or '.join(f'{c:+d}' for c in others)} would fit" if others else "charges -2 to 2 do not fit either"
    raise MoleculeError(
        f"the bonds of this geometry are ambiguous: {what}; {hint}. Give charge=..., check that every hydrogen is there, "
        "or give the molecule as SMILES or SDF, which carry bonds"
    )


def _close_ylides(mol: Chem.Mol) -> None:
    """RDKit perceives sulfoxides and phosphine oxides as S+-O-; write S=O and P=O, as SMILES and files do, and read the stereo."""
    for bond in mol.GetBonds():
        for centre, oxygen in ((bond.GetBeginAtom(), bond.GetEndAtom()), (bond.GetEndAtom(), bond.GetBeginAtom())):
            if centre.GetSymbol() in ("S", "P", "Se") and centre.GetFormalCharge() > 0:
                if oxygen.GetSymbol() in ("O", "S") and oxygen.GetFormalCharge() == -1 and bond.GetBondType() == Chem.BondType.SINGLE:
                    bond.SetBondType(Chem.BondType.DOUBLE)
                    centre.SetFormalCharge(centre.GetFormalCharge() - 1)
                    oxygen.SetFormalCharge(0)
    Chem.SanitizeMol(mol)
    Chem.AssignStereochemistryFrom3D(mol)


def _attempt(mol: Chem.Mol, charge: int, perceive: Callable[[Chem.Mol, int], None]) -> Chem.Mol | None:
    """The perceived copy, or None where RDKit finds no structure or one with radicals."""
    copy = Chem.Mol(mol)
    try:
        with rdBase.BlockLogs():
            perceive(copy, charge)
    except (ValueError, RuntimeError):  # no bond orders, or more iterations than allowed
        return None
    if any(atom.GetNumRadicalElectrons() for atom in copy.GetAtoms()):
        return None
    return copy
