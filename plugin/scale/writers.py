"""Shards on the disk: each is written by one process, and gathered in order by another."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from equidrift.files.formats import STDOUT, suffix_of
from equidrift.files.journal import Position
from equidrift.files.stdout import StandardOutput
from equidrift.files.stream import StreamWriter
from equidrift.outputs import moment
from equidrift.scale.shards import index_of

REFUSED = "refused.json"


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
        return self.folder / f"{index:06d}.lock"

    def path(self, index: int) -> Path:
        """Of the shard of that number."""
        return self.folder / f"{index:06d}{self.suffix}"

    def _refused(self, index: int) -> Path:
        return self.folder / f"{index:06d}.{REFUSED}"

    def remember_refused(self, index: int, refused: Mapping[int, str]) -> None:
        """Note the molecules of a shard that end their process, for a later run."""
        path = self._refused(index)
        fresh = path.with_name(path.name + ".new")
        told = {str(offset): reason for offset, reason in refused.items()}
        fresh.write_text(json.dumps({"command": self.command, "refused": told}))
        os.replace(fresh, path)

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
        for path in self.folder.glob(f"{index:06d}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def kept(self, first: int) -> int:
        """Conformers in the shards from that number on."""
        journals = self.folder.glob(f"*{self.suffix}.journal")
        waiting = (path for path in journals if int(path.name[:6]) >= first)
        return sum(_Look(path.with_suffix("")).kept for path in waiting)


class _Look(ShardWriter):
    """A shard as it stands, whose ever it is, which is not changed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, {})

    def _open(self, overwrite: bool) -> None:
        del overwrite
        try:
            self.state = self._nothing() | json.loads(self.journal.read_text())
        except (OSError, ValueError):
            return
        self.command = self.state["command"]


class GatheringWriter(StreamWriter):
    """A `StreamWriter` that takes in whole shards, which wait in OUT.shards."""

    @property
    def shards(self) -> Path:
        """The folder of the shards."""
        return self.path.with_name(self.path.name + ".shards")

    def start(self) -> None:
        """Put down whose run this is, before any other process works for it."""
        self._begin()

    def _has_work(self, state: Mapping[str, Any]) -> bool:
        return self.shards.exists() or super()._has_work(state)

    @property
    def shards_wait(self) -> bool:
        """Whether there are shards of this run."""
        return self.shards.is_dir()

    @property
    def waiting(self) -> int:
        """Conformers in shards that have not been taken in."""
        return self.folder.kept(index_of(self.position)) if self.shards_wait else 0

    @property
    def folder(self) -> ShardFolder:
        """The folder of the shards, which is made."""
        return ShardFolder(self.shards, self.suffix, self.command)

    def adopt(self, shard: ShardWriter, position: Position, summary: Mapping[str, Any]) -> None:
        """Add a whole shard; the run has come to `position`."""
        self._begin()
        size = self.state["size"]
        count = shard.state["size"]
        if self.appended:
            with open(self.part, "ab") as target:
                if count:
                    with open(shard.part, "rb") as source:
                        shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
        else:
            for k in range(count):
                with open(self.piece(size + k), "wb") as target:
                    target.write(shard.piece(k).read_bytes())
                    os.fsync(target.fileno())
            size += count
        self._record(position, size, summary)
        moment("shard gathered")

    def discard(self) -> None:
        """Remove everything unfinished, the shards first."""
        shutil.rmtree(self.shards, ignore_errors=True)
        super().discard()


class GatheredOutput(StandardOutput):
    """Prints whole shards, which wait in a temporary folder."""

    command = "standard output"
    shards_wait, waiting = False, 0

    def start(self) -> None:
        """Nothing could be taken up."""

    @cached_property
    def shards(self) -> Path:
        """The folder of the shards."""
        return Path(tempfile.mkdtemp(prefix="equidrift-"))

    @property
    def folder(self) -> ShardFolder:
        """The folder of the shards."""
        return ShardFolder(self.shards, suffix_of(STDOUT), self.command)

    def adopt(self, shard: ShardWriter, position: Position, summary: Mapping[str, Any]) -> None:
        """Print the records of a whole shard."""
        del position, summary
        if shard.state["size"]:
            with open(shard.part, encoding="utf-8") as source:
                shutil.copyfileobj(source, sys.stdout)
        sys.stdout.flush()

    def finish(self) -> None:
        """Remove the temporary folder, if there is one."""
        if "shards" in self.__dict__:
            shutil.rmtree(self.shards, ignore_errors=True)

    discard = finish


Gatherer = GatheringWriter | GatheredOutput


def open_gathering(
    path: str | os.PathLike[str],
    command: Mapping[str, Any],
    *,
    inputs: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = False,
) -> Gatherer:
    """A `GatheringWriter`, or what prints for "-"; errors as `StreamWriter`."""
    if os.fspath(path) == STDOUT:
        return GatheredOutput()
    return GatheringWriter(path, command, inputs=inputs, overwrite=overwrite)
