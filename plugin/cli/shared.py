"""Work that several processes share: what the commands have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from equidrift.cli.checked import blamed_on
from equidrift.cli.signals import ended_by_signals
from equidrift.errors import InputError, LockedError
from equidrift.files.failures import add_counts
from equidrift.progress import Report
from equidrift.scale.driver import Driver
from equidrift.scale.folder import Folder, ShardFolder, ShardWriter, shard_name
from equidrift.scale.locks import exclusive, this_run
from equidrift.scale.manifest import MANIFEST
from equidrift.scale.pool import Call, Pool
from equidrift.scale.shards import Shard
from equidrift.scale.stores import Store, claim_store, store_at
from equidrift.scale.writers import Gatherer

F = TypeVar("F", bound=Folder)


class Countable(Protocol):
    """An input whose molecules can be counted beforehand."""

    def count(self, limit: int) -> int:
        """How many there are, `limit` if they are as many or more."""
        ...


def check_workers(workers: int | None, read: Countable) -> None:
    """Refuse more workers than there are molecules."""
    if workers is None or workers == 1:
        return
    found = read.count(workers)
    if found < workers:
        raise InputError(
            f"--workers {workers} is more than the {found} molecules of the input; "
            f"give {max(found, 1)} at most"
        )


def workers_of(asked: int | None, writer: Gatherer) -> int | None:
    """How many workers a run has: one, if it goes on with shards and none are asked for."""
    return 1 if asked is None and writer.shards_wait else asked


@dataclass(frozen=True)
class Place:
    """Where the shards of a run are, as its workers are told."""

    folder: str
    suffix: str
    command: str
    run: str
    store: str | None = None

    @classmethod
    def of(cls, folder: Folder, store: str | None = None) -> Place:
        """The place of a folder, or of the store in its stead, for the workers of this
        process.
        """
        path = str(folder.folder.absolute())
        return cls(path, folder.suffix, folder.command, this_run(), store)

    @contextmanager
    def writing(self, shard: Shard[Any]) -> Iterator[ShardWriter]:
        """In a worker: what writes a shard, which no other process of this machine does
        meanwhile. An end by SIGTERM brings to disk what is done.
        """
        with self.held(shard, ShardFolder) as folder:
            writer = folder.writer(shard.index, shard.identity)
            writer.begin_at(shard.start)
            try:
                yield writer
            except KeyboardInterrupt:
                writer.flush()
                raise

    @contextmanager
    def held(self, shard: Shard[Any], kind: type[F]) -> Iterator[F]:
        """In a worker: the folder of a shard, which no other process of this machine
        makes meanwhile.
        """
        folder = kind.at(self.folder, self.suffix, self.command)
        with ended_by_signals(), exclusive(folder.lock(shard.index), self.run):
            yield folder


@dataclass(frozen=True)
class Work:
    """What the workers of a run do.

    Parameters
    ----------
    request : object
        The command's, which can be pickled.
    function : callable
        function(request, shard, place) makes a shard.
    trial : callable
        trial(request, shard) makes its molecules and throws the result away.
    store : str, optional
        URL of the folder where the shards are put; None is OUT.shards.
    """

    request: Any  # every command has its own, and only its functions look into it
    function: Callable[..., Any]
    trial: Callable[..., Any]
    store: str | None = None


def make_shard(work: Work, shard: Shard[Any], place: Place) -> str:
    """In a worker: make a shard; why it cannot be made now, empty if it is."""
    try:
        if place.store is None:
            work.function(work.request, shard, place)
        else:
            _make_apart(work, shard, place, store_at(place.store))
    except LockedError as error:
        return str(error)
    return ""


def _make_apart(work: Work, shard: Shard[Any], place: Place, store: Store) -> None:
    """Make a shard in a folder of this node, and copy it to the store when it is whole."""
    with tempfile.TemporaryDirectory(prefix="equidrift-") as folder:
        store.fetch(Path(folder), shard_name(shard.index))
        work.function(work.request, shard, replace(place, folder=folder, store=None))
        store.put(Path(folder), shard_name(shard.index))


def made(
    work: Work, shards: Iterator[Shard[Any]], folder: Folder, pool: Pool
) -> Iterator[tuple[Shard[Any], str]]:
    """Every shard, in order, once the workers of a pool have made it.

    Parameters
    ----------
    work : Work
        Of the command.
    shards : iterator
        To be made.
    folder : Folder
        Where they are put.
    pool : Pool
        Does the work, and is closed by the caller.

    Yields
    ------
    Shard, str
        And why it was not made: somebody else works on it. Empty if it is.
    """
    place = Place.of(folder, work.store)

    def call(shard: Shard[Any]) -> Call:
        return Call(make_shard, (work, shard, place), shard.named)

    def trial(shard: Shard[Any]) -> Call:
        return Call(work.trial, (work.request, shard), shard.named)

    def refused(shard: Shard[Any]) -> None:
        folder.remember_refused(shard.index, shard.refused)

    known = (shard.refusing(folder.refused(shard.index)) for shard in shards)
    yield from Driver(pool, call, trial, refused).run(known)


def gather(
    work: Work,
    shards: Iterator[Shard[Any]],
    writer: Gatherer,
    counts: dict[str, Any],
    pool: Pool,
    report: Report | None = None,
) -> None:
    """Every shard by the workers of a pool, and in order into the writer.

    Parameters
    ----------
    work : Work
        As for `made`.
    shards : iterator
        From the writer's position on.
    writer : GatheringWriter or GatheredOutput
        Takes the shards.
    counts : dict
        Of the run, to which those of each shard are added.
    pool : Pool
        As for `made`.
    report : callable, optional
        Called with the conformers of each shard, if the pool cannot tell them as they
        come.

    Raises
    ------
    LockedError
        If somebody else works on a shard.
    """
    writer.start()
    folder, store = writer.folder, None
    if work.store is not None:
        with blamed_on("--store"):
            store = claim_store(work.store, folder.folder, writer.identity)
    for shard, locked in made(work, shards, folder, pool):
        if locked:
            raise LockedError(locked)
        if store is not None:
            store.fetch(folder.folder, shard_name(shard.index))
        done = folder.writer(shard.index, shard.identity)
        add_counts(counts, done.summary)
        writer.adopt(done, done.position, counts)
        folder.remove(shard.index)
        if store is not None:
            store.remove(shard_name(shard.index))
        if report is not None:
            made_here = int(done.summary.get("conformers", 0))
            report({"accepted": made_here, "drawn": int(done.summary.get("drawn", made_here))})
    if store is not None:
        store.remove(MANIFEST)
