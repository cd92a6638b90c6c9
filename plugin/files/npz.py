"""Ensembles and trajectories as .npz files: plain arrays, with JSON for what is not an
array. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, InputTypeError
from equidrift.files.plain import molecule_from_dict, molecule_to_dict, plain
from equidrift.outputs import unwritable
from equidrift.records import Ensemble, Trajectory

if TYPE_CHECKING:
    from equidrift.stored import StoredHeader

FORMAT = "equidrift-ensemble-1"
TRAJECTORY_FORMAT = "equidrift-trajectory-1"
_SCORE = "score/"
_MAX_RATIO = 1100  # bytes that deflate can make of one packed byte: 1032
_MAX_MEMBER = 10_000  # characters of an array's name; bytes that a small member may claim
_MAX_DIMENSIONS = 8
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# what zipfile, zlib and numpy raise for broken files
_DAMAGE = (
    *(
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        TypeError,
    ),
    *(OverflowError, MemoryError, KeyError, IndexError, struct.error),
)


def save_npz(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write an Ensemble, losslessly.

    The file appears whole or not at all; the same Ensemble gives the same bytes.

    Raises
    ------
    InputError
        If the path cannot be written, or InputTypeError if the provenance holds
        something JSON has no form for.
    """
    header = {
        "format": FORMAT,
        "molecule": molecule_to_dict(ensemble.molecule),
        "provenance": plain(ensemble.provenance),
    }
    if ensemble.properties:
        header["properties"] = plain(ensemble.properties)
    arrays: dict[str, Any] = {
        "header": np.array(json.dumps(header)),
        "positions_A": ensemble.positions_A,
    }
    arrays |= {"seeds": ensemble.seeds, "valid": ensemble.valid}
    arrays |= {
        name: value
        for name, value in ensemble.named(("log_prob", "energies_eV")).items()
        if value is not None
    }
    arrays |= {_SCORE + name: value for name, value in ensemble.scores.items()}
    save_arrays(path, arrays)


