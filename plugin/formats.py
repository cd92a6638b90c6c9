"""Ensembles in files: the suffix picks the format, and long runs are streamed so that they can be broken off and continued."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.engine import joined
from equidrift.errors import InputError, MissingDependencyError, UnknownNameError
from equidrift.jsonable import plain
from equidrift.records import Ensemble
from equidrift.registry import resolve

# suffix -> "module:function"; function(ensemble, path) writes a whole file
WRITERS = {
    ".sdf": "equidrift.adapters.rdkit_io:write_sdf",
    ".mol": "equidrift.adapters.rdkit_io:write_mol",
    ".pdb": "equidrift.adapters.rdkit_io:write_pdb",
    ".xyz": "equidrift.adapters.ase_io:write_ase",
    ".extxyz": "equidrift.adapters.ase_io:write_ase",
    ".traj": "equidrift.adapters.ase_io:write_ase",
    ".xtc": "equidrift.adapters.mda_universe:write_trajectory",
    ".dcd": "equidrift.adapters.mda_universe:write_trajectory",
    ".h5md": "equidrift.adapters.mda_universe:write_trajectory",
    ".npz": "equidrift.npz:save_npz",
}
# formats to which a piece can be added: function(ensemble, path, append=True, first_sample=k)
APPENDED = (".sdf", ".xyz", ".extxyz")
MANY_MOLECULES = (*APPENDED, ".traj")  # the others hold one molecule


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The suffix, lower case. Raises `UnknownNameError` for one that is not written."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise UnknownNameError("suffix", suffix or os.fspath(path), WRITERS)
    return suffix


def check_output(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that a file of this name can be written.

    Raises
    ------
    UnknownNameError
        for a suffix that is not written.
    InputError
        where the folder is missing or cannot be written to, or the path is a folder itself.
    MissingDependencyError
        for .h5md without h5py.
    """
    suffix_of(path)
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise InputError(f"cannot write {str(target)!r}: it is a folder; give the name of a file in it")
    if not folder.is_dir():
        raise InputError(f"cannot write {str(target)!r}: there is no folder {str(folder)!r}; make it, or give another path")
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise InputError(f"cannot write {str(target)!r}: it is not writable; give a path in a folder you can write to")
    if target.suffix.lower() == ".h5md" and find_spec("h5py") is None:
        raise MissingDependencyError("h5py", "h5md")
    return target


