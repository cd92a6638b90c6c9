"""Shards on the disk: each is written by one process, in the folder of the run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equidrift.engine import conformers as engine
from equidrift.files.journal import Position
from equidrift.files.stream import StreamWriter
from equidrift.files.whole import write_json
from equidrift.scale.locks import holder
from equidrift.scale.shards import Shard

REFUSED = "refused.json"
SHARDS = ".shards"


def shard_name(index: int) -> str:
    """With which the names of all files of a shard begin."""
    return f"{index:06d}"


def shards_beside(output: str | os.PathLike[str]) -> Path:
    """The folder of the shards of an output: OUT.shards."""
    path = Path(output)
    return path.with_name(path.name + SHARDS)


class ShardWriter(StreamWriter):
    """Writes one shard, in the folder of the run's shards; its journal tells that it is
    whole.

    Parameters
    ----------
    path : str or PathLike
        `ShardFolder.path` of the shard.
    command : mapping
        What decides its result; a journal of another command is dropped.
    """

    waiting = 0  # conformers in shards of its own

    def __init__(self, path: str | os.PathLike[str], command: Mapping[str, Any]) -> None:
        super().__init__(path, command)

    def _open(self, overwrite: bool) -> None:
        del overwrite  # the folder is the run's own
        state = self._journal(overwrite=True)
        if state is None or not self._whole(state):
            self.discard()
            return
        self.state = state
        self.finished = state["closing"]

    def begin_at(self, start: Position) -> None:
        """Of a shard of which nothing is written: where it begins."""
        self.state["position"] = list(max(self.position, start))

    def finish(self) -> None:
        """From now on the shard is whole; it stays where it is."""
        self._begin()
        self.state["closing"] = True
        self._write_journal()
        self.window.unlink(missing_ok=True)
        self.finished = True

    @property
    def kept(self) -> int:
        """Conformers on the disk, those of the window that is being made included."""
        held = self.held()
        return int(self.summary.get("conformers", 0)) + (0 if held is None else held["valid"].sum())


class ShardFolder:
    """The folder in which the shards of a run wait for their turn.

    Parameters
    ----------
    path : Path
        Of the folder; made if it is not there.
    suffix : str
        Of the shards' format.
    command : str
        Fingerprint of everything that decides the run's result; shards of another are
        dropped.
    """

    def __init__(self, path: Path, suffix: str, command: str) -> None:
        self.folder, self.suffix, self.command = path, suffix, command
        self.folder.mkdir(exist_ok=True)

    @classmethod
    def at(cls, path: str, suffix: str, command: str) -> ShardFolder:
        """The folder of that name."""
        return cls(Path(path), suffix, command)

    def lock(self, index: int) -> Path:
        """The file that who writes that shard locks."""
        return self.folder / f"{shard_name(index)}.lock"

    def path(self, index: int) -> Path:
        """Of the shard of that number."""
        return self.folder / f"{shard_name(index)}{self.suffix}"

    def _refused(self, index: int) -> Path:
        return self.folder / f"{shard_name(index)}.{REFUSED}"

    def remember_refused(self, index: int, refused: Mapping[int, str]) -> None:
        """Note the molecules of a shard that end their process, for a later run."""
        told = {str(offset): reason for offset, reason in refused.items()}
        write_json(self._refused(index), {"command": self.command, "refused": told})

    def refused(self, index: int) -> dict[int, str]:
        """What `remember_refused` was told of a shard of this run."""
        try:
            told = json.loads(self._refused(index).read_text())
            if told["command"] != self.command:
                return {}
            return {int(offset): str(reason) for offset, reason in told["refused"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def writer(self, index: int, identity: Mapping[str, Any]) -> ShardWriter:
        """What writes that shard."""
        return ShardWriter(self.path(index), {"run": self.command, **identity})

    def remove(self, index: int) -> None:
        """Drop what is there of a shard."""
        for path in self.folder.glob(f"{shard_name(index)}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def kept(self, first: int) -> int:
        """Conformers in the shards from that number on."""
        journals = self.folder.glob(f"*{self.suffix}.journal")
        waiting = (path for path in journals if int(path.name[:6]) >= first)
        return sum(ShardLook(path.with_suffix("")).kept for path in waiting)

    def look(self, index: int, start: Position | None = None) -> ShardLook:
        """A shard of this run as it stands; `start`: where it begins, if within a molecule."""
        shard: Shard[Any] = Shard(index, start or (index * engine.SHARD_MOLECULES, 0), ())
        shard = shard.refusing(self.refused(index))
        return ShardLook(self.path(index), {"run": self.command, **shard.identity})

    def begun(self) -> list[int]:
        """Numbers of the shards that are whole or unfinished."""
        return sorted(int(path.name[:6]) for path in self.folder.glob(f"*{self.suffix}.journal"))

    def locked(self) -> dict[int, dict[str, Any]]:
        """Number of a shard -> who works on it."""
        told = {int(path.stem): holder(path) for path in sorted(self.folder.glob("*.lock"))}
        return {index: who for index, who in told.items() if who is not None}


class ShardLook(ShardWriter):
    """A shard as it stands, which is not changed: somebody may be writing it.

    `finished` tells whether it is whole, and of this run; without an identity any
    run's is.
    """

    def __init__(self, path: Path, command: Mapping[str, Any] | None = None) -> None:
        self._any = command is None
        super().__init__(path, command or {})

    def _open(self, overwrite: bool) -> None:
        del overwrite
        try:
            state = self._nothing() | json.loads(self.journal.read_text())
        except (OSError, ValueError):
            return
        own = self._any or state["command"] == self.command
        if own:
            self.state, self.command = state, state["command"]
        self.finished = bool(own and state["closing"])
