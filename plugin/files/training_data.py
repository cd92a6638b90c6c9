"""A user's own conformers (.sdf) as training data: read by RDKit, checked, and packed
into the arrays that the networks read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.geometry import GeometryCheck, check_supported
from equidrift.errors import InputError, MoleculeError, UnknownNameError
from equidrift.protocols import FileRecord
from equidrift.records import Molecule
from equidrift.registry import host_function

VERSION = 1  # of the conversion; part of the packed file's name


def packed_files(
    paths: Sequence[str], out: Path, *, level: str, hold_out: bool = False
) -> tuple[list[Path], list[str]]:
    """The .npz files to train on: those given, and one in `out` for each .sdf file.

    Parameters
    ----------
    paths : sequence of str
        Names of .npz and .sdf files.
    out : Path
        Folder for what is packed. A file whose content was packed there before is not
        read again.
    level : str
        Level of theory of the geometries in .sdf files.
    hold_out : bool
        Leave out molecules that belong to the validation and test parts.

    Returns
    -------
    tuple
        (The .npz files, a line for each record that was skipped.).

    Raises
    ------
    InputError
        For a missing file, or an .sdf without a usable conformer; UnknownNameError for
        another suffix.
    """
    packed, skipped = [], []
    for text in paths:
        path = Path(text)
        if path.suffix.lower() not in (".npz", ".sdf"):
            raise UnknownNameError("suffix of training data", path.suffix or text, (".npz", ".sdf"))
        if not path.is_file():
            raise InputError(f"there is no training data {text!r}; data: takes .sdf and .npz files")
        if path.suffix.lower() == ".npz":
            packed.append(path)
            continue
        digest = hashlib.sha256(
            f"{VERSION}/{level}/{hold_out}/".encode() + path.read_bytes()
        ).hexdigest()[:12]
        target = out / f"{path.stem}-{digest}.npz"
        report = target.with_suffix(".json")
        if not (target.exists() and report.exists()):
            problems = pack_sdf(path, target, level=level, hold_out=hold_out)
            report.write_text(json.dumps(problems, indent=1) + "\n")
        packed.append(target)
        skipped += json.loads(report.read_text())
    return packed, skipped


def pack_sdf(path: Path, target: Path, *, level: str, hold_out: bool = False) -> list[str]:
    """Write the conformers of an .sdf file as a `ConformerSet`, each with its MMFF94
    minimum to start from.

    Returns
    -------
    list of str
        A line for each record that was skipped: broken, not supported, without 3D
        coordinates, or with a geometry that fails a check.

    Raises
    ------
    InputError
        If no record is usable.
    """
    data: _TrainingSet = host_function("conformers", "ConformerSet").empty()
    held_out = host_function("shared", "held_out")
    skipped: list[str] = []
    for record in host_function("rdkit", "read_molecules")(path):
        where = f"{path.name} record {record.index + 1} ({record.title or 'no title'})"
        try:
            molecule, positions = _usable(record)
            if hold_out and held_out(host_function("rdkit", "flat_smiles")(molecule)) != "train":
                continue
            for x, starts in zip(positions, _starts(molecule, positions), strict=True):
                data.add(molecule, level, x, starts)
        except MoleculeError as error:
            skipped.append(f"{where}: {' '.join(str(error).split())}")
    if not len(data):
        reasons = f" The first of {len(skipped)} skipped records: {skipped[0]}" if skipped else ""
        raise InputError(f"{str(path)!r} holds no conformer to train on.{reasons}")
    target.parent.mkdir(parents=True, exist_ok=True)
    data.save(target)
    return skipped


class _TrainingSet(Sized, Protocol):
    """What the family of conformers trains on."""

    def add(
        self,
        molecule: Molecule,
        level: str,
        target_A: NDArray[np.float64],
        starts_A: Sequence[NDArray[np.float64]],
    ) -> None:
        """Append a conformer."""
        ...

    def save(self, path: Path) -> None:
        """Write it."""
        ...


def _usable(record: FileRecord) -> tuple[Molecule, NDArray[np.float64]]:
    """Molecule and geometries of a record.

    Raises `MoleculeError` that says what is wrong with it.
    """
    if record.molecule is None:
        raise MoleculeError(record.error or "it cannot be read")
    check_supported(record.molecule)
    if record.positions_A is None:
        raise MoleculeError("it has no 3D coordinates")
    reasons = GeometryCheck(record.molecule)(record.positions_A)
    if (reasons != "").all():
        raise MoleculeError(f"its geometry fails the check of {reasons[0]}")
    return record.molecule, record.positions_A[reasons == ""]


def _starts(
    molecule: Molecule, positions_A: NDArray[np.float64]
) -> list[list[NDArray[np.float64]]]:
    """The MMFF94 minimum next to each geometry, none if MMFF94 cannot type the
    molecule.
    """
    try:
        relaxed: NDArray[np.float64] = host_function("rdkit", "mmff_relax")(molecule, positions_A)[
            0
        ]
    except MoleculeError:
        return [[] for _ in positions_A]
    return [[x] for x in relaxed]