def save_arrays(path: str | os.PathLike[str], arrays: dict[str, Any]) -> None:
    """Write arrays to a file that appears whole or not at all.

    Raises `InputError` if the path cannot be written.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritable(target, error) from error


def save_trajectory_npz(trajectory: Trajectory, path: str | os.PathLike[str]) -> None:
    """Write a Trajectory, losslessly; errors as `save_npz`."""
    header = {
        "format": TRAJECTORY_FORMAT,
        "molecule": molecule_to_dict(trajectory.molecule),
        "provenance": plain(trajectory.provenance),
    }
    arrays: dict[str, Any] = {
        "header": np.array(json.dumps(header)),
        "positions_A": trajectory.positions_A,
        "time_fs": trajectory.time_fs,
    }
    save_arrays(path, arrays | ({} if trajectory.box_A is None else {"box_A": trajectory.box_A}))


def load_trajectory_npz(path: str | os.PathLike[str]) -> Trajectory:
    """Read what `save_trajectory_npz` wrote; errors as `load_npz`."""
    arrays = load_arrays(path)
    with _told(path, "a trajectory"):
        header = _header(arrays, TRAJECTORY_FORMAT)
        check_fields(arrays, ("positions_A", "time_fs"), ("box_A",))
        return Trajectory(
            molecule_from_dict(header.molecule), provenance=header.provenance, **arrays
        )


def load_any(path: str | os.PathLike[str]) -> Ensemble | Trajectory:
    """What a file of ours holds; errors as `load_npz`."""
    header = load_arrays(path).get("header", np.array(""))
    return load_trajectory_npz(path) if TRAJECTORY_FORMAT in str(header) else load_npz(path)


@contextmanager
def _told(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Name the file in what is wrong with its content."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        raise InputError(
            f"{str(path)!r} is an .npz file, but does not hold {what} of equidrift's: {error}"
        ) from error


def _header(arrays: dict[str, NDArray[Any]], expected: str) -> StoredHeader:
    """The header, checked and taken out of the arrays; InputError for a file of another
    kind.
    """
    from equidrift.stored import StoredHeader, checked, parsed

    told = arrays.pop("header", None)
    if told is None or told.shape or told.dtype.kind != "U":
        raise InputError("the array 'header' is missing, or is no text")
    data = parsed(str(told[()]), "the header")
    found = data.get("format") if isinstance(data, dict) else None
    if found != expected:
        readers = {FORMAT: "equidrift.load", TRAJECTORY_FORMAT: "equidrift.load_trajectory"}
        hint = (
            f"read it with {readers[found]}"
            if found in readers
            else "a newer equidrift may read it"
        )
        raise InputError(f"it has the format {str(found)[:80]!r}, expected {expected!r}; {hint}")
    return checked(data, StoredHeader, "header")


def check_fields(
    arrays: Mapping[str, NDArray[Any]],
    needed: Sequence[str],
    optional: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> None:
    """Make sure that a file holds the arrays it should.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What was read.
    needed, optional : sequence of str
        Names that must, and may, be there; no others may.
    texts : sequence of str
        Those that hold text. The others hold floats, but for ``seeds`` and ``place``
        (integers) and ``valid`` (booleans).

    Raises
    ------
    InputError
        Names the arrays that are missing or unknown, or the first of another type.
    """
    missing, odd = sorted(set(needed) - set(arrays)), sorted(set(arrays) - {*needed, *optional})
    if missing or odd:
        raise InputError(
            f"arrays are missing ({', '.join(missing) or 'none'}) or unknown "
            f"({', '.join(odd)[:200] or 'none'})"
        )
    kinds = {"seeds": "iu", "place": "iu", "valid": "b"} | dict.fromkeys(texts, "U")
    for name, array in arrays.items():
        if array.dtype.kind not in kinds.get(name, "f"):
            raise InputError(f"the array {name!r} has the type {array.dtype}")


def load_npz(path: str | os.PathLike[str]) -> Ensemble:
    """Read what `save_npz` wrote.

    Raises
    ------
    InputError
        If there is no such file, it is truncated or damaged, or it is no ensemble of
        ours.
    """
    arrays = load_arrays(path)
    with _told(path, "an ensemble"):
        header = _header(arrays, FORMAT)
        scores = {
            name.removeprefix(_SCORE): arrays.pop(name)
            for name in list(arrays)
            if name.startswith(_SCORE)
        }
        check_fields(arrays, ("positions_A", "seeds", "valid"), ("log_prob", "energies_eV"))
        molecule = molecule_from_dict(header.molecule)
        return Ensemble(
            molecule,
            scores=scores,
            provenance=header.provenance,
            properties=header.properties,
            **arrays,
        )


def load_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Every array of a file, each one's size checked before memory is taken for it;
    errors as `load_npz`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                member.filename.removesuffix(".npy"): _array(archive, member)
                for member in archive.infolist()
            }
    except FileNotFoundError as error:
        raise InputError(f"there is no file {str(path)!r}") from error
    except InputError as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from error
    except _DAMAGE as error:
        raise InputError(
            f"{str(path)!r} is truncated, damaged or no .npz file ({error}); write it again"
        ) from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array; InputError if its header promises another size than the member has,
    or objects instead of numbers.
    """
    name = member.filename
    if not name.endswith(".npy") or len(name) > _MAX_MEMBER:
        raise InputError(f"it holds {name[:80]!r}, which is no array")
    if member.file_size > _MAX_RATIO * member.compress_size + _MAX_MEMBER:
        raise InputError(
            f"the array {name!r} claims {member.file_size} bytes, more than its "
            f"{member.compress_size} packed ones can hold"
        )
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise InputError(
                f"the array {name!r} is of NumPy's format {version}, which is not known"
            )
        shape, fortran, dtype = _HEADERS[version](stream)
        size = math.prod(shape) * dtype.itemsize
        if (
            dtype.hasobject
            or dtype.kind not in "biufU"
            or len(shape) > _MAX_DIMENSIONS
            or min(shape, default=0) < 0
        ):
            raise InputError(f"the array {name!r} has the type {dtype} and the shape {shape}")
        if size != member.file_size - stream.tell():
            raise InputError(
                f"the array {name!r} should have {size} bytes, and has "
                f"{member.file_size - stream.tell()}"
            )
        raw = stream.read(size)
        if len(raw) != size:
            raise InputError(f"the array {name!r} ends early")
    flat = np.frombuffer(raw, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy()
