"""Stereochemistry that an input leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.EnumerateStereoisomers import (
    EnumerateStereoisomers,
    GetStereoisomerCount,
    StereoEnumerationOptions,
)

from equidrift.adapters.rdkit.axial import set_axial
from equidrift.adapters.rdkit.exchange import exchanges_atom, exchanges_bond
from equidrift.adapters.rdkit.molecule import from_mol, to_mol
from equidrift.adapters.rdkit.perception import assign_from_3d
from equidrift.errors import MoleculeError
from equidrift.records import Molecule

MAX_ISOMERS = 32  # five open centres
_NO_GROUPS = np.zeros((0, 3), np.int64)
_AXES = Chem.CXSmilesFields.CX_BOND_ATROPISOMER
_OPEN = (Chem.StereoSpecified.Unspecified, Chem.StereoSpecified.Unknown)


def open_stereo(molecule: Molecule) -> tuple[str, ...]:
    """The stereocentres and double bonds without a stereo label, as `C1` or `C1=C2`.

    Atoms are numbered from 0, in the molecule's order. Left out are cumulated double
    bonds, and what a hydrogen or a charge turns into its other form
    (`equidrift.adapters.rdkit.exchange`).
    """
    mol = to_mol(molecule)
    return tuple(
        "=".join(f"{mol.GetAtomWithIdx(k).GetSymbol()}{k}" for k in atoms) for atoms in _places(mol)
    )


def with_stereo_in_space(molecule: Molecule, positions_A: NDArray[np.float64]) -> Molecule:
    """The molecule with the stereo that a conformer has where its labels leave it open.

    Parameters
    ----------
    molecule : Molecule
        Its labels stay.
    positions_A : ndarray
        (n_atoms, 3) in A.
    """
    mol = to_mol(molecule, positions_A[None])
    places = set(_places(mol))
    if not places:
        return molecule
    seen = from_mol(assign_from_3d(mol))
    centres = [row for row in seen.tetrahedral.tolist() if (row[0],) in places]
    bonds = [row for row in seen.double_bonds.tolist() if tuple(sorted(row[1:3])) in places]
    return molecule.replace(
        tetrahedral=np.array([*molecule.tetrahedral.tolist(), *centres]),
        double_bonds=np.array([*molecule.double_bonds.tolist(), *bonds]),
    )


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
    options = StereoEnumerationOptions(unique=True)  # type: ignore[no-untyped-call]
    held = _held(to_mol(molecule))
    groups = len({number for _, number, _ in molecule.stereo_groups.tolist()})
    count = 2**groups * GetStereoisomerCount(held, options)  # type: ignore[no-untyped-call]
    if count > MAX_ISOMERS:
        raise MoleculeError(
            f"{molecule!r} may have {count} stereoisomers, and {MAX_ISOMERS} are made at most; "
            "label some of its stereocentres, or take stereo='any'"
        )
    if not groups and not open_stereo(molecule):
        return [molecule]
    isomers: dict[str, tuple[Chem.Mol, NDArray[np.int64]]] = {}
    for form in _forms(molecule):
        mol = to_mol(form)
        for made in EnumerateStereoisomers(_held(mol), options):  # type: ignore[no-untyped-call]
            isomer = _released(made, mol)
            isomers.setdefault(_smiles(isomer, form), (isomer, form.axial))
    found = []
    for number, (smiles, (isomer, axial)) in enumerate(sorted(isomers.items()), start=1):
        made = from_mol(isomer)
        name = f"{molecule.name}-{number}" if molecule.name and len(isomers) > 1 else molecule.name
        found.append(
            molecule.replace(
                tetrahedral=made.tetrahedral,
                double_bonds=made.double_bonds,
                axial=axial,
                stereo_groups=_NO_GROUPS,
                smiles=smiles,
                name=name,
            )
        )
    return found


def _unlabelled(mol: Chem.Mol, *, open_: bool) -> list[Chem.StereoInfo]:
    """What has no label and is open, or is not: then it is of one form with its other."""
    return [info for info, is_open in _infos(mol) if is_open is open_]


def _infos(mol: Chem.Mol) -> Iterator[tuple[Chem.StereoInfo, bool]]:
    """What is without a label, and whether it is open: not of one form with its other."""
    for info in Chem.FindPotentialStereo(mol, cleanIt=False):
        if info.specified not in _OPEN:
            continue
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            yield info, not exchanges_atom(mol, mol.GetAtomWithIdx(info.centeredOn))
        elif info.type == Chem.StereoType.Bond_Double:
            bond = mol.GetBondWithIdx(info.centeredOn)
            if not any(map(_is_cumulated, (bond.GetBeginAtom(), bond.GetEndAtom()))):
                yield info, not exchanges_bond(bond)


def _places(mol: Chem.Mol) -> list[tuple[int, ...]]:
    """The atoms of each open centre, (k,), and double bond, (i, j)."""
    places: list[tuple[int, ...]] = []
    for info in _unlabelled(mol, open_=True):
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            places.append((info.centeredOn,))
        else:
            bond = mol.GetBondWithIdx(info.centeredOn)
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            places.append((min(i, j), max(i, j)))
    return places


def _held(mol: Chem.Mol) -> Chem.Mol:
    """A copy with labels on what is not open, so that RDKit leaves it as it is."""
    held = Chem.Mol(mol)
    for info in _unlabelled(mol, open_=False):
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            held.GetAtomWithIdx(info.centeredOn).SetChiralTag(Chem.ChiralType.CHI_TETRAHEDRAL_CW)
        else:
            bond = held.GetBondWithIdx(info.centeredOn)
            bond.SetStereoAtoms(info.controllingAtoms[0], info.controllingAtoms[2])
            bond.SetStereo(Chem.BondStereo.STEREOCIS)
    return held


def _released(made: Chem.Mol, mol: Chem.Mol) -> Chem.Mol:
    """An isomer without the labels of `_held`."""
    isomer = Chem.Mol(made)
    for info in _unlabelled(mol, open_=False):
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            isomer.GetAtomWithIdx(info.centeredOn).SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        else:
            isomer.GetBondWithIdx(info.centeredOn).SetStereo(Chem.BondStereo.STEREONONE)
    return isomer


def _forms(molecule: Molecule) -> Iterator[Molecule]:
    """The molecule with each group of relative stereo as it is drawn, and turned over."""
    rows = molecule.stereo_groups
    numbers = sorted(set(rows[:, 1].tolist()))
    for turned in product((False, True), repeat=len(numbers)):
        over = [number for number, flag in zip(numbers, turned, strict=True) if flag]
        atoms = rows[np.isin(rows[:, 1], over), 0]
        tetrahedral, axial = molecule.tetrahedral.copy(), molecule.axial.copy()
        centres = np.isin(tetrahedral[:, 0], atoms)
        tetrahedral[centres, 1:3] = tetrahedral[centres, 2:0:-1]
        axes = np.isin(axial[:, 1:3], atoms).any(axis=1)
        axial[axes, 4] = 1 - axial[axes, 4]
        yield molecule.replace(tetrahedral=tetrahedral, axial=axial, stereo_groups=_NO_GROUPS)


def _smiles(isomer: Chem.Mol, form: Molecule) -> str:
    """The canonical SMILES, with the hands of axes if there are any."""
    if not len(form.axial):
        return str(Chem.MolToSmiles(Chem.RemoveHs(isomer)))
    labelled = Chem.Mol(isomer)
    set_axial(labelled, form)
    return str(Chem.MolToCXSmiles(Chem.RemoveHs(labelled), Chem.SmilesWriteParams(), _AXES))


def _is_cumulated(atom: Chem.Atom) -> bool:
    double = [bond for bond in atom.GetBonds() if bond.GetBondType() == Chem.BondType.DOUBLE]
    return len(double) > 1
