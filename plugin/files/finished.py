"""Finished runs, remembered in the user's cache so that the same command knows its files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from equidrift.files.whole import write_json
from equidrift.outputs import StrPath

MAX_REMEMBERED = 1000  # finished runs in the user's cache; the oldest go first


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
        write_json(note, entry)
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
