"""Records as trajectory files."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np

from equidrift.adapters.mdanalysis.reader import universe_of
from equidrift.errors import MissingDependencyError, UnknownNameError
from equidrift.outputs import unwritable
from equidrift.records import Ensemble, Trajectory
from equidrift.units import PS_PER_FS

# decimals in nm: 1e-4 A, where the default of 3 would round bonds to 0.01 A
XTC_PRECISION = 5
TRAJECTORIES = (".xtc", ".dcd", ".h5md")


def write_trajectory(
    record: Ensemble | Trajectory,
    path: str | os.PathLike[str],
    *,
    topology: str | os.PathLike[str] | None = None,
) -> None:
    """Write conformers, or a trajectory with its times and box, as frames of an .xtc
    (to 1e-4 A), .dcd or .h5md file.

    Parameters
    ----------
    path : path
        The trajectory; these formats hold no graph.
    topology : path, optional
        If given, a .pdb file of the first frame, with which the trajectory can be
        read.

    Raises
    ------
    UnknownNameError
        For another suffix, InputError if a path cannot be written,
        MissingDependencyError for .h5md without h5py.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in TRAJECTORIES:
        raise UnknownNameError("trajectory suffix", suffix or os.fspath(path), TRAJECTORIES)
    if suffix == ".h5md" and importlib.util.find_spec("h5py") is None:
        raise MissingDependencyError("h5py")
    atoms = universe_of(record).atoms
    options: dict[str, Any] = {"precision": XTC_PRECISION} if suffix == ".xtc" else {}
    clocked = record if isinstance(record, Trajectory) and len(record) > 1 else None
    if clocked is not None and suffix == ".dcd":  # which counts frames from a first one
        options = {
            "dt": clocked.dt_fs * PS_PER_FS,
            "istart": max(0, round(float(clocked.time_fs[0]) / clocked.dt_fs)),
        }
    _write(atoms, path, frames="all", **options)
    if clocked is not None and suffix == ".h5md":
        _store_dt(path, clocked.dt_fs * PS_PER_FS)
    if topology is not None:
        _write(atoms, topology)


def _store_dt(path: str | os.PathLike[str], dt_ps: float) -> None:
    """Add dt to an H5MD file as an observable of each frame: MDAnalysis does not derive
    it from the times, and takes 1 ps.
    """
    import h5py

    with h5py.File(path, "a") as file:
        position = next(iter(file["particles"].values()))["position"]
        group = file.require_group("observables/dt")
        group["value"] = np.full(len(position["time"]), dt_ps)
        group["step"], group["time"] = position["step"], position["time"]


def _write(atoms: mda.AtomGroup, path: str | os.PathLike[str], **options: Any) -> None:
    """Write by MDAnalysis' writer for the suffix."""
    if not Path(path).resolve().parent.is_dir():
        raise unwritable(path, "there is no such folder")
    try:
        with warnings.catch_warnings():
            # molecules in vacuum have no box
            warnings.filterwarnings(
                "ignore", message="(?s).*(dimensions|unit cell|unitcell|CRYST1)"
            )
            atoms.write(os.fspath(path), **options)
    except OSError as error:
        raise unwritable(path, error) from error
