"""What a run may write: never an input, and never a file that is not its own.

Every command asks `claim` before its first computation, and every file that it will
write is named there: outputs, the topology beside a trajectory, journals and
checkpoints.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from equidrift.errors import InputError

MAX_REMEMBERED = 1000  # finished runs in the user's cache; the oldest go first

StrPath = str | os.PathLike[str]


def same_file(first: StrPath, second: StrPath) -> bool:
    """Whether two paths are one file: by inode if both exist, else by their real paths."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def refuse_inputs(outputs: Iterable[StrPath], inputs: Iterable[StrPath]) -> None:
    """Raise `InputError` if something to be written is something to be read."""
    read = [path for path in inputs if os.path.exists(path)]
    for output in outputs:
        for path in read:
            if same_file(output, path):
                raise InputError(
                    f"{os.fspath(output)!r} would be written, and it is the input "
                    f"{os.fspath(path)!r}; "
                    "give another name for the output (--overwrite does not allow this)"
                )


def claim(
    outputs: Sequence[StrPath],
    *,
    inputs: Iterable[StrPath] = (),
    own: bool = False,
    overwrite: bool = False,
) -> None:
    """Make sure that a run may write its files.

    Parameters
    ----------
    outputs : sequence of str or PathLike
        Every path that the run will write.
    inputs : iterable of str or PathLike
        Every file that it reads; what is no file (a SMILES, say) is passed over.
    own : bool
        The outputs that exist belong to this very run.
    overwrite : bool
        The user allows that existing files are replaced; inputs never are.

    Raises
    ------
    InputError
        If an output is an input, or exists and is not this run's own.
    """
    refuse_inputs(outputs, inputs)
    if own or overwrite:
        return
    for output in outputs:
        if os.path.lexists(output):
            raise InputError(
                f"{os.fspath(output)!r} exists and is no run of this command; give another "
                f"name for "
                "the output, or replace it with --overwrite (overwrite=True)"
            )


def topology_beside(path: StrPath) -> Path:
    """Where the topology of a trajectory is written: run.top.pdb for run.xtc."""
    target = Path(path)
    return target.with_name(f"{target.stem}.top.pdb")


def moment(name: str) -> None:
    """Called at each step of a write to disk; tests put a hook here that ends the
    process.
    """
    del name


# Finished runs ---------------------------------------------------------------------------


def cache_folder() -> Path:
    """The user's cache for equidrift: XDG_CACHE_HOME, else what the system has for
    caches.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "equidrift"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "equidrift"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "equidrift"
    return Path.home() / ".cache" / "equidrift"


def remember_finished(outputs: Sequence[StrPath], command: str, told: Mapping[str, Any]) -> None:
    """Note in the user's cache that a run has finished, so that the same command knows
    its files.

    Parameters
    ----------
    outputs : sequence of str or PathLike
        The files it has written.
    command : str
        Fingerprint of everything that decides them.
    told : mapping
        Plain values, given back by `recall_finished`.
    """
    try:
        files = [_state(path) for path in outputs]
        entry = {"command": command, "files": files, "told": told}
        note = _note(outputs[0])
        note.parent.mkdir(parents=True, exist_ok=True)
        fresh = note.with_name(f"{note.name}.{os.getpid()}")
        fresh.write_text(json.dumps(entry))
        os.replace(fresh, note)
        notes = sorted(note.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in notes[:-MAX_REMEMBERED]:
            old.unlink(missing_ok=True)
    except (OSError, RuntimeError):  # no home, or one that cannot be written: nothing is remembered
        return


def recall_finished(outputs: Sequence[StrPath], command: str) -> dict[str, Any] | None:
    """What is remembered of the run of this command that wrote these files, None if
    there is none.

    A file that was changed, replaced or removed since then makes it None.
    """
    try:
        entry = json.loads(_note(outputs[0]).read_text())
        files = [_state(path) for path in outputs]
        if entry["command"] != command or entry["files"] != files:
            return None
        told: dict[str, Any] = entry["told"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None
    return told


def told_of(output: StrPath) -> dict[str, Any]:
    """What the run that wrote this very file has told at its end, whichever command it
    was; empty if nothing is remembered, or the file has changed since.
    """
    try:
        entry = json.loads(_note(output).read_text())
        told: dict[str, Any] = (
            entry["told"]["summary"] if entry["files"][0] == _state(output) else {}
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError):
        return {}
    return told if isinstance(told, dict) else {}


def _note(output: StrPath) -> Path:
    name = sha256(os.path.realpath(output).encode("utf-8", "surrogatepass")).hexdigest()
    return cache_folder() / "finished" / f"{name[:32]}.json"


def _state(path: StrPath) -> list[int]:
    """What changes when a file is replaced or edited."""
    stat = os.stat(path)
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns]


def unwritable(path: StrPath, error: OSError | str) -> InputError:
    """What is raised if a file cannot be written, and why."""
    reason = error if isinstance(error, str) else error.strerror or error
    return InputError(
        f"cannot write {os.fspath(path)!r}: {reason}; give a path in a folder you can write to"
    )
