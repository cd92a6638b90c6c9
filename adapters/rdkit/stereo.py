"""Stereochemistry that an input leaves open."""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem.EnumerateStereoisomers import (
    EnumerateStereoisomers,
    GetStereoisomerCount,
    StereoEnumerationOptions,
)

from equidrift.adapters.rdkit.groups import with_groups
from equidrift.adapters.rdkit.molecule import from_mol, to_mol
from equidrift.errors import MoleculeError
from equidrift.records import Molecule

MAX_ISOMERS = 32  # five open centres
NO_GROUPS = np.zeros((0, 3), np.int64)


def open_stereo(molecule: Molecule) -> tuple[str, ...]:
    """The stereocentres and double bonds without a stereo label, as `C1` or `C1=C2`.

    Atoms are numbered from 0, in the molecule's order. Cumulated double bonds are left
    out.
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


def stereoisomers(molecule: Molecule) -> list[Molecule]:
    """Every stereoisomer that the labels of a molecule leave open, those of a racemate or
    of an unknown enantiomer among them; the molecule if there is one.

    Each has its own SMILES, and a name with the suffix -1, -2 and so on if the molecule
    has one.

    Raises
    ------
    MoleculeError
        If there may be more than MAX_ISOMERS of them.
    """
    mol = with_groups(to_mol(molecule), molecule)
    options = StereoEnumerationOptions(unique=True)  # type: ignore[no-untyped-call]
    count = GetStereoisomerCount(mol, options)  # type: ignore[no-untyped-call]
    if count > MAX_ISOMERS:
        raise MoleculeError(
            f"{molecule!r} may have {count} stereoisomers, and {MAX_ISOMERS} are made at most; "
            "label some of its stereocentres, or take stereo='any'"
        )
    isomers = [
        (Chem.MolToSmiles(Chem.RemoveHs(isomer)), isomer)
        for isomer in EnumerateStereoisomers(mol, options)  # type: ignore[no-untyped-call]
    ]
    if len(isomers) == 1 and not open_stereo(molecule) and not len(molecule.stereo_groups):
        return [molecule]
    found = []
    for number, (smiles, isomer) in enumerate(sorted(isomers, key=lambda pair: pair[0]), start=1):
        made = from_mol(isomer)
        name = f"{molecule.name}-{number}" if molecule.name and len(isomers) > 1 else molecule.name
        found.append(
            molecule.replace(
                tetrahedral=made.tetrahedral,
                double_bonds=made.double_bonds,
                axial=made.axial,
                stereo_groups=NO_GROUPS,
                smiles=smiles,
                name=name,
            )
        )
    return found


def _label(atom: Chem.Atom) -> str:
    return f"{atom.GetSymbol()}{atom.GetIdx()}"


def _is_cumulated(atom: Chem.Atom) -> bool:
    double = [bond for bond in atom.GetBonds() if bond.GetBondType() == Chem.BondType.DOUBLE]
    return len(double) > 1
