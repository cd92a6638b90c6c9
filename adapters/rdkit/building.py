"""Mols put together from atoms and bonds."""

from __future__ import annotations

from rdkit import Chem, rdBase

from equidrift.errors import MoleculeError

BOND_TYPE = {
    1.0: Chem.BondType.SINGLE,
    2.0: Chem.BondType.DOUBLE,
    3.0: Chem.BondType.TRIPLE,
    1.5: Chem.BondType.AROMATIC,
    0.0: Chem.BondType.ZERO,
}


def bonds_in(mol: Chem.Mol) -> list[Chem.Bond]:
    """The bonds in their order, as `mol.GetBonds()` has them, which looks for each from
    the first on: of a protein of 24,000 bonds it takes a minute, this a third of a second.
    """
    found = [
        bond
        for atom in mol.GetAtoms()
        for bond in atom.GetBonds()
        if bond.GetBeginAtomIdx() == atom.GetIdx()
    ]
    return sorted(found, key=lambda bond: bond.GetIdx())


def add_bond(rw: Chem.RWMol, i: int, j: int, order: float) -> None:
    """Add a bond of an order of `BOND_TYPE`, aromatic with its atoms if it is 1.5."""
    rw.AddBond(i, j, BOND_TYPE[order])
    if order == 1.5:
        for end in (i, j):
            rw.GetAtomWithIdx(end).SetIsAromatic(True)
        rw.GetBondBetweenAtoms(i, j).SetIsAromatic(True)


def sanitised(rw: Chem.RWMol, problem: str) -> Chem.Mol:
    """The Mol of what was put together, sanitised.

    Raises
    ------
    MoleculeError
        If RDKit cannot sanitise it: the `problem`, and what RDKit says.
    """
    mol = rw.GetMol()
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(mol)
    except Chem.MolSanitizeException as error:
        raise MoleculeError(f"{problem}: {error}") from error
    return mol
