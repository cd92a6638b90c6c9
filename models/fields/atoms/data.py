"""Fields on atoms to learn from: forces and virials of rMD17, charges of QM9, and
padded batches of molecules of all sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.fields.atoms.network import PLACES
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.split import held_out
from equidrift.registry import host_function
from equidrift.units import KCAL_MOL_PER_EV

RMD17 = (
    "aspirin",
    "azobenzene",
    "benzene",
    "ethanol",
    "malonaldehyde",
    "naphthalene",
    "paracetamol",
    "salicylic",
    "toluene",
    "uracil",
)
UNSEEN = "paracetamol"  # of rMD17, kept from training
VALIDATION = 100  # of each molecule's 1000 training frames


@dataclass(frozen=True, eq=False)
class AtomFields(Batched):
    """Fields on molecules, padded.

    Parameters
    ----------
    x : Tensor, shape (F, n, 4)
        Positions in A and atomic numbers, 0 where padded.
    y : Tensor, shape (F, n, p)
        Values.
    mask : Tensor, shape (F, n)
        Whether a value is known.
    """

    x: Tensor
    y: Tensor
    mask: Tensor

    def __getitem__(self, pick: Tensor | slice) -> AtomFields:
        """Some of them, cut to the largest molecule among them."""
        x = self.x[pick]
        n = int((x[..., 3] > 0).sum(1).max())
        return AtomFields(x[:, :n], self.y[pick][:, :n], self.mask[pick][:, :n])


def padded(
    numbers: Sequence[NDArray[np.integer]],
    positions_A: Sequence[NDArray[np.float64]],
    values: Sequence[NDArray[np.float64]],
) -> AtomFields:
    """Fields of molecules: numbers (n_i,), positions_A (n_i, 3), values (n_i, p), NaN
    where not known.
    """
    n, p = max(map(len, numbers)), values[0].shape[1]
    x, y = np.zeros((len(numbers), n, 4)), np.full((len(numbers), n, p), np.nan)
    for k, (z, r, f) in enumerate(zip(numbers, positions_A, values, strict=True)):
        x[k, : len(z), :3], x[k, : len(z), 3], y[k, : len(z)] = r - r.mean(0), z, f
    known = np.isfinite(y).all(2)
    return AtomFields(
        torch.from_numpy(x),
        torch.from_numpy(np.where(known[..., None], y, 0.0)),
        torch.from_numpy(known),
    )


def joined(parts: Sequence[AtomFields]) -> AtomFields:
    """Several as one."""
    n = max(part.x.shape[1] for part in parts)

    def fill(name: str) -> Tensor:
        rows = []
        for part in parts:
            array = getattr(part, name)
            more = array.new_zeros(len(array), n - array.shape[1], *array.shape[2:])
            rows.append(torch.cat([array, more], 1))
        return torch.cat(rows)

    return AtomFields(fill("x"), fill("y"), fill("mask"))


def rmd17(
    folder: Path, molecule: str, split: str, what: str = "forces", most: int | None = None
) -> AtomFields:
    """Frames of a molecule of rMD17: "forces" in eV/A, or "virial", the symmetric part
    of r x f about the centre, in eV.

    Parameters
    ----------
    split : str
        "train" (900 frames), "validation" (the other 100 of the published training
        split) or "test" (1000).
    most : int or None
        Frames, the first ones.
    """
    path = folder / "rmd17" / f"rmd17_{molecule}_{'test' if split == 'test' else 'train'}_01.npz"
    if not path.is_file():
        raise InputError(f"there is no {path}; set EQUIDRIFT_DATA to the folder that holds rmd17/")
    with np.load(path) as file:
        numbers, r, f = (
            file["nuclear_charges"].astype(np.int64),
            file["coords"],
            file["forces"] / KCAL_MOL_PER_EV,
        )
    chosen = {
        "train": slice(VALIDATION, None),
        "validation": slice(VALIDATION),
        "test": slice(None),
    }[split]
    r, f = r[chosen][:most], f[chosen][:most]
    r = r - r.mean(1, keepdims=True)
    if what == "virial":
        outer = 0.5 * (r[..., :, None] * f[..., None, :] + f[..., :, None] * r[..., None, :])
        f = np.stack(
            [outer[..., i, j] * (1.0 if i == j else math.sqrt(2.0)) for i, j in PLACES], -1
        )
    return padded([numbers] * len(r), list(r), list(f))


def qm9_charges(folder: Path, split: str, count: int) -> AtomFields:
    """Mulliken charges (e) of `count` molecules of QM9, the same ones for the same
    count; they sum to zero.

    Parameters
    ----------
    split : str
        "train", "validation" or "test", by the project's hash of the molecular graph.
    """
    path = folder / "qm9_130831.npz"
    if not path.is_file():
        raise InputError(f"there is no {path}; set EQUIDRIFT_DATA to the folder that holds it")
    read, key = (host_function("rdkit", name) for name in ("from_smiles", "flat_smiles"))
    bucket = {"validation": "val"}.get(split, split)
    with np.load(path) as file:
        smiles, offset, z, r, q = (
            file[name] for name in ("smiles", "offset", "z", "R", "mulliken")
        )
    chosen: list[int] = []
    for k in np.random.default_rng(9).permutation(len(smiles)):
        if held_out(key(read(str(smiles[k])))) == bucket:
            chosen.append(int(k))
        if len(chosen) == count:
            break
    rows = [slice(offset[k], offset[k + 1]) for k in chosen]
    charges = [q[row].astype(np.float64)[:, None] for row in rows]
    return padded(
        [z[row].astype(np.int64) for row in rows],
        [r[row].astype(np.float64) for row in rows],
        [c - c.mean() for c in charges],
    )
