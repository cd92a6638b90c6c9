"""Stereochemistry that an input leaves open."""

from __future__ import annotations

from rdkit import Chem

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.records import Molecule


def open_stereo(molecule: Molecule) -> tuple[str, ...]:
    """The stereocentres and double bonds without a stereo label, as `C1` or `C1=C2`.

    Atoms are numbered from 0, in the molecule's order. Cumulated double bonds are left out.
    """
    mol = to_mol(molecule)
    found = []
    for info in Chem.FindPotentialStereo(mol, cleanIt=False):
        if info.specified != Chem.StereoSpecified.Unspecified:
            continue
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            found.append(_label(mol.GetAtomWithIdx(info.centeredOn)))
        elif info.type == Chem.StereoType.Bond_Double:
            bond = mol.GetBondWithIdx(info.centeredOn)
            ends = (bond.GetBeginAtom(), bond.GetEndAtom())
            if not any(_is_cumulated(atom) for atom in ends):
                found.append("=".join(_label(atom) for atom in ends))
    return tuple(found)


def _label(atom: Chem.Atom) -> str:
    return f"{atom.GetSymbol()}{atom.GetIdx()}"


def _is_cumulated(atom: Chem.Atom) -> bool:
    return sum(bond.GetBondType() == Chem.BondType.DOUBLE for bond in atom.GetBonds()) > 1
