"""Batches of draws that workers make before they are asked for.

Which batch a run draws next depends on what the batches before it have found, but only
at its end: until then all are of full size. So they are guessed; a guess that turns out
wrong is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from equidrift.scale.driver import Driver
from equidrift.scale.pool import Call, Pool
from equidrift.scale.shards import Shard


class Ahead:
    """Takes the place of a function (first, count) -> draws.

    Parameters
    ----------
    pool : Pool
        Draws.
    call : callable
        The `Call` that makes the draws of a shard; its entries are their numbers.
    size : int
        Draws in a batch of full size.
    expected : callable
        How many draws the run will probably still need.
    """

    def __init__(
        self,
        pool: Pool,
        call: Callable[[Shard[int]], Call],
        size: int,
        expected: Callable[[], int],
    ) -> None:
        self.pool, self.call, self.size, self.expected = pool, call, size, expected
        self._coming: Iterator[tuple[Shard[int], Any]] = iter(())
        self._guessed: list[tuple[int, int]] = []  # (first, count) of what is coming

    def __call__(self, first: int, count: int) -> Any:
        """The draws; errors as `Driver.run`."""
        if self._guessed[:1] != [(first, count)]:
            self._guessed = list(self._guesses(first, count))
            shards = [
                Shard(k, (begin, 0), tuple(range(begin, begin + n)), noun="draws")
                for k, (begin, n) in enumerate(self._guessed)
            ]
            self._coming = Driver(self.pool, self.call, self.call).run(iter(shards))
        self._guessed.pop(0)
        _, draws = next(self._coming)
        return draws

    def _guesses(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        yield first, count
        end = first + self.expected()
        first += count
        while count == self.size and first + self.size <= end:
            yield first, self.size
            first += self.size
