"""Trajectory <-> images of ASE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from equidrift.adapters.ase.atoms import ensemble_of, to_atoms
from equidrift.adapters.ase.typed import make_periodic
from equidrift.errors import InputError
from equidrift.files.trajectories import from_frames
from equidrift.records import Frames, Trajectory


def trajectory_to_atoms(trajectory: Trajectory) -> list[Atoms]:
    """One `ase.Atoms` per frame: as `to_atoms`, with `info["time_fs"]`, and periodic
    if the trajectory has a box.
    """
    images = to_atoms(trajectory.to_ensemble())
    boxes_A = trajectory.boxes_A
    for k, (atoms, time_fs) in enumerate(zip(images, trajectory.time_fs.tolist(), strict=True)):
        del atoms.info["sample"], atoms.info["seed"]  # numbers of conformers, which frames are not
        atoms.info["time_fs"] = time_fs
        if boxes_A is not None:
            make_periodic(atoms, boxes_A[k])
    return images


def trajectory_of(
    images: Sequence[Atoms], *, dt_fs: float | None = None, charge: int | None = None
) -> Trajectory:
    """Frames of one molecule as a Trajectory: the inverse of `trajectory_to_atoms`, and
    the way in for atoms from elsewhere.

    Parameters
    ----------
    images : sequence of ase.Atoms
        Frames in order of time.
    dt_fs : float, optional
        Time between them; None takes `info["time_fs"]` of each.
    charge : int, optional
        Total charge in e, of `from_atoms`.

    Raises
    ------
    InputError
        If times are missing, or the images are not of one molecule in one order;
        InputTypeError, MoleculeError as `from_atoms`.
    """
    ensemble = ensemble_of(list(images), charge=charge)
    found = frames_of(images)
    time_fs = found.time_fs
    if dt_fs is not None:
        time_fs = float(dt_fs) * np.arange(len(ensemble), dtype=np.float64)
    if time_fs is None:
        raise InputError(
            "the images hold no times; set atoms.info['time_fs'] of each, or make a "
            "Trajectory(molecule, positions_A, time_fs)"
        )
    frames = Frames(ensemble.positions_A, time_fs, found.boxes_A)
    return from_frames(ensemble.molecule, frames, "ASE")


def frames_of(images: Sequence[Atoms]) -> Frames:
    """Positions, times, boxes and atomic numbers of images with the same atoms.

    Raises
    ------
    InputError
        If the atoms change from image to image.
    """
    numbers = images[0].numbers
    for k, atoms in enumerate(images):
        if not np.array_equal(atoms.numbers, numbers):
            raise InputError(
                f"image {k} has other atoms, or another order, than image 0; give the frames of "
                "one trajectory"
            )
    time_fs = np.array([atoms.info.get("time_fs", np.nan) for atoms in images], np.float64)
    # dynamics carries the first frame's info along: times that do not rise are none
    timed = bool(np.isfinite(time_fs).all() and (np.diff(time_fs) > 0).all())
    periodic = all(atoms.pbc.all() for atoms in images)
    return Frames(
        np.array([atoms.positions for atoms in images], np.float64),
        time_fs if timed else None,
        np.array([atoms.cell.array for atoms in images]) if periodic else None,
        np.array(numbers, np.int64),
    )
