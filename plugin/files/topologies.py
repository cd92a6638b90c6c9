"""The molecule that a trajectory needs beside it: read from a topology, and written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from equidrift.errors import OTHER_FORMATS, InputError, UnknownNameError
from equidrift.files.formats import topology_path
from equidrift.files.unpacked import names_file, plain_suffix
from equidrift.records import Ensemble, Molecule, Trajectory
from equidrift.registry import ENSEMBLE_WRITERS, host_function, resolve

TOPOLOGIES = (".pdb", ".sdf", ".mol", ".mol2")


def load_topology(
    what: object, *, charge: int | None = None, smiles: str | None = None
) -> Molecule:
    """The Molecule of a topology: a .pdb, .sdf, .mol or .mol2 file, a SMILES, or anything that
    `equidrift.sample` takes.

    charge and smiles are for a .pdb file: its total charge, and the SMILES of its
    molecule (`load_trajectory`).

    Raises
    ------
    InputError
        If the file is missing or holds no molecule, or several that differ;
        MoleculeError for what cannot be read.
    """
    from equidrift.inputs import as_molecule

    if isinstance(what, os.PathLike) or (
        isinstance(what, str)
        and (plain_suffix(what) in (*TOPOLOGIES, *OTHER_FORMATS) or names_file(what))
    ):
        return _topology_file(Path(what), charge, smiles)
    molecule: Molecule = as_molecule(what, smiles=smiles)
    return molecule


def _topology_file(path: Path, charge: int | None, smiles: str | None) -> Molecule:
    suffix = plain_suffix(path)
    if suffix not in TOPOLOGIES:
        raise UnknownNameError("topology suffix", suffix or str(path), TOPOLOGIES)
    records = list(host_function("rdkit", "read_molecules")(path, charge=charge, smiles=smiles))
    bad = next((record for record in records if record.molecule is None), None)
    if bad is not None:
        raise InputError(f"cannot read the topology {str(path)!r}: {bad.error}")
    molecule: Molecule = records[0].molecule
    if any(record.molecule != molecule for record in records):
        raise InputError(
            f"the topology {str(path)!r} holds {len(records)} different molecules; give a "
            f"file with the trajectory's alone"
        )
    return molecule


def save_topology(frames: Ensemble | Trajectory, path: str | os.PathLike[str]) -> Path | None:
    """Write the topology of OUT (`equidrift.files.formats.topology_path`).

    Parameters
    ----------
    frames : Ensemble or Trajectory
        Its first finite frame gives the coordinates.
    path : str or PathLike
        OUT.

    Returns
    -------
    Path or None
        The file, None if OUT's format holds the graph.
    """
    topology = topology_path(path)
    if topology is None:
        return None
    given = np.flatnonzero(np.isfinite(frames.positions_A).all(axis=(1, 2)))  # of an interpolation
    resolve(ENSEMBLE_WRITERS[".pdb"])(frames[given[:1]], topology)
    return topology
