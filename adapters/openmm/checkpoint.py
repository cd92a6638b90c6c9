"""The checkpoint file of a `ProposalSampler`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.files.npz import load_arrays

# bytes at the front of a trajectory that writers change later (DCD counts its frames there)
HEAD_BYTES = 512


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `ProposalSampler.save` wrote: plain data and arrays, each field checked.

    Raises
    ------
    InputError
        For any other file, and for one of which a field is missing, of another type or
        out of its range. The message names the file and the field.
    """
    from equidrift.stored import StoredCheckpoint, checked, parsed

    try:
        arrays = load_arrays(path)
        meta = str(arrays.pop("meta", np.array("")))
        _check_arrays(arrays)
        stored = checked(parsed(meta, "the array 'meta'"), StoredCheckpoint, "checkpoint")
    except InputError as error:
        raise InputError(
            f"{str(path)!r} is no checkpoint of a ProposalSampler ({error}); "
            "remove it to start anew"
        ) from error
    return stored.model_dump(), arrays


def _check_arrays(arrays: dict[str, NDArray[Any]]) -> None:
    """Refuse arrays of a checkpoint that are missing, or of another type or shape."""
    expected = {"context": ("u", 1), "torsions_rad": ("f", 2), "energies_eV": ("f", 1)}
    if set(arrays) != set(expected):
        raise InputError(f"expected the arrays {', '.join(expected)}, found {', '.join(arrays)}")
    for name, (kind, dimensions) in expected.items():
        array = arrays[name]
        if array.dtype.kind != kind or array.ndim != dimensions:
            raise InputError(
                f"the array {name!r} has the type {array.dtype} and the shape {array.shape}"
            )
    moves, energies = len(arrays["torsions_rad"]), len(arrays["energies_eV"])
    if arrays["torsions_rad"].size and moves != energies:
        raise InputError(f"torsions_rad has {moves} rows, energies_eV {energies}")


def cut(path: Path, size: int, head: bytes) -> None:
    """Make a trajectory file what it was: shorter, and with the head it had.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Its length in bytes when the checkpoint was written.
    head : bytes
        Its first bytes at that time.

    Raises
    ------
    InputError
        If the file is missing or shorter.
    """
    if not path.is_file() or path.stat().st_size < size:
        raise InputError(
            f"{path} is missing or shorter than when the checkpoint was written; put it "
            f"back, or start anew"
        )
    with open(path, "r+b") as handle:
        handle.write(head)
        handle.truncate(size)
