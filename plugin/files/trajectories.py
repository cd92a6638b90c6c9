"""Trajectories in files: read with their topology, and written by suffix."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.arguments import check_count
from equidrift.checks.trajectory import check_finite, check_same_atoms, check_units, unwrapped
from equidrift.errors import InputError, UnknownNameError
from equidrift.files.formats import ASE_FILES, check_output
from equidrift.files.npz import load_trajectory_npz
from equidrift.files.topologies import load_topology
from equidrift.fragments import largest_of
from equidrift.records import Frames, Molecule, Trajectory
from equidrift.registry import FRAME_READERS, TRAJECTORY_WRITERS, host_function, resolve

_BOX_TOLERANCE_A = 1e-3


def check_trajectory_output(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that a trajectory of this name can be written; errors
    as `equidrift.files.formats.check_output`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in TRAJECTORY_WRITERS:
        raise UnknownNameError(
            "suffix for a trajectory", suffix or os.fspath(path), TRAJECTORY_WRITERS
        )
    return check_output(path)


def save_trajectory(trajectory: Trajectory, path: str | os.PathLike[str]) -> None:
    """Write a Trajectory; the suffix picks the format.

    Suffixes and errors are those of `equidrift.Trajectory.save`. .xtc rounds to 1e-4 A;
    other programs' readers of .pdb and .xyz drop the times.
    """
    target = check_trajectory_output(path)
    resolve(TRAJECTORY_WRITERS[target.suffix.lower()])(trajectory, target)


def load_trajectory(
    path: str | os.PathLike[str],
    topology: object = None,
    *,
    dt_fs: float | None = None,
    stride: int = 1,
    charge: int | None = None,
    smiles: str | None = None,
    largest_fragment: bool = False,
) -> Trajectory:
    """Read a trajectory: .xtc .trr .dcd .h5md .nc .pdb by MDAnalysis, .traj .extxyz
    .xyz by ASE, or our own .npz.

    Parameters
    ----------
    path : str or PathLike
        The file.
    topology : path, SMILES, Molecule, RDKit Mol or ase.Atoms, optional
        A .pdb, .sdf, .mol or .mol2 file or an object with the trajectory's atoms in its order.
        None for files that know their molecule: .npz, .pdb, and .traj, .extxyz and
        .xyz, whose bonds are perceived if they carry none.
    dt_fs : float, optional
        Time between the frames of the file in fs; needed if it holds no times (.xyz,
        ASE's .traj), and right if they are wrong.
    stride : int
        Keep every stride-th frame.
    charge : int, optional
        Total charge, if bonds are perceived.
    smiles : str, optional
        The molecule of a .pdb, .xyz, .extxyz or .traj as a SMILES: bond orders and
        charges are its, the bonds the file's. If the two are of different molecules,
        MoleculeError names the atoms that differ.
    largest_fragment : bool
        Of a salt or solvate take the largest fragment, once read.

    Returns
    -------
    Trajectory
        In A and fs. If the file has a box, the molecule is made whole and its jumps are
        undone, with each frame's own box (provenance["unwrapped_frames"]).

    Raises
    ------
    UnknownNameError
        For a suffix that is not read.
    InputError
        If a file is missing or damaged, times are missing, atoms do not fit the
        topology (MoleculeError), or positions are not finite or look like nm.

    Examples
    --------
    >>> import equidrift, tempfile
    >>> start = equidrift.sample("CCO", 1, model="etkdg")
    >>> frames = start.positions_A.repeat(3, axis=0)
    >>> written = equidrift.Trajectory(start.molecule, frames, [0.0, 5.0, 10.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written.save(f"{folder}/a.npz")
    ...     read = equidrift.load_trajectory(f"{folder}/a.npz")
    >>> read.time_fs.tolist()
    [0.0, 5.0, 10.0]
    """
    check_count("stride", stride)
    file = Path(path)
    if file.suffix.lower() == ".npz":
        whole: Trajectory = load_trajectory_npz(file)
        return largest_of(whole[::stride]) if largest_fragment else whole[::stride]
    if file.suffix.lower() not in FRAME_READERS:
        raise UnknownNameError(
            "trajectory suffix", file.suffix.lower() or str(path), [*FRAME_READERS, ".npz"]
        )
    if not file.is_file():
        raise InputError(f"there is no file {str(path)!r}; give a trajectory such as run.xtc")
    frames: Frames = resolve(FRAME_READERS[file.suffix.lower()])(file)
    molecule = _molecule_for(file, topology, charge, smiles)
    check_same_atoms(molecule, frames.positions_A.shape[1], frames.numbers, repr(str(path)))
    frames = frames._replace(time_fs=_times(frames, dt_fs, file))
    read = from_frames(molecule, frames, str(path))[::stride]
    return largest_of(read) if largest_fragment else read


def _molecule_for(file: Path, topology: object, charge: int | None, smiles: str | None) -> Molecule:
    if topology is not None:
        return load_topology(topology, charge=charge, smiles=smiles)
    if file.suffix.lower() == ".pdb":
        return _first_molecule(file, charge, smiles)
    if file.suffix.lower() in ASE_FILES:
        molecule: Molecule = host_function("ase", "molecule_of_file")(file, charge, smiles)
        return molecule
    raise InputError(
        f"a {file.suffix} file holds no bonds: give the topology too, a PDB, an SDF or a "
        f"SMILES with its atoms in this order"
    )


def _first_molecule(file: Path, charge: int | None, smiles: str | None) -> Molecule:
    """The molecule of the first MODEL; whether the others are its frames, the checks
    tell.
    """
    records = host_function("rdkit", "read_molecules")(file, charge=charge, smiles=smiles)
    record = next(iter(records))
    if record.molecule is None:
        raise InputError(f"cannot read the topology {str(file)!r}: {record.error}")
    molecule: Molecule = record.molecule
    return molecule


def _times(frames: Frames, dt_fs: float | None, file: Path) -> NDArray[np.float64]:
    """Times of the frames, from dt_fs if that is given."""
    time_fs = frames.time_fs
    if dt_fs is not None:
        if (
            isinstance(dt_fs, bool)
            or not isinstance(dt_fs, int | float | np.number)
            or not 0 < dt_fs < np.inf
        ):
            raise InputError(
                f"dt_fs must be a time in fs above 0, not {dt_fs!r}; give for example dt_fs=5"
            )
        first = 0.0 if time_fs is None or not np.isfinite(time_fs[:1]).all() else float(time_fs[0])
        return np.asarray(first + float(dt_fs) * np.arange(len(frames.positions_A)), np.float64)
    if time_fs is None:
        why = "holds no times"
        if file.suffix.lower() == ".dcd":
            why = (
                "does not tell the time between its frames (LAMMPS, VMD and MDTraj write none in "
                "CHARMM's unit into a .dcd)"
            )
        raise InputError(
            f"{str(file)!r} {why}; give dt_fs (on the command line --dt), the time between its "
            "frames in fs"
        )
    return time_fs


def from_frames(molecule: Molecule, frames: Frames, source: str) -> Trajectory:
    """Frames that have times as a Trajectory, unwrapped with each frame's own box."""
    positions_A, time_fs, boxes_A, _ = frames
    if time_fs is None:
        raise InputError(f"{source!r} holds no times; give dt_fs, the time between its frames")
    trajectory = Trajectory(molecule, positions_A, time_fs, provenance={"source": source})
    if not len(trajectory):
        raise InputError(f"{source!r} holds no frames")
    if boxes_A is None:
        return trajectory
    check_finite(trajectory)
    check_units(trajectory)
    x = unwrapped(molecule, positions_A, boxes_A)
    changed = int((x != positions_A).any(axis=(1, 2)).sum())
    fixed = float(np.abs(boxes_A - boxes_A[:1]).max()) < _BOX_TOLERANCE_A
    box_A = boxes_A[0] if fixed else boxes_A
    provenance = {**trajectory.provenance, **({"unwrapped_frames": changed} if changed else {})}
    return trajectory.replace(positions_A=x, box_A=box_A, provenance=provenance)
