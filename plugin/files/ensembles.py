"""Ensembles in files: the suffix picks the format."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.errors import InputError, MoleculeError
from equidrift.files.fields import columns_of, shared_and_own
from equidrift.files.formats import ASE_FILES, BONDLESS, check_output, suffix_of
from equidrift.files.npz import load_npz
from equidrift.files.topologies import load_topology
from equidrift.files.unpacked import unpacked
from equidrift.inputs import check_charge
from equidrift.joining import in_a_row
from equidrift.protocols import FileRecord
from equidrift.records import TITLE, Ensemble
from equidrift.registry import ENSEMBLE_WRITERS, host_function, resolve


def save(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write an Ensemble; suffixes and errors are those of `equidrift.Ensemble.save`."""
    target = check_output(path)
    resolve(ENSEMBLE_WRITERS[suffix_of(path)])(ensemble, target)


def load_all(
    path: str | os.PathLike[str],
    *,
    top: object = None,
    charge: int | None = None,
    smiles: str | None = None,
    problems: list[str] | None = None,
) -> Iterator[Ensemble]:
    """The ensembles in a file of any format that is written: records in a row of one
    molecule are one Ensemble.

    Parameters
    ----------
    path, top, charge, smiles
        As for `equidrift.load`.
    problems : list of str, optional
        If given, broken records are left out and described here; if None, the first one
        raises.

    Raises
    ------
    InputError
        If a record cannot be read or has no 3D coordinates, and as `equidrift.load`;
        MoleculeError and UnknownNameError as there.
    """
    path = unpacked(path)
    suffix = path.suffix.lower()
    if top is not None and suffix not in (*BONDLESS, *ASE_FILES):
        raise InputError(
            f"a {suffix} file holds its bonds; top= (--top) is for trajectories, .xyz, .extxyz "
            "and .traj; leave it out"
        )
    if suffix == ".npz":
        if smiles is not None:
            raise InputError(
                "an .npz file holds its bonds; smiles= (--smiles) is for .pdb and .xyz"
            )
        read = load_npz(path)
        check_charge(read.molecule, charge)
        yield read
    elif suffix in BONDLESS:
        yield _frames(path, top, charge, smiles)
    elif suffix in ASE_FILES:
        if not Path(path).is_file():
            raise InputError(f"there is no file {os.fspath(path)!r}")
        molecule = None if top is None else load_topology(top, charge=charge, smiles=smiles)
        yield from host_function("ase", "read_ensembles")(
            path, molecule=molecule, charge=charge, smiles=smiles
        )
    else:
        records = _whole_records(path, charge, smiles, problems)
        ensembles = (_grouped(row) for row in in_a_row(records, _one_molecule))
        yield from _of_charge(ensembles, charge, problems)


def _of_charge(
    read: Iterator[Ensemble], charge: int | None, problems: list[str] | None
) -> Iterator[Ensemble]:
    """Those that have the given charge; another is a problem as a broken record is."""
    for ensemble in read:
        try:
            check_charge(ensemble.molecule, charge)
        except MoleculeError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        yield ensemble


def _frames(
    path: str | os.PathLike[str], top: object, charge: int | None, smiles: str | None
) -> Ensemble:
    """The frames of a trajectory as conformers."""
    from equidrift.files.trajectories import load_trajectory

    if top is None:
        raise InputError(
            f"a {Path(path).suffix} file holds no bonds: give the topology too (top=..., "
            f"--top), a PDB, an SDF or a SMILES with its "
            "atoms in this order"
        )
    read = load_trajectory(path, top, dt_fs=1.0, charge=charge, smiles=smiles)
    ensemble = read.to_ensemble()
    return ensemble.replace(provenance={"model": "given", **ensemble.provenance})


def _whole_records(
    path: str | os.PathLike[str],
    charge: int | None,
    smiles: str | None,
    problems: list[str] | None,
) -> Iterator[FileRecord]:
    """The records that hold conformers."""
    for record in host_function("rdkit", "read_molecules")(path, charge=charge, smiles=smiles):
        problem = _problem(record, f"record {record.index + 1} of {os.fspath(path)!r}")
        if problem:
            if problems is None:
                raise InputError(problem)
            problems.append(problem)
            continue
        yield record