def save(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write an Ensemble; the suffix picks the format (`WRITERS`).

    Raises
    ------
    UnknownNameError
        for a suffix that is not written, with the nearest one. InputError where the path cannot be written.
    """
    target = check_output(path)
    resolve(WRITERS[suffix_of(path)])(ensemble, target)


def load_all(path: str | os.PathLike[str], *, problems: list[str] | None = None) -> Iterator[Ensemble]:
    """The ensembles in a .npz, .sdf, .mol or .pdb file: consecutive records of one molecule are one Ensemble.

    Parameters
    ----------
    path : the file.
    problems : where given, broken records are left out and described here; where None, the first one raises.

    Raises
    ------
    InputError
        where there is no such file, a record cannot be read, or one has no 3D coordinates.
    UnknownNameError
        for a suffix that is not read.
    """
    if Path(path).suffix.lower() == ".npz":
        yield resolve("equidrift.npz:load_npz")(path)
        return
    held: list[Any] = []
    for record in resolve("equidrift.adapters.rdkit_io:read_molecules")(path):
        problem = _problem(record, f"record {record.index + 1} of {os.fspath(path)!r}")
        if problem:
            if problems is None:
                raise InputError(problem)
            problems.append(problem)
            continue
        if held and held[-1].molecule != record.molecule:
            yield _grouped(held)
            held = []
        held.append(record)
    if held:
        yield _grouped(held)


def _problem(record: Any, where: str) -> str:
    """Why a record holds no conformer, empty where it does."""
    if record.molecule is None:
        return f"cannot read {where}: {record.error}"
    if record.positions_A is None:
        return f"{where} has no 3D coordinates; sample conformers first, say `equidrift sample FILE -o OUT.sdf`"
    return ""


def _grouped(records: Sequence[Any]) -> Ensemble:
    positions = np.concatenate([record.positions_A for record in records])
    return Ensemble(records[0].molecule, positions, provenance={"model": "given"})


def load(path: str | os.PathLike[str]) -> Ensemble:
    """The Ensemble in a file that holds one molecule; `load_all` reads the others. Errors are `load_all`'s."""
    ensembles = load_all(path)
    first = next(ensembles)
    if next(ensembles, None) is not None:
        raise InputError(f"{os.fspath(path)!r} holds several molecules; read it with equidrift.formats.load_all")
    return first


def fingerprint(command: Mapping[str, Any]) -> str:
    """A hash of everything that decides a run's result."""
    return hashlib.sha256(json.dumps(plain(command), sort_keys=True).encode()).hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hash of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class StreamWriter:
    """Writes pieces to OUT so that a run that is killed at any moment goes on where it stopped, to the same bytes.

    What is written goes to OUT.part (for formats that cannot be added to: a folder of .npz pieces). Behind every piece a small journal,
    OUT.journal, records how much of it counts. Opening cuts the rest off; `finish` moves the whole to OUT.

    Parameters
    ----------
    path : OUT.
    command : everything that decides the result; a journal of another command is refused.
    overwrite : drop what another, unfinished command has left.

    Raises
    ------
    InputError
        where OUT cannot be written, or a journal of another command is there.
    """

    grows = True  # whether formats that can be added to are; else pieces are kept until the end

    def __init__(self, path: str | os.PathLike[str], command: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = check_output(path)
        self.suffix = suffix_of(path)
        self.appended = self.suffix in APPENDED and self.grows
        self.part = self.path.with_name(self.path.name + ".part")
        self.journal = self.path.with_name(self.path.name + ".journal")
        self.command = fingerprint(command)
        self.state: dict[str, Any] = {"command": self.command, "position": [0, 0], "size": 0, "summary": {}}
        if overwrite:
            self.discard()
        self._resume()

    @property
    def position(self) -> tuple[int, int]:
        """(molecules done, samples done of the next)."""
        molecules, samples = self.state["position"]
        return molecules, samples

    @property
    def summary(self) -> dict[str, Any]:
        """What the run wanted to remember with its last piece."""
        return dict(self.state["summary"])

    def write(self, ensembles: Sequence[tuple[Ensemble, int]], position: tuple[int, int], summary: Mapping[str, Any]) -> None:
        """Add ensembles, each with the index of its first sample, and record that the run has come to `position`."""
        size = self.state["size"]
        if self.appended:
            for ensemble, first in ensembles:
                resolve(WRITERS[self.suffix])(ensemble, self.part, append=True, first_sample=first)
            size = synced_size(self.part)
        else:
            self.part.mkdir(exist_ok=True)
            for ensemble, _ in ensembles:
                piece = self._piece(size)
                resolve(WRITERS[".npz"])(ensemble, piece)
                synced_size(piece)
                size += 1
        self._record(position, size, summary)

    def _record(self, position: tuple[int, int], size: int, summary: Mapping[str, Any]) -> None:
        """What is on the disk counts from now on."""
        self.state = {"command": self.command, "position": list(position), "size": size, "summary": plain(summary)}
        self._write_journal()

    def finish(self) -> None:
        """Move what was written to OUT, which appears whole or not at all."""
        if self.appended:
            os.replace(self.part, self.path)
        else:
            self._convert()
            shutil.rmtree(self.part)
        self.journal.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove everything unfinished."""
        self.journal.unlink(missing_ok=True)
        if self.part.is_dir():
            shutil.rmtree(self.part)
        self.part.unlink(missing_ok=True)

    def _piece(self, k: int) -> Path:
        return self.part / f"{k:06d}.npz"

    def _resume(self) -> None:
        """Take up the journal, if there is one, and cut off what it does not count."""
        if not self.journal.exists():
            self.discard()
            return
        try:
            state = json.loads(self.journal.read_text())
            command, size = state["command"], state["size"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{str(self.journal)!r} is damaged; start again with --overwrite") from error
        if command != self.command:
            raise InputError(
                f"{str(self.path)!r} has an unfinished run of another command (its inputs, options, weights or version differ); "
                "repeat that command to finish it, give another path, or drop it with --overwrite"
            )
        if self.appended and self.part.is_file() and self.part.stat().st_size >= size:
            os.truncate(self.part, size)
            self.state = state
        elif not self.appended and all(self._piece(k).is_file() for k in range(size)):
            self.state = state
        else:
            self.discard()

    def _write_journal(self) -> None:
        fresh = self.journal.with_name(self.journal.name + ".new")
        with open(fresh, "w") as stream:
            json.dump(self.state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, self.journal)

    def _convert(self) -> None:
        """The pieces, in order, as one file."""
        pieces = (resolve("equidrift.npz:load_npz")(self._piece(k)) for k in range(self.state["size"]))
        whole = [joined(list(group)) for _, group in groupby(pieces, key=lambda piece: piece.molecule)]
        if len(whole) > 1 and self.suffix not in MANY_MOLECULES:
            raise InputError(f"a {self.suffix} file holds one molecule, and there are {len(whole)}; write {', '.join(MANY_MOLECULES)}")
        fresh = self.path.with_name(f".{self.path.stem}.new{self.suffix}")
        writer = resolve(WRITERS[self.suffix])
        for k, ensemble in enumerate(whole):
            writer(ensemble, fresh, **({"append": k > 0} if self.suffix == ".traj" else {}))
        os.replace(fresh, self.path)


def synced_size(path: Path) -> int:
    """Size of a file whose content has reached the disk."""
    with open(path, "ab") as stream:
        os.fsync(stream.fileno())
        return stream.tell()
