"""Positions, times and boxes of trajectory files."""

from __future__ import annotations

import os
import tempfile
import warnings
from typing import Any

import MDAnalysis as mda
import numpy as np
from numpy.typing import NDArray

from equidrift.errors import CrashError, InputError, TimeLimitError
from equidrift.files.binary import check_binary
from equidrift.isolated import run_apart
from equidrift.records import Frames
from equidrift.units import PS_PER_FS

READING_S = 60.0  # that reading a file may take, and what its size adds, however slow the disk
READING_BYTES_PER_S = 1e6
AKMA_FS = 48.88821  # CHARMM's unit of time, sqrt(amu A^2 mol/kcal)
NO_DCD_TIME = "LAMMPS, VMD and MDTraj write no time in CHARMM's unit into a .dcd"
LEAST_VOLUME_A3 = 1.001  # PDB's placeholder for no box is 1 A wide


def read_frames(path: str | os.PathLike[str]) -> Frames:
    """Positions, times and boxes of a trajectory file.

    Times are None for .pdb, which has none, and for a .dcd whose header is not in
    CHARMM's unit of time.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    check_binary(path)
    limit_s = READING_S + os.path.getsize(path) / READING_BYTES_PER_S
    try:  # in another process: what is broken in a file may end the one that reads it
        found: Frames = run_apart(
            frames_here,
            os.path.abspath(path),
            timeout_s=limit_s,
            what=f"reading {os.fspath(path)!r}",
        )
        return found
    except (CrashError, TimeLimitError) as error:
        raise InputError(
            f"cannot read {os.fspath(path)!r}: {error}; it may be damaged, write it again"
        ) from error


def frames_here(path: str) -> Frames:
    """`read_frames` in this process; nothing is left beside the file, where MDAnalysis
    would keep its offsets.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _frames_of(path, _linked(path, folder))


def _linked(path: str, folder: str) -> str:
    """The file under a name in another folder."""
    link = os.path.join(folder, os.path.basename(path))
    try:
        os.symlink(path, link)
    except OSError:  # a system, or a user, that may not make links
        return path
    return link


def _frames_of(path: str, name: str) -> Frames:
    """`read_frames` of a file by another name, which errors do not show."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mda.coordinates.core.reader(name) as reader:
                timed = not name.lower().endswith(".pdb") and tells_time(reader)
                frames = [_frame(ts) for ts in reader]
    except Exception as error:  # MDAnalysis's readers raise whatever a broken file leads to
        what = f"{type(error).__name__}: {error}".replace(name, path)
        raise InputError(f"cannot read {path!r}: {what}; write it again") from error
    if not frames:
        raise InputError(f"{path!r} holds no frames")
    positions, times_ps, dimensions = zip(*frames, strict=True)
    if len({len(frame) for frame in positions}) > 1:
        raise InputError(
            f"{path!r} has frames of different numbers of atoms; give the frames of one molecule"
        )
    time_fs = np.array(times_ps, np.float64) / PS_PER_FS if timed else None
    return Frames(np.array(positions), time_fs, boxes_A(dimensions))


def _frame(ts: Any) -> tuple[NDArray[np.float64], float, NDArray[np.float32] | None]:
    """(positions_A, time in ps, box) of a time step, as values that the next one keeps."""
    return ts.positions.astype(np.float64), float(ts.time), copied(ts.dimensions)


def copied(dimensions: Any) -> NDArray[np.float32] | None:
    """A box as a value: readers hand out views that the next frame overwrites."""
    return None if dimensions is None else np.array(dimensions, np.float32)


def tells_time(reader: Any) -> bool:
    """Whether the times of a reader can be believed.

    A .dcd header counts time in CHARMM's unit of 48.89 fs. LAMMPS writes its own unit
    there, VMD and MDTraj always 1. A time that is round in the header and not in fs
    gives them away.
    """
    readers = getattr(reader, "readers", [reader])
    return all(_dcd_tells_time(part) for part in readers if getattr(part, "format", "") == "DCD")


def _dcd_tells_time(reader: Any) -> bool:
    header = reader._file.header  # noqa: SLF001 - MDAnalysis shows the header nowhere else
    if "LAMMPS" in str(header.get("remarks", "")).upper():
        return False
    delta = float(header["delta"])
    return delta > 0 and (_is_round(delta * AKMA_FS) or not _is_round(delta))


def _is_round(number: float) -> bool:
    """Whether a number has at most three decimals, to single precision."""
    return abs(number - round(number, 3)) <= 4 * float(np.finfo(np.float32).eps) * abs(number)


def boxes_A(dimensions: Any) -> NDArray[np.float64] | None:
    """Cell vectors (n_frames, 3, 3) in A if every frame has a box with a volume,
    else None.
    """
    if any(box is None or not (np.asarray(box)[:3] > 0).all() for box in dimensions):
        return None
    boxes = np.array(
        [mda.lib.mdamath.triclinic_vectors(box, dtype=np.float64) for box in dimensions]
    )
    return boxes if (np.abs(np.linalg.det(boxes)) > LEAST_VOLUME_A3).all() else None
