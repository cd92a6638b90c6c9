"""Shards through a pool of workers, out again in order; deaths of workers are dealt with.

A shard whose worker dies is done again by another one. After DEATHS deaths its
molecules are tried by halves, in workers whose results are thrown away, until the
molecules are found that end a process by themselves. Those are refused, and the shard
is done without them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from math import ceil
from typing import Any, Generic, TypeVar

from equidrift.errors import WorkerDiedError
from equidrift.scale.pool import Call, Pool
from equidrift.scale.shards import Shard

T = TypeVar("T")
DEATHS = 2  # of the workers on one shard, or on one molecule alone, before it is looked into
ROUNDS = 2  # searches for a molecule that is to blame, before the shard is given up
AHEAD = 4  # shards on their way or waiting for their turn, for each worker


class Trials(Generic[T]):
    """The search for the molecules of a shard that end their process."""

    def __init__(self, shard: Shard[T]) -> None:
        self.shard = shard
        self.guilty: dict[int, str] = {}
        self.open: dict[Future[Any], tuple[int, ...]] = {}
        self._deaths: Counter[int] = Counter()

    def begin(self) -> list[tuple[int, ...]]:
        """What is to be tried first: the halves of everything that is not refused yet."""
        return _halves([k for k in range(len(self.shard)) if k not in self.shard.refused])

    def died(self, offsets: tuple[int, ...], error: WorkerDiedError) -> list[tuple[int, ...]]:
        """What is to be tried after these have ended their worker."""
        if len(offsets) > 1:
            return _halves(offsets)
        self._deaths[offsets[0]] += 1
        if self._deaths[offsets[0]] < DEATHS:
            return [offsets]
        self.guilty[offsets[0]] = (
            f"it ends its process, alone and {DEATHS} times: {error}; leave it out, or give more "
            "memory (fewer workers, a smaller batch_size)"
        )
        return []


def _halves(offsets: list[int] | tuple[int, ...]) -> list[tuple[int, ...]]:
    half = ceil(len(offsets) / 2)
    return [part for part in (tuple(offsets[:half]), tuple(offsets[half:])) if part]


class Driver(Generic[T]):
    """Shards in, values out, in order; `run` is the whole of it.

    Parameters
    ----------
    pool : Pool
        Who does the work.
    call : callable
        The `Call` that does a shard.
    trial : callable
        The `Call` that does the molecules of a shard and throws the result away.
    refused : callable, optional
        Told a shard without the molecules that end their process, to remember them.
    """

    def __init__(
        self,
        pool: Pool,
        call: Callable[[Shard[T]], Call],
        trial: Callable[[Shard[T]], Call],
        refused: Callable[[Shard[T]], None] | None = None,
    ) -> None:
        self.pool, self.call, self.trial, self.refused = pool, call, trial, refused
        self._running: dict[Future[Any], Shard[T]] = {}
        self._trials: dict[int, Trials[T]] = {}
        self._deaths: Counter[int] = Counter()
        self._rounds: Counter[int] = Counter()

    def run(self, shards: Iterator[Shard[T]]) -> Iterator[tuple[Shard[T], Any]]:
        """Each shard with what its call returned, in order.

        Raises
        ------
        WorkerDiedError
            If the workers on a shard keep dying, and no molecule of it is to blame.
        EquidriftError
            Whatever a call raised.
        """
        begun: list[Shard[T]] = []  # in order; the first is the next to come out
        done: dict[int, Any] = {}
        ended = False
        while True:
            while not ended and self._room(len(begun)):
                shard = next(shards, None)
                if shard is None:
                    ended = True
                else:
                    begun.append(shard)
                    self._submit(shard)
            if not begun:
                return
            for shard, value in self._finished():
                done[shard.index] = value
                begun = [shard if shard.index == one.index else one for one in begun]
            while begun and begun[0].index in done:
                first = begun.pop(0)
                yield first, done.pop(first.index)

    def _room(self, begun: int) -> bool:
        busy = len(self._running) + sum(len(trials.open) for trials in self._trials.values())
        return busy <= self.pool.size and begun < AHEAD * self.pool.size

    def _submit(self, shard: Shard[T]) -> None:
        self._running[self.pool.submit(self.call(shard))] = shard

    def _finished(self) -> Iterator[tuple[Shard[T], Any]]:
        """Wait until something ends; the shards that are done."""
        tried = {future: trials for trials in self._trials.values() for future in trials.open}
        ended, _ = wait([*self._running, *tried], return_when=FIRST_COMPLETED)
        for future in ended:
            if future in tried:
                self._tried(tried[future], future)
                continue
            shard = self._running.pop(future)
            try:
                value = future.result()
            except WorkerDiedError as error:
                self._died(shard, error)
            else:
                yield shard, value

    def _died(self, shard: Shard[T], error: WorkerDiedError) -> None:
        self._deaths[shard.index] += 1
        if self._deaths[shard.index] < DEATHS:
            self._submit(shard)
            return
        if self._rounds[shard.index] == ROUNDS:
            raise _hopeless(shard, "none of these molecules does it alone", str(error))
        self._deaths[shard.index] = 0
        self._rounds[shard.index] += 1
        trials = Trials(shard)
        parts = trials.begin()
        if not parts:  # every molecule is refused, and the worker dies without them, too
            raise _hopeless(shard, "all of them are refused already", str(error))
        self._trials[shard.index] = trials
        self._try(trials, parts)

    def _try(self, trials: Trials[T], parts: list[tuple[int, ...]]) -> None:
        for offsets in parts:
            future = self.pool.submit(self.trial(trials.shard.only(offsets)))
            trials.open[future] = offsets

    def _tried(self, trials: Trials[T], future: Future[Any]) -> None:
        offsets = trials.open.pop(future)
        try:
            future.result()
        except WorkerDiedError as error:
            self._try(trials, trials.died(offsets, error))
        if trials.open:
            return
        del self._trials[trials.shard.index]
        if 1 < len(trials.guilty) == len(trials.shard) - len(trials.shard.refused):
            raise _hopeless(trials.shard, "each does it", next(iter(trials.guilty.values())))
        shard = trials.shard.refusing(trials.guilty)
        if trials.guilty and self.refused is not None:
            self.refused(shard)
        self._submit(shard)


def _hopeless(shard: Shard[Any], which: str, why: str) -> WorkerDiedError:
    first, last = shard.start[0], shard.start[0] + len(shard) - 1
    return WorkerDiedError(
        f"the workers on molecules {first} to {last} of the input keep dying, and {which} ({why}); "
        "give each worker more memory: fewer workers, or a smaller batch size"
    )
