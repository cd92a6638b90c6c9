"""Which molecule a record is of: the one its SMILES names, if graph and geometry are
that molecule's.

Stereo that is perceived from coordinates alone says more than was meant: an open
centre, or a nitrogen that inverts, would make each conformer a molecule of its own.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from equidrift.adapters.rdkit.molecule import from_smiles, to_mol
from equidrift.checks.axial import wrong_axes
from equidrift.errors import EquidriftError
from equidrift.records import Molecule

MAX_MATCHES = 1000  # ways to lay the SMILES onto the record that are tried
_NO_ROWS = np.zeros((0, 5), np.int64)
_KEPT = 256  # SMILES kept: the records of a file repeat theirs


@lru_cache(maxsize=_KEPT)
def _named(smiles: str) -> Molecule | None:
    try:
        return from_smiles(smiles)
    except EquidriftError:
        return None


def identified(
    seen: Molecule, smiles: str, positions_A: NDArray[np.float64] | None
) -> Molecule | None:
    """`seen`, in its own order, with the stereo that the SMILES says; None if the
    SMILES names another molecule.

    Parameters
    ----------
    seen : Molecule
        The molecule as perceived, every hydrogen explicit.
    smiles : str
        That the record carries.
    positions_A : array, optional
        (k, n_atoms, 3), whose stereo must agree; None for a record without coordinates.
    """
    named = _named(smiles)
    if (
        named is None
        or named.n_atoms != seen.n_atoms
        or not np.array_equal(np.sort(named.numbers), np.sort(seen.numbers))
    ):
        return None
    for place in _places(named, seen):
        tetrahedral = place[named.tetrahedral]
        double_bonds = np.hstack([place[named.double_bonds[:, :4]], named.double_bonds[:, 4:]])
        axial = np.hstack([place[named.axial[:, :4]], named.axial[:, 4:]])
        if positions_A is None or (
            _agrees(tetrahedral, double_bonds, positions_A)
            and not wrong_axes(positions_A, axial).any()
        ):
            stereo = {"tetrahedral": tetrahedral, "double_bonds": double_bonds, "axial": axial}
            if len(groups := named.stereo_groups):
                stereo["stereo_groups"] = np.hstack([place[groups[:, :1]], groups[:, 1:]])
            return seen.replace(**stereo, smiles=smiles)
    return None


def with_axes(molecule: Molecule, smiles: str, positions_A: NDArray[np.float64]) -> Molecule:
    """The molecule with the axial stereo of its CXSMILES and its groups of relative
    stereo, which no coordinates tell.
    """
    if "|" not in smiles:
        return molecule
    named = identified(molecule, smiles, positions_A)
    if named is None:
        return molecule
    return molecule.replace(axial=named.axial, stereo_groups=named.stereo_groups)


def stereo_differences(seen: Molecule, smiles: str, positions_A: NDArray[np.float64]) -> list[str]:
    """The stereocentres and double bonds of a SMILES whose stereo a conformer has not.

    Parameters
    ----------
    seen : Molecule
        The molecule of the conformers, every hydrogen explicit.
    smiles : str
        Of the same graph.
    positions_A : ndarray
        (k, n_atoms, 3) conformers in A.

    Returns
    -------
    list of str
        Such as ``"C3"`` or ``"C1=C2"``, numbered as in `seen`, by the way to lay the
        SMILES onto it in which fewest differ.
    """
    named = _named(smiles)
    found: list[list[str]] = []
    if named is None:
        return []
    for place in _places(named, seen):
        tetrahedral = place[named.tetrahedral]
        double_bonds = np.hstack([place[named.double_bonds[:, :4]], named.double_bonds[:, 4:]])
        centres = [row for row in tetrahedral if not _agrees(row[None], _NO_ROWS, positions_A)]
        bonds = [row for row in double_bonds if not _agrees(_NO_ROWS, row[None], positions_A)]
        labels = [f"{seen.symbols[row[0]]}{row[0]}" for row in centres]
        axes = np.hstack([place[named.axial[:, :4]], named.axial[:, 4:]])
        axes = axes[wrong_axes(positions_A, axes).any(axis=0)]
        labels += ["-".join(f"{seen.symbols[k]}{k}" for k in row[1:3]) for row in axes]
        labels += ["=".join(f"{seen.symbols[k]}{k}" for k in row[1:3]) for row in bonds]
        if not labels:
            return []
        found.append(labels)
    return min(found, key=len, default=[])


def without_stereo(molecule: Molecule) -> Molecule:
    """The molecule with all its stereo open."""
    return molecule.replace(tetrahedral=_NO_ROWS, double_bonds=_NO_ROWS, axial=_NO_ROWS)


def _places(named: Molecule, seen: Molecule) -> list[NDArray[np.int64]]:
    """Where the atoms of `named` are in `seen`: as they stand, else every way in which
    the graphs fit.
    """
    bare, other = without_stereo(named), without_stereo(seen)
    if bare == other:
        return [np.arange(seen.n_atoms)]
    try:
        query, target = Chem.RemoveHs(to_mol(bare)), to_mol(other)
    except EquidriftError:
        return []
    if len(named.bonds) != len(seen.bonds) or named.charge != seen.charge:
        return []
    heavy = [k for k in range(named.n_atoms) if _stays(named, k)]
    if query.GetNumAtoms() != len(heavy):  # hydrogens that RDKit keeps for reasons of its own
        query, heavy = to_mol(bare), list(range(named.n_atoms))
    matches = target.GetSubstructMatches(
        query, uniquify=False, useChirality=False, maxMatches=MAX_MATCHES
    )
    places = (_with_hydrogens(named, seen, heavy, match) for match in matches)
    return [place for place in places if place is not None]


def _stays(molecule: Molecule, k: int) -> bool:
    return bool(molecule.numbers[k] != 1 or molecule.isotopes[k] != 0)


def _hydrogens(molecule: Molecule, k: int) -> list[int]:
    others = molecule.bonds[(molecule.bonds == k).any(1)].reshape(-1).tolist()
    return sorted(other for other in others if other != k and not _stays(molecule, other))


def _with_hydrogens(
    named: Molecule, seen: Molecule, heavy: list[int], match: tuple[int, ...]
) -> NDArray[np.int64] | None:
    """The place of every atom, hydrogens with the atom they are on; None if their
    numbers differ.
    """
    place = np.full(named.n_atoms, -1)
    place[heavy] = match
    if len(heavy) < named.n_atoms:
        for k, a in zip(heavy, match, strict=True):
            own, others = _hydrogens(named, k), _hydrogens(seen, a)
            if len(own) != len(others):
                return None
            place[own] = others
    same = (place >= 0).all() and np.array_equal(seen.formal_charges[place], named.formal_charges)
    return place if same and np.array_equal(seen.isotopes[place], named.isotopes) else None


def _agrees(
    tetrahedral: NDArray[np.int64],
    double_bonds: NDArray[np.int64],
    positions_A: NDArray[np.float64],
) -> bool:
    """Whether every conformer has the stereo that the rows say."""
    a, b, c, d = (positions_A[:, tetrahedral[:, k]] for k in (1, 2, 3, 4))
    volumes = np.einsum("ski,ski->sk", a - d, np.cross(b - d, c - d))
    p, i, j, q = (positions_A[:, double_bonds[:, k]] for k in range(4))
    axis = j - i
    first, second = np.cross(p - i, axis), np.cross(q - j, axis)
    cis = np.einsum("ski,ski->sk", first, second) > 0
    return bool((volumes > 0).all() and (cis == (double_bonds[:, 4] == 1)).all())
