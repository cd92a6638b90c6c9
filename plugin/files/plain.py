"""Records as plain JSON values and back: what npz files, `ase.Atoms.info` and
checkpoints carry.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from equidrift.errors import InputTypeError
from equidrift.records import LABELS, Molecule

_ARRAYS = ("numbers", "bonds", "bond_orders", "formal_charges", "tetrahedral", "double_bonds")
_SELDOM = ("isotopes", "atom_maps", "axial", "stereo_groups")  # left out if they say nothing


# Any: JSON values, which the caller takes apart by the names it has put in
def plain(value: object) -> Any:
    """`value` with numpy scalars, arrays, tuples, mappings and paths turned into what
    JSON knows.

    Raises
    ------
    InputTypeError
        For a value JSON has no form for.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise InputTypeError(
        f"cannot store a {type(value).__name__} as JSON; give numbers, strings, lists or dicts"
    )


def molecule_to_dict(molecule: Molecule) -> dict[str, Any]:
    """Every field of a Molecule as JSON values; `molecule_from_dict` is the exact
    inverse.
    """
    data: dict[str, Any] = {name: array.tolist() for name, array in molecule.named(_ARRAYS).items()}
    data |= {
        "multiplicity": molecule.multiplicity,
        "name": molecule.name,
        "smiles": molecule.smiles,
    }
    data |= {name: array.tolist() for name, array in molecule.named(_SELDOM).items() if array.any()}
    data |= {"properties": dict(molecule.properties)} if molecule.properties else {}
    return data | {
        name: list(texts) for name, texts in molecule.named(LABELS).items() if texts is not None
    }


def molecule_from_dict(data: Mapping[str, Any]) -> Molecule:
    """The Molecule that `molecule_to_dict` wrote.

    Raises
    ------
    InputError
        If a field is missing, does not belong, or holds something else than it
        should; the message names it.
    """
    from equidrift.stored import molecule_fields

    fields: dict[str, Any] = {
        name: tuple(value) if name in LABELS else value
        for name, value in molecule_fields(data).items()
    }
    return Molecule(**fields)
