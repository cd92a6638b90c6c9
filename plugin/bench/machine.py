"""What every benchmark states: the machine, the commit, the data folder."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.files.data import data_given
from equidrift.records import Molecule

Progress = Callable[[object], None]


def silent(message: object) -> None:
    """Tell nobody."""


System = tuple[Molecule, NDArray[np.float64]]


def data_folder() -> Path:
    """The folder of the benchmark data.

    Raises `InputError` if EQUIDRIFT_DATA does not name it.
    """
    folder = data_given()
    if folder is None or not (folder / "gfn2_conformers" / "qm9_val.npz").exists():
        raise InputError(
            "the benchmark needs gfn2_conformers/qm9_val.npz in the folder that the environment "
            "variable EQUIDRIFT_DATA names; tools/make_relaxation_pairs.py shows how such data is "
            "made"
        )
    return folder


def references(path: Path, limit: int | None) -> list[System]:
    """(molecule, reference positions_A (K, n, 3)) of an ensemble file of GFN2-xTB
    conformers.
    """
    with np.load(path, allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    out = []
    for k, smiles in enumerate(data["smiles"].tolist()):
        molecule = Molecule.from_smiles(str(smiles))
        confs = range(data["conf_offset"][k], data["conf_offset"][k + 1])
        blocks = [data["R"][data["coord_offset"][c] : data["coord_offset"][c + 1]] for c in confs]
        out.append((molecule, np.stack(blocks).astype(np.float64)))
    if limit is None or limit >= len(out):
        return out
    return [out[k] for k in np.linspace(0, len(out) - 1, limit).astype(int)]


def shipped(name: str, limit: int | None) -> list[System]:
    """`references` of a file of the package."""
    with as_file(files("equidrift.bench") / name) as path:
        return references(path, limit)


def cpu_s() -> float:
    """CPU seconds of this process, its threads and the children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def machine() -> dict[str, Any]:
    """What ran the benchmark."""
    cpu = platform.processor() or platform.machine()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "os": platform.system(),
    }


def commit() -> str:
    """The checkout's commit, or the version of an installed package."""
    from equidrift import __version__

    try:
        where = Path(__file__).resolve().parent
        found = subprocess.run(
            ["git", "-C", str(where), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return __version__
    return found.stdout.strip() or __version__
