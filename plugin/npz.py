"""Ensembles and trajectories as .npz files: plain arrays, with JSON for what is not an array. Nothing is ever pickled."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.jsonable import molecule_from_dict, molecule_to_dict, plain
from equidrift.records import Ensemble, Trajectory

FORMAT = "equidrift-ensemble-1"
TRAJECTORY_FORMAT = "equidrift-trajectory-1"
_SCORE = "score/"


def save_npz(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write an Ensemble, losslessly. The file appears whole or not at all; the same Ensemble gives the same bytes.

    Raises
    ------
    InputError
        where the path cannot be written, or InputTypeError where the provenance holds something JSON has no form for.
    """
    header = {"format": FORMAT, "molecule": molecule_to_dict(ensemble.molecule), "provenance": plain(ensemble.provenance)}
    arrays: dict[str, Any] = {"header": np.array(json.dumps(header)), "positions_A": ensemble.positions_A}
    arrays |= {"seeds": ensemble.seeds, "valid": ensemble.valid}
    arrays |= {name: value for name in ("log_prob", "energies_eV") if (value := getattr(ensemble, name)) is not None}
    arrays |= {_SCORE + name: value for name, value in ensemble.scores.items()}
    save_arrays(path, arrays)


def save_arrays(path: str | os.PathLike[str], arrays: dict[str, Any]) -> None:
    """Write arrays to a file that appears whole or not at all. Raises `InputError` where the path cannot be written."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {str(target)!r}: {error.strerror or error}; give a path in a folder you can write to") from error


def save_trajectory_npz(trajectory: Trajectory, path: str | os.PathLike[str]) -> None:
    """Write a Trajectory, losslessly; errors as `save_npz`."""
    header = {"format": TRAJECTORY_FORMAT, "molecule": molecule_to_dict(trajectory.molecule), "provenance": plain(trajectory.provenance)}
    arrays: dict[str, Any] = {"header": np.array(json.dumps(header)), "positions_A": trajectory.positions_A, "time_fs": trajectory.time_fs}
    save_arrays(path, arrays | ({} if trajectory.box_A is None else {"box_A": trajectory.box_A}))


def load_trajectory_npz(path: str | os.PathLike[str]) -> Trajectory:
    """Read what `save_trajectory_npz` wrote; errors as `load_npz`."""
    arrays = load_arrays(path)
    try:
        header = _header(arrays, TRAJECTORY_FORMAT, path)
        return Trajectory(molecule_from_dict(header["molecule"]), provenance=header["provenance"], **arrays)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{str(path)!r} is an .npz file, but not a trajectory of equidrift's ({error})") from error


def load_any(path: str | os.PathLike[str]) -> Ensemble | Trajectory:
    """What a file of ours holds; errors as `load_npz`."""
    header = load_arrays(path).get("header", np.array(""))
    return load_trajectory_npz(path) if TRAJECTORY_FORMAT in str(header[()]) else load_npz(path)


def _header(arrays: dict[str, NDArray[Any]], expected: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header, taken out of the arrays; InputError for a file of another kind."""
    header: dict[str, Any] = json.loads(str(arrays.pop("header")[()]))
    if header["format"] == expected:
        return header
    readers = {FORMAT: "equidrift.load", TRAJECTORY_FORMAT: "equidrift.load_trajectory"}
    hint = f"read it with {readers[header['format']]}" if header["format"] in readers else "a newer equidrift may read it"
    raise InputError(f"{str(path)!r} has the format {header['format']!r}, expected {expected!r}; {hint}")


def load_npz(path: str | os.PathLike[str]) -> Ensemble:
    """Read what `save_npz` wrote.

    Raises
    ------
    InputError
        where there is no such file, it is truncated or damaged, or it is no ensemble of ours.
    """
    arrays = load_arrays(path)
    try:
        header = _header(arrays, FORMAT, path)
        scores = {name.removeprefix(_SCORE): arrays.pop(name) for name in list(arrays) if name.startswith(_SCORE)}
        return Ensemble(molecule_from_dict(header["molecule"]), scores=scores, provenance=header["provenance"], **arrays)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{str(path)!r} is an .npz file, but not an ensemble of equidrift's ({error})") from error


def load_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Every array of a file; errors as `load_npz`."""
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{str(path)!r} holds a single array, not an ensemble of equidrift's")
        with archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise InputError(f"there is no file {str(path)!r}") from error
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{str(path)!r} is truncated, damaged or no .npz file ({error}); write it again") from error
