"""Stereo from coordinates, by RDKit's perception: for hosts whose own records carry none."""

from __future__ import annotations

from rdkit import Chem


def assign_from_3d(mol: Chem.Mol, confId: int = -1) -> Chem.Mol:
    """A copy of an RDKit Mol whose tetrahedral and double-bond tags are those of a conformer; the given Mol is not changed."""
    mol = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(mol, confId, replaceExistingTags=True)
    return mol
