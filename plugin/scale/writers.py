"""Shards gathered in order: into a file, or printed."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from equidrift.errors import InputError
from equidrift.files.formats import STDOUT, suffix_of
from equidrift.files.journal import AnyPath, Inputs, Position, Told
from equidrift.files.stdout import StandardOutput
from equidrift.files.stream import StreamWriter
from equidrift.outputs import moment
from equidrift.scale.folder import ShardFolder, ShardWriter, shards_beside
from equidrift.scale.manifest import check_manifest, put_manifest
from equidrift.scale.shards import index_of


class GatheringWriter(StreamWriter):
    """A `StreamWriter` that takes in whole shards, which wait in OUT.shards; it takes the
    same arguments.
    """

    def __init__(
        self, path: AnyPath, command: Told, *, inputs: Inputs = (), overwrite: bool = False
    ) -> None:
        self.identity = dict(command)
        self.shards = shards_beside(path)
        self._opened = False  # until then shards are not dropped: they may be this run's
        try:
            check_manifest(self.shards, command)
        except InputError:
            if not overwrite:
                raise
            shutil.rmtree(self.shards)
        super().__init__(path, command, inputs=inputs, overwrite=overwrite)
        self._opened = True

    def start(self) -> None:
        """Put down whose run this is, before any other process works for it."""
        self._begin()
        put_manifest(self.folder.folder, self.path, self.identity)

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
        """Add a whole shard, and what failed in it; the run has come to `position`."""
        self._begin()
        self._fail(shard.summary.get("failures", ()))
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

    def finish(self) -> None:
        """Move what was written to OUT, and drop the shards."""
        super().finish()
        shutil.rmtree(self.shards, ignore_errors=True)

    def discard(self) -> None:
        """Remove everything unfinished, the shards first."""
        if self._opened:
            shutil.rmtree(self.shards, ignore_errors=True)
        super().discard()


class GatheredOutput(StandardOutput):
    """Prints whole shards, which wait in a temporary folder."""

    command = "standard output"
    identity: Mapping[str, Any] = MappingProxyType({})  # nothing could be taken up
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
        self.fail(shard.summary.get("failures", ()))
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
    path: AnyPath, command: Told, *, inputs: Inputs = (), overwrite: bool = False
) -> Gatherer:
    """A `GatheringWriter`, or what prints for "-"; errors as `StreamWriter`."""
    if os.fspath(path) == STDOUT:
        return GatheredOutput()
    return GatheringWriter(path, command, inputs=inputs, overwrite=overwrite)
