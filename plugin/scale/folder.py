"""Shards on the disk: each is written by one process, in the folder of the run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from equidrift.engine import conformers as engine
from equidrift.files.failures import Failures
from equidrift.files.journal import Position
from equidrift.files.stream import StreamWriter
from equidrift.files.whole import write_json
from equidrift.scale.locks import holder
from equidrift.scale.manifest import TOTAL, put_total
from equidrift.scale.shards import Shard
from equidrift.scale.stores import Store

REFUSED = "refused.json"
JOURNAL = ".journal"  # ends the name of the file that tells that a shard is whole
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


class Folder:
    """The folder in which the shards of a run wait for their turn, whatever they hold.

    Parameters
    ----------
    path : Path
        Of the folder; made if it is not there.
    suffix : str
        Of the shards' format.
    command : str
        Fingerprint of everything that decides the run's result; shards of another are
        dropped.
    store : Store, optional
        Where the shards are put, if not here; `refresh` and `bring` copy what is asked
        of them.
    """

    telling: tuple[str, ...] = ()  # ends of the names of files that tell what is whole
    spare = 0  # shards that a merge makes by itself, if they are missing

    def __init__(self, path: Path, suffix: str, command: str, store: Store | None = None) -> None:
        self.folder, self.suffix, self.command, self.store = path, suffix, command, store
        self.folder.mkdir(exist_ok=True)

    @classmethod
    def at(cls, path: str, suffix: str, command: str) -> Self:
        """The folder of that name."""
        return cls(Path(path), suffix, command)

    def begun(self) -> list[int]:
        """Numbers of the shards that are whole or unfinished."""
        raise NotImplementedError

    def counts(self, index: int) -> dict[str, Any] | None:
        """What a shard of this run holds, None if it is not whole."""
        raise NotImplementedError

    def refresh(self) -> None:
        """See in the store how far the shards of all jobs are."""
        if self.store is not None:
            self.store.complete(self.folder, self.telling)

    def bring(self, index: int) -> None:
        """See in the store that a shard is whole."""
        if self.store is not None:
            for ending in self.telling:
                self.store.fetch(self.folder, shard_name(index), ending)

    def put_total(self, molecules: int, shards: int, unread: Failures = ()) -> None:
        """See `equidrift.scale.manifest.put_total`."""
        put_total(self.folder, molecules, shards, unread)
        if self.store is not None:
            self.store.put(self.folder, TOTAL)

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
        path = self._refused(index)
        write_json(path, {"command": self.command, "refused": told})
        if self.store is not None:
            self.store.put(self.folder, path.name)

    def refused(self, index: int) -> dict[int, str]:
        """What `remember_refused` was told of a shard of this run."""
        try:
            told = json.loads(self._refused(index).read_text())
            if told["command"] != self.command:
                return {}
            return {int(offset): str(reason) for offset, reason in told["refused"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def remove(self, index: int) -> None:
        """Drop what is there of a shard."""
        for path in self.folder.glob(f"{shard_name(index)}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def locked(self) -> dict[int, dict[str, Any]]:
        """Number of a shard -> who works on it."""
        told = {int(path.stem): holder(path) for path in sorted(self.folder.glob("*.lock"))}
        return {index: who for index, who in told.items() if who is not None}


class ShardFolder(Folder):
    """A folder of shards of molecules, each with a journal; it takes what `Folder` takes."""

    telling = (JOURNAL, REFUSED)

    def writer(self, index: int, identity: Mapping[str, Any]) -> ShardWriter:
        """What writes that shard."""
        return ShardWriter(self.path(index), {"run": self.command, **identity})

    def counts(self, index: int) -> dict[str, Any] | None:
        """What a shard of this run holds, None if it is not whole."""
        look = self.look(index)
        return look.summary if look.finished else None

    def kept(self, first: int) -> int:
        """Conformers in the shards from that number on."""
        journals = self.folder.glob(f"*{self.suffix}{JOURNAL}")
        waiting = (path for path in journals if int(path.name[:6]) >= first)
        return sum(ShardLook(path.with_suffix("")).kept for path in waiting)

    def look(self, index: int, start: Position | None = None) -> ShardLook:
        """A shard of this run as it stands; `start`: where it begins, if within a molecule."""
        shard: Shard[Any] = Shard(index, start or (index * engine.SHARD_MOLECULES, 0), ())
        shard = shard.refusing(self.refused(index))
        return ShardLook(self.path(index), {"run": self.command, **shard.identity})

    def begun(self) -> list[int]:
        """Numbers of the shards that are whole or unfinished."""
        return sorted(int(path.name[:6]) for path in self.folder.glob(f"*{self.suffix}{JOURNAL}"))


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
