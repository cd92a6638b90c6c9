"""Ensembles and trajectories in ASE's files, and our .npz files in ASE's reader:
`ase.io.read("x.npz", ":")` and `ase gui x.npz` work.

`ase.io.formats` imports this module while it is being imported itself, so nothing of
`ase.io` may be imported at the top.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.utils.plugins import ExternalIOFormat

from equidrift.errors import InputError
from equidrift.outputs import unwritable
from equidrift.text import counted

if TYPE_CHECKING:
    from ase import Atoms

    from equidrift.records import Ensemble, Frames, Molecule, Trajectory

_MAX_DIGITS = 20  # of a number of atoms, with blanks
_ULM_HEAD = struct.Struct("<8s16sqqq")  # magic, tag, version, number of items, their places' place

FORMAT = ExternalIOFormat(
    desc="equidrift ensemble", code="+S", module="equidrift.adapters.ase.io", ext="npz"
)


def read_equidrift(filename: str, index: Any = slice(None)) -> Iterator[Atoms]:
    """The images of a .npz file that `Ensemble.save` or `Trajectory.save` wrote; called
    by `ase.io.read`.

    Raises
    ------
    InputError
        If the file is missing, truncated or none of ours.
    """
    from equidrift.files.npz import load_any

    images = load_any(filename).to_ase()
    yield from images[index] if isinstance(index, slice) else [images[index]]


def write_equidrift(filename: str, images: Atoms | Sequence[Atoms]) -> None:
    """Write images of one molecule as a .npz ensemble; called by `ase.io.write(...,
    format="equidrift")`.

    Raises
    ------
    InputError
        If the images are of several molecules; MoleculeError if they carry no
        bonds and these cannot be told.
    """
    from equidrift.adapters.ase.atoms import ensemble_of
    from equidrift.files.npz import save_npz

    save_npz(ensemble_of(images), filename)


def write_ase(
    ensemble: Ensemble, path: str | os.PathLike[str], *, append: bool = False, first_sample: int = 0
) -> None:
    """Write an Ensemble as .xyz, .extxyz or .traj, the graph and the provenance
    included.

    Parameters
    ----------
    path : path
        Its suffix tells the format (`.part` after it is ignored); .xyz is extended XYZ
        too.
    append : bool, optional
        Add to the file.
    first_sample : int, optional
        Number of the first conformer, if a run is written in pieces.

    Raises
    ------
    InputError
        If the path cannot be written.
    """
    from equidrift.adapters.ase.atoms import to_atoms

    _write(to_atoms(ensemble, first_sample=first_sample), os.fspath(path), append)


def write_trajectory(trajectory: Trajectory, path: str | os.PathLike[str]) -> None:
    """Write a Trajectory as .traj, .extxyz or .xyz, times and graph included; errors as
    `write_ase`.
    """
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
                # ASE drops single backslashes when it reads them
                for key in {"smiles", "name"} & set(atoms.info):
                    atoms.info[key] = atoms.info[key].replace("\\", "\\\\")
            ase.io.write(name, images, format="extxyz", append=append)
    except OSError as error:
        raise unwritable(name, error) from error


def read_frames(path: str | os.PathLike[str]) -> Frames:
    """The frames of a .traj, .extxyz or .xyz file, as
    `equidrift.adapters.ase.frames.frames_of` finds them.

    A .traj of ASE's dynamics tells its time step in its header. Raises `InputError`
    if the file cannot be read.
    """
    from equidrift.adapters.ase.frames import frames_of

    images, description = _images(path)
    frames = frames_of(images)
    if frames.time_fs is None and "timestep" in description:
        from ase.units import fs

        dt_fs = float(description["timestep"]) / fs * int(description.get("interval", 1))
        frames = frames._replace(time_fs=dt_fs * np.arange(len(images), dtype=np.float64))
    return frames


def read_ensembles(
    path: str | os.PathLike[str],
    *,
    molecule: Molecule | None = None,
    charge: int | None = None,
    smiles: str | None = None,
) -> Iterator[Ensemble]:
    """The ensembles in a .traj, .extxyz or .xyz file: images that follow each other and
    are of one molecule are one Ensemble.

    Parameters
    ----------
    molecule : Molecule, optional
        Whose conformers all images are; None takes the graphs stored in the file, and
        perceives bonds if there are none.
    charge : int, optional
        Total charge, if bonds are perceived.
    smiles : str, optional
        The molecule of every image, if bonds are perceived: orders and charges are its.

    Raises
    ------
    InputError
        If the file cannot be read, MoleculeError if bonds cannot be told.
    """
    from equidrift.adapters.ase.atoms import ensemble_of

    if molecule is not None:
        yield ensemble_of(_images(path)[0], molecule=molecule)
        return
    for entry, images in _grouped(_images(path)[0], charge, smiles):
        yield ensemble_of(images, molecule=entry)


def _grouped(
    images: Sequence[Atoms], charge: int | None, smiles: str | None = None
) -> Iterator[tuple[Molecule, list[Atoms]]]:
    """(molecule, its images in a row).

    An image without a graph is of the last molecule if its bonds are.
    """
    from equidrift.adapters.ase.atoms import from_atoms, stored_molecule
    from equidrift.checks.geometry import GeometryCheck

    held: list[Atoms] = []
    molecule: Molecule | None = None
    check: GeometryCheck | None = None
    for atoms in images:
        stored = stored_molecule(atoms)
        same = molecule is not None and np.array_equal(atoms.numbers, molecule.numbers)
        if molecule is not None and same and stored is not None:
            same = stored.entry() == molecule.entry()
        elif check is not None and same and (check(atoms.positions[None]) != "").any():
            same = from_atoms(atoms, charge=charge, smiles=smiles) == molecule
        if molecule is None or not same:
            if molecule is not None:
                yield molecule, held
            known = stored if smiles is None else None
            molecule, held = known or from_atoms(atoms, charge=charge, smiles=smiles), []
            check = GeometryCheck(molecule)
        held.append(atoms)
    if molecule is not None:
        yield molecule, held


def molecule_of_file(
    path: str | os.PathLike[str], charge: int | None = None, smiles: str | None = None
) -> Molecule:
    """The Molecule of the first image: the graph stored in it, else perceived; errors
    as `equidrift.adapters.ase.atoms.from_atoms`.
    """
    from equidrift.adapters.ase.atoms import from_atoms

    return from_atoms(_images(path)[0][0], charge=charge, smiles=smiles)


def _images(path: str | os.PathLike[str]) -> tuple[list[Atoms], dict[str, Any]]:
    """(every image, description in the file's header)."""
    import ase.io
    from ase.io.trajectory import TrajectoryReader

    name = os.fspath(path)
    _check_counts(name)
    try:
        if name.lower().endswith(".traj"):
            with TrajectoryReader(name) as reader:
                images, description = list(reader), dict(reader.description or {})
        else:
            images, description = list(ase.io.read(name, ":", format="extxyz")), {}
    except KeyError as error:  # of ASE's table of elements
        raise InputError(
            f"cannot read {name!r}: {error.args[0]!r} is no symbol of an element; begin the lines "
            "of atoms with symbols, such as C or Cl, not with numbers or names of atoms"
        ) from error
    except Exception as error:  # ASE's readers raise whatever a broken file leads to
        raise InputError(
            f"cannot read {name!r}: {type(error).__name__}: {error}; write it again"
        ) from error
    if not images:
        raise InputError(f"{name!r} holds no frames")
    return images, description


def _check_counts(name: str) -> None:
    """Refuse a file that promises more than it holds, which ASE would look for, or take
    memory for; raises `InputError`.
    """
    if name.lower().endswith(".traj"):
        _check_ulm(name)
        return
    with open(name, encoding="utf-8", errors="replace") as lines:
        for head in lines:
            if not head.strip() or head.startswith("VEC"):
                continue
            if not head.strip().isdecimal() or len(head) > _MAX_DIGITS:
                raise InputError(
                    f"cannot read {name!r}: there is {head[:40]!r} where the number of atoms of a "
                    "frame should be"
                )
            wanted = int(head) + 1  # a comment and the atoms
            found = sum(1 for _ in islice(lines, wanted))
            if found < wanted:
                there = max(found - 1, 0)
                raise InputError(
                    f"cannot read {name!r}: a frame says {counted(int(head), 'atom')}, "
                    "and the file ends "
                    f"after {there} of them"
                )


def _check_ulm(name: str) -> None:
    size = os.path.getsize(name)
    with open(name, "rb") as stream:
        head = stream.read(_ULM_HEAD.size)
    magic, _, _, count, place = (
        _ULM_HEAD.unpack(head) if len(head) == _ULM_HEAD.size else (b"", b"", 0, 0, 0)
    )
    if magic != b"- of Ulm" or count < 0 or not 0 <= place <= size or 8 * count > size - place:
        raise InputError(
            f"cannot read {name!r}: its head is not that of ASE's .traj; write it again"
        )
