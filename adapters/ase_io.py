"""Ensembles and trajectories in ASE's files, and our .npz files in ASE's reader: `ase.io.read("x.npz", ":")` and `ase gui x.npz` work.

`ase.io.formats` imports this module while it is being imported itself, so nothing of `ase.io` may be imported at the top.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.utils.plugins import ExternalIOFormat

from equidrift.errors import InputError
from equidrift.registry import resolve

if TYPE_CHECKING:
    from ase import Atoms

FORMAT = ExternalIOFormat(desc="equidrift ensemble", code="+S", module="equidrift.adapters.ase_io", ext="npz")


def read_equidrift(filename: str, index: Any = slice(None)) -> Iterator[Atoms]:
    """The images of a .npz file that `Ensemble.save` or `Trajectory.save` wrote; called by `ase.io.read`.

    Raises
    ------
    InputError
        where the file is missing, truncated or none of ours.
    """
    images = resolve("equidrift.npz:load_any")(filename).to_ase()
    yield from images[index] if isinstance(index, slice) else [images[index]]


def write_equidrift(filename: str, images: Atoms | Sequence[Atoms]) -> None:
    """Write images of one molecule as a .npz ensemble; called by `ase.io.write(..., format="equidrift")`.

    Raises
    ------
    InputError
        where the images are of several molecules; MoleculeError where they carry no bonds and these cannot be told.
    """
    resolve("equidrift.npz:save_npz")(resolve("equidrift.adapters.ase_atoms:ensemble_of")(images), filename)


def write_ase(ensemble: Any, path: str | os.PathLike[str], *, append: bool = False, first_sample: int = 0) -> None:
    """Write an Ensemble as .xyz, .extxyz or .traj, the graph and the provenance included.

    Parameters
    ----------
    path : its suffix tells the format (`.part` behind it is ignored); .xyz is extended XYZ too.
    append : add to the file.
    first_sample : number of the first conformer, where a run is written in pieces.

    Raises
    ------
    InputError
        where the path cannot be written.
    """
    _write(resolve("equidrift.adapters.ase_atoms:to_atoms")(ensemble, first_sample=first_sample), os.fspath(path), append)


def write_trajectory(trajectory: Any, path: str | os.PathLike[str]) -> None:
    """Write a Trajectory as .traj, .extxyz or .xyz, times and graph included; errors as `write_ase`."""
    _write(trajectory.to_ase(), os.fspath(path), False)


def _write(images: Sequence[Atoms], name: str, append: bool) -> None:
    import ase.io
    from ase.io.trajectory import TrajectoryWriter

    try:
        if name.removesuffix(".part").lower().endswith(".traj"):
            with TrajectoryWriter(name, "a" if append else "w") as writer:
                for atoms in images:
                    writer.write(atoms)
        else:
            for atoms in images:
                for key in {"smiles", "name"} & set(atoms.info):  # ASE drops single backslashes when it reads them
                    atoms.info[key] = atoms.info[key].replace("\\", "\\\\")
            ase.io.write(name, images, format="extxyz", append=append)
    except OSError as error:
        raise InputError(f"cannot write {name!r}: {error.strerror or error}; give a path in a folder you can write to") from error


def read_frames(path: str | os.PathLike[str]) -> Any:
    """(positions_A, time_fs, boxes_A, numbers) of a .traj, .extxyz or .xyz file; see `equidrift.adapters.ase_atoms.frames_of`.

    A .traj of ASE's dynamics tells its time step in its header. Raises `InputError` where the file cannot be read.
    """
    images, description = _images(path)
    positions_A, time_fs, boxes_A, numbers = resolve("equidrift.adapters.ase_atoms:frames_of")(images)
    if time_fs is None and "timestep" in description:
        from ase.units import fs

        dt_fs = float(description["timestep"]) / fs * int(description.get("interval", 1))
        time_fs = dt_fs * np.arange(len(images))
    return positions_A, time_fs, boxes_A, numbers


def molecule_of_file(path: str | os.PathLike[str], charge: int | None = None) -> Any:
    """The Molecule of the first image: the graph stored in it, else perceived; errors as `equidrift.adapters.ase_atoms.from_atoms`."""
    return resolve("equidrift.adapters.ase_atoms:from_atoms")(_images(path)[0][0], charge=charge)


def _images(path: str | os.PathLike[str]) -> tuple[list[Atoms], dict[str, Any]]:
    """(every image, description in the file's header)."""
    import ase.io
    from ase.io.trajectory import TrajectoryReader

    name = os.fspath(path)
    try:
        if name.lower().endswith(".traj"):
            with TrajectoryReader(name) as reader:
                images, description = list(reader), dict(reader.description or {})
        else:
            images, description = list(ase.io.read(name, ":", format="extxyz")), {}
    except Exception as error:  # ASE's readers raise whatever a broken file leads to
        raise InputError(f"cannot read {name!r}: {type(error).__name__}: {error}; write it again") from error
    if not images:
        raise InputError(f"{name!r} holds no frames")
    return images, description
