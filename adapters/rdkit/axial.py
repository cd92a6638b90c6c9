"""Axial stereo, RDKit <-> `Molecule.axial`: atropisomers are kept; what RDKit drops when
it reads a SMILES (allenes and longer cumulenes) is told.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.building import bonds_in
from equidrift.errors import MoleculeError
from equidrift.records import Molecule

TOLD_SMILES = 4096  # remembered
_POSITIVE = Chem.BondStereo.STEREOATROPCW
_NEGATIVE = Chem.BondStereo.STEREOATROPCCW
_DIRECTED = (Chem.BondDir.ENDUPRIGHT, Chem.BondDir.ENDDOWNRIGHT)


def axial_rows(mol: Chem.Mol) -> list[tuple[int, int, int, int, int]]:
    """(a, i, j, b, positive) of each bond that is a chiral axis.

    RDKit's sense: along the bond, from the neighbour of lowest index to the neighbour
    of lowest index at the other end, clockwise is a positive dihedral.
    """
    rows = []
    for bond in bonds_in(mol):
        if bond.GetStereo() in (_POSITIVE, _NEGATIVE):
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            positive = int(bond.GetStereo() == _POSITIVE)
            rows.append((_lowest(mol, i, j), i, j, _lowest(mol, j, i), positive))
    return rows


def set_axial(mol: Chem.Mol, molecule: Molecule) -> None:
    """Write the rows of a Molecule as RDKit's labels of bonds.

    Raises
    ------
    MoleculeError
        If a row names atoms that are not bonded to the axis.
    """
    for a, i, j, b, positive in molecule.axial.tolist():
        bond = mol.GetBondBetweenAtoms(i, j)
        ends = ((a, i), (j, b))
        if bond is None or any(mol.GetBondBetweenAtoms(*pair) is None for pair in ends):
            raise MoleculeError(f"axial row {(a, i, j, b, positive)} names atoms not bonded")
        turned = (a != _lowest(mol, i, j)) != (b != _lowest(mol, j, i))
        bond.SetStereo(_POSITIVE if bool(positive) != turned else _NEGATIVE)


def _lowest(mol: Chem.Mol, end: int, other: int) -> int:
    """The neighbour of lowest index of an end of an axis."""
    around = [atom.GetIdx() for atom in mol.GetAtomWithIdx(end).GetNeighbors()]
    return int(min(k for k in around if k != other))


@lru_cache(maxsize=TOLD_SMILES)
def tell_dropped(smiles: str) -> None:
    """Log the cumulated double bonds whose stereo stands in a SMILES and is not kept, once
    for each SMILES however often it is read.
    """
    if "=" not in smiles or not set(smiles) & set("@/\\"):
        return
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None:
        return
    middle = [atom.GetIdx() for atom in mol.GetAtoms() if _is_cumulated(atom)]
    tagged = {
        k for k in middle if mol.GetAtomWithIdx(k).GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED
    }
    chains = Chem.GetMolFrags(_only(mol, middle)) if middle else ()
    for chain in chains:
        atoms = [middle[k] for k in chain]
        if tagged & set(atoms) or (len(atoms) % 2 == 0 and _both_directed(mol, atoms)):
            logging.getLogger("equidrift").warning(
                "axial stereo of the cumulated double bonds at atoms %s (from 0) of %s is "
                "dropped: both forms may come out",
                ", ".join(map(str, atoms)),
                smiles,
            )


def _is_cumulated(atom: Chem.Atom) -> bool:
    double = sum(bond.GetBondType() == Chem.BondType.DOUBLE for bond in atom.GetBonds())
    return bool(atom.GetDegree() == double == 2)


def _only(mol: Chem.Mol, atoms: list[int]) -> Chem.Mol:
    """Those atoms and the bonds between them."""
    rw = Chem.RWMol()
    place = {k: rw.AddAtom(Chem.Atom(6)) for k in atoms}
    for bond in bonds_in(mol):
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if i in place and j in place:
            rw.AddBond(place[i], place[j], Chem.BondType.SINGLE)
    return rw.GetMol()


def _both_directed(mol: Chem.Mol, chain: list[int]) -> bool:
    """Whether a slash stands at both ends of cumulated double bonds."""
    around = (atom for k in chain for atom in mol.GetAtomWithIdx(k).GetNeighbors())
    ends = [atom for atom in around if atom.GetIdx() not in chain]
    return all(any(bond.GetBondDir() in _DIRECTED for bond in end.GetBonds()) for end in ends)
