"""Ensembles in ASE's files, and our .npz files in ASE's reader: `ase.io.read("x.npz", ":")` and `ase gui x.npz` work.

`ase.io.formats` imports this module while it is being imported itself, so nothing of `ase.io` may be imported at the top.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ase.utils.plugins import ExternalIOFormat

from equidrift.errors import InputError
from equidrift.registry import resolve

if TYPE_CHECKING:
    from ase import Atoms

FORMAT = ExternalIOFormat(desc="equidrift ensemble", code="+S", module="equidrift.adapters.ase_io", ext="npz")


def read_equidrift(filename: str, index: Any = slice(None)) -> Iterator[Atoms]:
    """The images of a .npz file that `Ensemble.save` wrote; called by `ase.io.read`.

    Raises
    ------
    InputError
        where the file is missing, truncated or no ensemble of ours.
    """
    ensemble = resolve("equidrift.npz:load_npz")(filename)
    images = resolve("equidrift.adapters.ase_atoms:to_atoms")(ensemble)
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
    import ase.io
    from ase.io.trajectory import TrajectoryWriter

    images = resolve("equidrift.adapters.ase_atoms:to_atoms")(ensemble, first_sample=first_sample)
    name = os.fspath(path)
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
