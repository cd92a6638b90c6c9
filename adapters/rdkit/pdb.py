"""Molecules of PDB files: every atom that is there, and charges from the hydrogens that
are.

Bonds come from CONECT records and, if these say nothing, from distances. With
hydrogens, orders and charges are those that fit them (`equidrift.bond_orders`);
without, RDKit's templates of residues and the orders in CONECT records tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from equidrift.adapters.rdkit.building import bonds_in
from equidrift.adapters.rdkit.identity import with_axes
from equidrift.adapters.rdkit.molecule import add_conformers, from_mol
from equidrift.adapters.rdkit.pdb_graph import Model, pdb_graph
from equidrift.adapters.rdkit.perception import (
    refuse_drawing,
)
from equidrift.adapters.rdkit.template import check_template_stereo
from equidrift.checks.geometry import COVALENT_RADII_A
from equidrift.errors import MoleculeError
from equidrift.files.pdb import PdbFile, read_pdb
from equidrift.records import Molecule

TORN = 1.35  # a bond this much longer than its covalent radii is none
Read = tuple[Molecule, NDArray[np.float64]]
Entry = tuple[str, Callable[[], Read]]


def pdb_entries(
    text: str, stem: str, charge: int | None = None, template: str | None = None
) -> Iterator[Entry]:
    """(title, function that gives the molecule and its positions) of each molecule.

    MODELs of one molecule are its conformers; another molecule, or another
    stereoisomer, among them is an entry of its own.

    Parameters
    ----------
    text : str
        The whole file.
    stem : str
        Title if the file has none.
    charge : int, optional
        Total charge; None takes it from the file.
    template : str, optional
        SMILES of every molecule in the file, which tells bond orders and charges and
        the hydrogens that are missing; None takes them from the file.
    """
    try:
        file = read_pdb(text)
        groups = _groups(file)
    except MoleculeError as error:
        yield stem, partial(_fail, error)
        return
    title = file.title or stem
    for models in groups:
        try:
            found = list(_molecules(models, file, charge, template))
        except MoleculeError as error:
            yield title, partial(_fail, error)
        else:
            for read in found:
                yield title, partial(_give, read)


def _fail(error: MoleculeError) -> Read:
    raise error


def _give(read: Read) -> Read:
    return read


def _groups(file: PdbFile) -> list[list[Model]]:
    """Models with the same atoms together."""
    groups: dict[tuple[object, ...], list[Model]] = {}
    for model in file.models:
        groups.setdefault(tuple(atom.identity for atom in model), []).append(model)
    serials = [{atom.serial for atom in models[0]} for models in groups.values()]
    named = {serial for bond in file.bonds for serial in bond[:2]}
    shared = set.intersection(*serials) & named if len(serials) > 1 else set()
    if shared:
        raise MoleculeError(
            f"the {len(file.models)} MODELs hold {len(groups)} different molecules, and the CONECT "
            "records do not say whose bonds they list; split the file, one molecule each"
        )
    return list(groups.values())


def _molecules(
    models: list[Model], file: PdbFile, charge: int | None, template: str | None
) -> Iterator[Read]:
    """The molecules of models with the same atoms: one, unless their bonds or stereo
    differ.
    """
    rest = models
    while rest:
        mol = pdb_graph(rest[0], file, charge, template)
        frames = np.array([[atom.position_A for atom in model] for model in rest])
        same = _has_bonds(mol, frames)
        same[0] = True
        if not same.all() and file.bonds:
            k = int(np.flatnonzero(~same)[0])
            raise MoleculeError(
                f"the atoms of MODEL {models.index(rest[k]) + 1} are too far apart for the "
                f"bonds that "
                "the CONECT records list; give each molecule a file of its own, or leave it out"
            )
        if template is None:
            for molecule, positions in _stereoisomers(mol, frames[same], file.smiles):
                yield with_axes(molecule, file.smiles, positions), positions
        else:
            for molecule, positions in _stereoisomers(mol, frames[same], template):
                yield check_template_stereo(molecule, template, positions), positions
        rest = [model for model, fits in zip(rest, same.tolist(), strict=True) if not fits]


def _has_bonds(mol: Chem.Mol, frames_A: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames have every bond of the Mol; (k,) bool."""
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds_in(mol)]
    if not bonds:
        return np.ones(len(frames_A), bool)
    i, j = np.array(bonds).T
    radii = COVALENT_RADII_A[[atom.GetAtomicNum() for atom in mol.GetAtoms()]]
    lengths = np.linalg.norm(frames_A[:, i] - frames_A[:, j], axis=-1)
    longest = np.maximum(TORN * (radii[i] + radii[j]), 1.1 * lengths[0])
    fits: NDArray[np.bool_] = (lengths <= longest).all(axis=1)
    return fits


def _stereoisomers(mol: Chem.Mol, frames_A: NDArray[np.float64], smiles: str) -> Iterator[Read]:
    """The conformers of each stereoisomer.

    In a file of equidrift's, whose SMILES leaves stereo open, they stay one molecule
    that has the stereo on which all conformers agree.
    """
    molecule, positions = _with_hydrogens(mol, frames_A)
    signs = _stereo_signs(molecule, positions)
    if (signs == signs[0]).all():
        yield molecule, positions
        return
    if smiles and _leaves_stereo_open(smiles, molecule):
        agreed = (signs == signs[0]).all(axis=0)
        n = len(molecule.tetrahedral)
        tetrahedral = molecule.tetrahedral[agreed[:n]]
        double_bonds = molecule.double_bonds[agreed[n:]]
        yield molecule.replace(tetrahedral=tetrahedral, double_bonds=double_bonds), positions
        return
    for row in dict.fromkeys(map(tuple, signs.tolist())):
        yield _with_hydrogens(mol, frames_A[(signs == row).all(axis=1)])


def _with_hydrogens(mol: Chem.Mol, frames_A: NDArray[np.float64]) -> Read:
    """(molecule with the stereo of the first frame, positions (k, n, 3) with all
    hydrogens).
    """
    copy = Chem.Mol(mol)
    add_conformers(copy, frames_A)
    refuse_drawing(copy)
    Chem.AssignStereochemistryFrom3D(copy)
    full = Chem.AddHs(copy, addCoords=True)
    return from_mol(full), np.array([frame.GetPositions() for frame in full.GetConformers()])


def _stereo_signs(molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.int64]:
    """1 or -1 per frame and row of stereo: tetrahedral volumes, then sides of double
    bonds.
    """
    x = positions_A
    _, a, b, c, d = molecule.tetrahedral.T
    volumes = np.einsum(
        "fki,fki->fk", x[:, a] - x[:, d], np.cross(x[:, b] - x[:, d], x[:, c] - x[:, d])
    )
    a, i, j, b, _ = molecule.double_bonds.T
    axis = x[:, j] - x[:, i]
    sides = np.einsum(
        "fki,fki->fk", np.cross(x[:, a] - x[:, i], axis), np.cross(x[:, b] - x[:, j], axis)
    )
    return np.where(np.concatenate([volumes, sides], axis=1) > 0, 1, -1)


def _leaves_stereo_open(smiles: str, molecule: Molecule) -> bool:
    try:
        given = Molecule.from_smiles(smiles)
    except MoleculeError:
        return False
    known = len(given.tetrahedral) + len(given.double_bonds)
    return known < len(molecule.tetrahedral) + len(molecule.double_bonds)
