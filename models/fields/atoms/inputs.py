"""A user's molecules and values, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError, InputTypeError
from equidrift.models.fields.atoms.data import AtomFields, padded
from equidrift.models.fields.atoms.network import COMPONENTS, MAX_NUMBER, to_six
from equidrift.models.fields.functions.data import as_array

Array = NDArray[np.float64]
CLOSEST_A = 0.3  # two atoms nearer than this are one
VALUE: dict[str, tuple[int, ...]] = {"scalar": (), "vector": (3,), "tensor": (3, 3)}


def as_molecule(numbers: ArrayLike, positions_A: ArrayLike) -> tuple[NDArray[np.int64], Array]:
    """Atomic numbers (n,) and positions (n, 3), checked.

    Raises
    ------
    InputError
        for shapes that do not go together, numbers that are no elements, positions that
        are not finite, and two atoms at one place.
    """
    z, r = as_array("numbers", numbers), as_array("positions_A", positions_A)
    if z.ndim != 1 or not len(z) or r.shape != (len(z), 3):
        raise InputError(
            f"a molecule is numbers (n,) and positions_A (n, 3), not arrays of shapes {z.shape} "
            f"and {r.shape}"
        )
    if (z != np.round(z)).any() or z.min() < 1 or z.max() >= MAX_NUMBER:
        raise InputError(
            f"numbers must be atomic numbers from 1 to {MAX_NUMBER - 1}, not {z[:6].tolist()}"
        )
    if not np.isfinite(r).all():
        raise InputError(
            "positions_A hold NaN or infinite numbers; a field is known or not, but an atom has "
            "its place"
        )
    distance = np.linalg.norm(r[:, None] - r[None], axis=-1) + np.eye(len(z)) * 9.9
    if distance.min() < CLOSEST_A:
        i, j = np.unravel_index(distance.argmin(), distance.shape)
        near = f"atoms {min(i, j)} and {max(i, j)} are {distance.min():.2f} A apart"
        raise InputError(f"{near}; positions must be in A, each atom in its place")
    return z.astype(np.int64), r


def as_atom_fields(
    numbers: Any, positions_A: Sequence[Any], values: Sequence[Any], rank: str
) -> AtomFields:
    """Molecules with their values, checked and padded; arguments as
    `AtomFieldModel.fit`.

    Raises
    ------
    InputError
        for what `as_molecule` refuses, values of another shape, infinite ones, and
        tensors that are not symmetric.
    """
    shared = np.ndim(numbers[0]) == 0 if len(numbers) else True
    count = len(positions_A)
    if len(values) != count or not (shared or len(numbers) == count):
        molecules = "" if shared else f" for {len(numbers)} molecules"
        raise InputError(
            f"there are {len(values)} fields and {count} sets of positions{molecules}; give one "
            "of each per molecule"
        )
    zs, rs, ys = [], [], []
    for k in range(count):
        z, r = as_molecule(numbers if shared else numbers[k], positions_A[k])
        y = as_array("values", values[k])
        if y.shape != (len(z), *VALUE[rank]):
            raise InputError(
                f"values of rank {rank!r} on {len(z)} atoms have shape {(len(z), *VALUE[rank])}, "
                f"not {y.shape}"
            )
        if np.isinf(y).any():
            raise InputError(
                "values hold infinite numbers; NaN stands for a value that is not known"
            )
        if rank == "tensor":
            if np.nanmax(np.abs(y - y.swapaxes(1, 2)), initial=0.0) > 1e-6 * (
                1 + np.nanmax(np.abs(y), initial=0.0)
            ):
                raise InputError(
                    "tensors must be symmetric: y[k] equal to its transpose; give the "
                    "antisymmetric part as a vector field"
                )
            y = to_six(torch.from_numpy(y)).numpy()
        zs.append(z)
        rs.append(r)
        ys.append(y.reshape(len(z), COMPONENTS[rank]))
    return padded(zs, rs, ys)


def as_given(given: ArrayLike, n: int) -> NDArray[np.bool_]:
    """A mask (n,) of given atoms from a mask or from indices.

    Raises `InputError` for atoms that are not there.
    """
    array = np.asarray(given)
    if array.dtype == bool:
        if array.shape != (n,):
            raise InputError(
                f"given has shape {array.shape}, the molecule has {n} atoms; one True or False an "
                "atom"
            )
        return array
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputTypeError(
            f"given must be a mask (n,) or indices of atoms, not an array of {array.dtype} and "
            f"shape {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() >= n):
        raise InputError(
            f"given names atom {int(array[(array < 0) | (array >= n)][0])}, the molecule has "
            f"atoms 0 to {n - 1}"
        )
    mask = np.zeros(n, bool)
    mask[array] = True
    return mask


def unknown(values: Array) -> NDArray[np.bool_]:
    """(n,) whether a value holds NaN."""
    out: NDArray[np.bool_] = np.asarray(np.isnan(values.reshape(len(values), -1)).any(axis=1))
    return out
