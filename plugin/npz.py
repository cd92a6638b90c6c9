"""Ensembles as .npz files: plain arrays, with JSON for what is not an array. Nothing is ever pickled."""

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
from equidrift.records import Ensemble

FORMAT = "equidrift-ensemble-1"
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
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {str(target)!r}: {error.strerror or error}; give a path in a folder you can write to") from error


def load_npz(path: str | os.PathLike[str]) -> Ensemble:
    """Read what `save_npz` wrote.

    Raises
    ------
    InputError
        where there is no such file, it is truncated or damaged, or it is no ensemble of ours.
    """
    arrays = _read(Path(path))
    try:
        header = json.loads(str(arrays.pop("header")[()]))
        if header["format"] != FORMAT:
            raise InputError(f"{str(path)!r} has the format {header['format']!r}, expected {FORMAT!r}; a newer equidrift may read it")
        scores = {name.removeprefix(_SCORE): arrays.pop(name) for name in list(arrays) if name.startswith(_SCORE)}
        return Ensemble(molecule_from_dict(header["molecule"]), scores=scores, provenance=header["provenance"], **arrays)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{str(path)!r} is an .npz file, but not an ensemble of equidrift's ({error})") from error


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of the file."""
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
