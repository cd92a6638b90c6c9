"""The largest fragment of a salt or solvate."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.records import LABELS, Ensemble, Molecule, Trajectory

Conformers = TypeVar("Conformers", Ensemble, Trajectory)


def fragments(molecule: Molecule) -> list[NDArray[np.int64]]:
    """Atoms of each connected part, the parts in the order of their first atoms."""
    part = np.arange(molecule.n_atoms)
    for _ in range(molecule.n_atoms):
        before = part.copy()
        for i, j in molecule.bonds.tolist():
            part[[i, j]] = min(part[i], part[j])
        if (part == before).all():
            break
    return [np.flatnonzero(part == label) for label in np.unique(part)]


def largest_atoms(molecule: Molecule) -> NDArray[np.int64]:
    """Atoms of the part with most heavy atoms; of equal ones the heavier, then the
    first.
    """
    parts = fragments(molecule)
    if not parts:
        return np.zeros(0, np.int64)
    weight = [
        (int((molecule.numbers[p] != 1).sum()), int(molecule.numbers[p].sum())) for p in parts
    ]
    return parts[max(range(len(parts)), key=lambda k: (weight[k], -k))]


def largest_fragment(molecule: Molecule) -> Molecule:
    """The largest part of a molecule as a Molecule, its charges as they are; a whole
    one comes back.

    Name and properties stay; the SMILES is that part's if it can be told.
    """
    return part_of(molecule, largest_atoms(molecule))


def part_of(molecule: Molecule, atoms: NDArray[np.int64]) -> Molecule:
    """Whole fragments of a molecule as a Molecule of their own; see `largest_fragment`.

    Parameters
    ----------
    atoms : (n,) array of int
        Of the fragments.
    """
    if len(atoms) == molecule.n_atoms:
        return molecule
    place = np.full(molecule.n_atoms, -1)
    place[atoms] = np.arange(len(atoms))
    inside = np.isin(molecule.bonds, atoms).all(axis=1)
    fields: dict[str, Any] = {
        "numbers": molecule.numbers[atoms],
        "bonds": place[molecule.bonds[inside]],
        "bond_orders": molecule.bond_orders[inside],
        "formal_charges": molecule.formal_charges[atoms],
        "tetrahedral": _rows(molecule.tetrahedral, place, 5),
        "double_bonds": _rows(molecule.double_bonds, place, 4),
        "axial": _rows(molecule.axial, place, 4),
        "stereo_groups": _rows(molecule.stereo_groups, place, 1),
        "smiles": "",
    }
    for name, values in molecule.named((*LABELS, "isotopes", "atom_maps")).items():
        if values is not None and len(values):
            fields[name] = [values[k] for k in atoms.tolist()]
    whole = molecule.replace(**fields)
    return whole.replace(smiles=_smiles_of(whole, molecule.smiles))


def largest_of(record: Conformers) -> Conformers:
    """`largest_fragment` of the molecule of an Ensemble or Trajectory, with its
    coordinates.
    """
    atoms = largest_atoms(record.molecule)
    molecule = largest_fragment(record.molecule)
    taken: Conformers = record.replace(molecule=molecule, positions_A=record.positions_A[:, atoms])
    return taken


def _rows(rows: NDArray[np.int64], place: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Rows whose first `width` columns name atoms, renumbered; those of other parts are
    left out.
    """
    kept = rows[(place[rows[:, :width]] >= 0).all(axis=1)].copy()
    kept[:, :width] = place[kept[:, :width]]
    return kept


def _smiles_of(molecule: Molecule, smiles: str) -> str:
    """The part of a dotted SMILES that reads as this molecule, empty if none does."""
    for part in smiles.split(None, 1)[0].split(".") if smiles.strip() else []:
        try:
            if Molecule.from_smiles(part) == molecule:
                return part
        except InputError:  # a ring that closes in another part
            continue
    return ""
