"""Work that several processes share: what the commands have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from equidrift.cli.signals import ended_by_signals
from equidrift.errors import InputError, LockedError
from equidrift.scale.driver import Driver
from equidrift.scale.folder import ShardFolder, ShardWriter
from equidrift.scale.locks import exclusive, this_run
from equidrift.scale.merging import summed
from equidrift.scale.pool import Call, Pool
from equidrift.scale.shards import Shard
from equidrift.scale.writers import Gatherer


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

    @classmethod
    def of(cls, folder: ShardFolder) -> Place:
        """The place of a folder, for the workers of this process."""
        path = str(folder.folder.absolute())
        return cls(path, folder.suffix, folder.command, this_run())

    @contextmanager
    def writing(self, shard: Shard[Any]) -> Iterator[ShardWriter]:
        """In a worker: what writes a shard, which no other process of this machine does
        meanwhile. An end by SIGTERM brings to disk what is done.
        """
        folder = ShardFolder.at(self.folder, self.suffix, self.command)
        with ended_by_signals(), exclusive(folder.lock(shard.index), self.run):
            writer = folder.writer(shard.index, shard.identity)
            writer.begin_at(shard.start)
            try:
                yield writer
            except KeyboardInterrupt:
                writer.flush()
                raise


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
    """

    request: Any  # every command has its own, and only its functions look into it
    function: Callable[..., Any]
    trial: Callable[..., Any]


def make_shard(work: Work, shard: Shard[Any], place: Place) -> str:
    """In a worker: make a shard; why it cannot be made now, empty if it is."""
    try:
        work.function(work.request, shard, place)
    except LockedError as error:
        return str(error)
    return ""


def made(
    work: Work, shards: Iterator[Shard[Any]], folder: ShardFolder, pool: Pool
) -> Iterator[tuple[Shard[Any], str]]:
    """Every shard, in order, once the workers of a pool have made it.

    Parameters
    ----------
    work : Work
        Of the command.
    shards : iterator
        To be made.
    folder : ShardFolder
        Where they are put.
    pool : Pool
        Does the work, and is closed by the caller.

    Yields
    ------
    Shard, str
        And why it was not made: somebody else works on it. Empty if it is.
    """
    place = Place.of(folder)

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

    Raises
    ------
    LockedError
        If somebody else works on a shard.
    """
    writer.start()
    folder = writer.folder
    for shard, locked in made(work, shards, folder, pool):
        if locked:
            raise LockedError(locked)
        done = folder.writer(shard.index, shard.identity)
        add_counts(counts, done.summary)
        writer.adopt(done, done.position, counts)
        folder.remove(shard.index)


def add_counts(counts: dict[str, Any], further: Mapping[str, Any]) -> None:
    """Add counts of a shard to those of the run: numbers, lists, and counts by reason."""
    for name, value in further.items():
        if isinstance(value, Mapping):
            counts[name] = summed(counts[name], value)
        else:
            counts[name] = counts[name] + value