def _problem(record: FileRecord, where: str) -> str:
    """Why a record holds no conformer, empty if it does."""
    if record.molecule is None:
        return f"cannot read {where}: {record.error}"
    if record.positions_A is None:
        return (
            f"{where} has no 3D coordinates; sample conformers first, say "
            "`equidrift sample FILE -o OUT.sdf`"
        )
    return ""


def _one_molecule(a: FileRecord, b: FileRecord) -> bool:
    """Whether records that follow each other are of one ensemble: of one molecule, and
    of one entry if we wrote them.
    """
    if a.molecule is None or b.molecule is None or a.molecule != b.molecule:
        return False
    counts = [record.own.get("sample", "") for record in (a, b)]
    begun_again = all(count.isdecimal() for count in counts) and int(counts[0][:18]) >= int(
        counts[1][:18]
    )
    return a.molecule.name == b.molecule.name or not begun_again


# Any: `_problem` has made sure that each record has a molecule and a geometry
def _grouped(records: Sequence[Any]) -> Ensemble:
    """Records of one molecule as an Ensemble: what all share is the molecule's, what
    differs each conformer's.
    """
    molecules = [record.molecule for record in records for _ in record.positions_A]
    same, own = shared_and_own([molecule.properties for molecule in molecules])
    if len({molecule.name for molecule in molecules}) > 1:
        own = {TITLE: [molecule.name for molecule in molecules], **own}
    columns: dict[str, Any] = {"provenance": {"model": "given"}}
    if all(record.own for record in records):
        columns = columns_of([record.own for record in records for _ in record.positions_A])
    positions = np.concatenate([record.positions_A for record in records])
    return Ensemble(molecules[0].replace(properties=same), positions, properties=own, **columns)


def load(
    path: str | os.PathLike[str],
    *,
    top: object = None,
    charge: int | None = None,
    smiles: str | None = None,
) -> Ensemble:
    """The Ensemble in a file that holds one molecule.

    `equidrift.files.ensembles.load_all` reads files of several.

    Parameters
    ----------
    path : str or PathLike
        A .npz, .sdf, .mol, .pdb, .xyz, .extxyz, .traj, .xtc, .trr, .dcd, .h5md or .nc
        file.
    top : path, SMILES, Molecule, RDKit Mol or ase.Atoms, optional
        What tells the bonds, as for `equidrift.load_trajectory`: needed for
        trajectories, which have none. For .xyz, .extxyz and .traj it replaces the graph
        in the file, or the perception of bonds.
    charge : int, optional
        Total charge in e, needed if bonds are perceived. If the file tells the charge,
        it must be this one.
    smiles : str, optional
        The molecule of a .pdb, .xyz, .extxyz or .traj as a SMILES: bond orders and
        charges are taken from it, the bonds from the file. If the two are of different
        molecules, MoleculeError names the atoms that differ.

    Returns
    -------
    Ensemble
        Its conformers, in A.

    Raises
    ------
    InputError
        For a file that is missing, damaged, without 3D coordinates or of several
        molecules, and for `top` or `smiles` beside a file that holds its bonds.
    MoleculeError
        If bonds are ambiguous, or the charge is another.
    UnknownNameError
        For a suffix that is not read, with the nearest one.

    Examples
    --------
    >>> import equidrift, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     equidrift.sample("CCO", 2, model="etkdg").save(f"{folder}/a.sdf")
    ...     len(equidrift.load(f"{folder}/a.sdf"))
    2
    """
    ensembles = load_all(path, top=top, charge=charge, smiles=smiles)
    first = next(ensembles)
    if next(ensembles, None) is not None:
        raise InputError(
            f"{os.fspath(path)!r} holds several molecules; read it with "
            f"equidrift.files.ensembles.load_all"
        )
    return first


def write_packed(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write one .sdf.gz file; the same ensemble gives the same bytes."""
    text = "".join(host_function("rdkit", "sdf_records")(ensemble))
    Path(path).write_bytes(gzip.compress(text.encode(), mtime=0))
