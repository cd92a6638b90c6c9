"""Formats of files: which suffix is written and read, and whether a path can be
written to.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from equidrift.errors import InputError, MissingDependencyError, UnknownNameError
from equidrift.outputs import topology_beside
from equidrift.registry import ENSEMBLE_WRITERS

APPENDED = (".sdf", ".xyz", ".extxyz")  # formats to which a piece can be added
BONDLESS = (".xtc", ".trr", ".dcd", ".h5md", ".nc", ".ncdf")  # trajectories, read with a topology
WITHOUT_GRAPH = (".xtc", ".dcd", ".h5md")  # those that are written, a topology beside them
ASE_FILES = (".xyz", ".extxyz", ".traj")
MANY_MOLECULES = (*APPENDED, ".sdf.gz", ".traj")  # the others hold one molecule
STDOUT = "-"


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The suffix, lower case, .sdf.gz included; .sdf for "-", standard output.

    Raises `UnknownNameError` for one that is not written.
    """
    if os.fspath(path) == STDOUT:
        return ".sdf"
    suffix = Path(path).suffix.lower()
    if suffix == ".gz":
        suffix = Path(Path(path).stem).suffix.lower() + suffix
    if suffix not in ENSEMBLE_WRITERS:
        raise UnknownNameError("suffix", suffix or os.fspath(path), ENSEMBLE_WRITERS)
    return suffix


def check_output(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that a file of this name can be written.

    Raises
    ------
    UnknownNameError
        For a suffix that is not written.
    InputError
        If the folder is missing or cannot be written to, or the path is a folder
        itself.
    MissingDependencyError
        For .h5md without h5py.
    """
    suffix_of(path)
    if os.fspath(path) == STDOUT:
        return Path(path)
    target = check_writable(path)
    if target.suffix.lower() == ".h5md" and find_spec("h5py") is None:
        raise MissingDependencyError("h5py", "h5md")
    return target


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that there is a folder for this file; errors as
    `check_output`.
    """
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise InputError(
            f"cannot write {str(target)!r}: it is a folder; give the name of a file in it"
        )
    if not folder.is_dir():
        raise InputError(
            f"cannot write {str(target)!r}: there is no folder {str(folder)!r}; "
            "make it, or give another path"
        )
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise InputError(
            f"cannot write {str(target)!r}: it is not writable; "
            "give a path in a folder you can write to"
        )
    return target


def check_picture(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that a figure of this name can be written.

    Raises
    ------
    UnknownNameError
        For a suffix other than .png. Other errors as `check_writable`.
    """
    return _with_suffix(path, "suffix of a figure", (".png",))


def check_page(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that a page of this name can be written; errors as
    `check_picture`, for .html.
    """
    return _with_suffix(path, "suffix of a page", (".html", ".htm"))


def _with_suffix(path: str | os.PathLike[str], what: str, allowed: tuple[str, ...]) -> Path:
    suffix = Path(path).suffix.lower()
    if suffix not in allowed:
        raise UnknownNameError(what, suffix or os.fspath(path), allowed)
    return check_writable(path)


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that a folder of this name is there or can be made.

    Raises `InputError` for a file, or if it cannot be written to.
    """
    target = Path(path)
    present = next((one for one in (target, *target.parents) if one.exists()), Path())
    if not present.is_dir():
        raise InputError(f"{str(present)!r} is a file; give the name of a folder")
    if not os.access(present, os.W_OK):
        raise InputError(
            f"cannot write to the folder {str(present)!r}; give a path in a folder you can write to"
        )
    return target


def topology_path(path: str | os.PathLike[str]) -> Path | None:
    """OUT.top.pdb for OUT.xtc, None if the format holds the graph."""
    return topology_beside(path) if Path(path).suffix.lower() in WITHOUT_GRAPH else None
