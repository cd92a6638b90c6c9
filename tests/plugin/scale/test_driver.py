"""Shards through workers that die: what comes out, in which order, and who is blamed."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equidrift.errors import WorkerDiedError
from equidrift.scale.driver import AHEAD, Driver
from equidrift.scale.pool import Call
from equidrift.scale.shards import Shard, shards_of

SIZE = 8


class Workers:
    """Calls run at once; a molecule named in `fatal` ends its worker as often as said."""

    def __init__(self, size: int = 2, fatal: dict[int, int] | None = None, most: int = 99) -> None:
        self.size, self.most = size, most
        self.left = Counter(fatal or {})
        self.calls: Counter[str] = Counter()

    def submit(self, call: Call) -> Future[Any]:
        future: Future[Any] = Future()
        (shard,) = call.args
        self.calls[call.what] += 1
        alive = [entry for k, entry in enumerate(shard.entries) if k not in shard.refused]
        deadly = [entry for entry in alive if self.left[entry] > 0]
        for entry in deadly[:1]:
            self.left[entry] -= 1
        if deadly or len(alive) > self.most:
            future.set_exception(WorkerDiedError("died (SIGKILL)", 9))
        else:
            future.set_result(alive)
        return future

    def close(self) -> None:
        """Nothing runs."""


def outcome(pool: Workers, count: int, start: tuple[int, int] = (0, 0)) -> list[Any]:
    driver = Driver(
        pool,
        lambda shard: Call(print, (shard,), "shard"),
        lambda shard: Call(print, (shard,), "trial"),
    )
    return list(driver.run(shards_of(iter(range(start[0], count)), start, SIZE)))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 5))
def test_shards_begin_at_multiples_of_their_size_wherever_a_run_goes_on(
    count: int, done: int, samples: int
) -> None:
    made = list(shards_of(iter(range(done, count)), (done, samples), SIZE))
    assert [entry for shard in made for entry in shard.entries] == list(range(done, count))
    assert all(shard.start[0] // SIZE == shard.index for shard in made)
    assert all(shard.start[0] % SIZE == 0 and shard.start[1] == 0 for shard in made[1:])


@given(st.integers(1, 4), st.dictionaries(st.integers(0, 39), st.integers(1, 2), max_size=4))
def test_everything_comes_out_in_order_when_workers_die_by_chance(
    size: int, fatal: dict[int, int]
) -> None:
    # each of them dies once or twice, whatever it is doing, and then no more
    out = outcome(Workers(size, fatal), 40)
    assert [shard.index for shard, _ in out] == list(range(5))
    made = [entry for _, alive in out for entry in alive]
    refused = [shard.entries[k] for shard, _ in out for k in shard.refused]
    assert sorted(made + refused) == list(range(40)) and set(refused) <= set(fatal)


@given(st.sets(st.integers(0, 39), min_size=1, max_size=5))
def test_exactly_the_molecules_that_always_kill_are_refused(fatal: set[int]) -> None:
    out = outcome(Workers(2, dict.fromkeys(fatal, 10**6)), 40)
    assert [entry for _, alive in out for entry in alive] == sorted(set(range(40)) - fatal)
    refused = {shard.entries[k]: why for shard, _ in out for k, why in shard.refused.items()}
    assert set(refused) == fatal and all("SIGKILL" in why for why in refused.values())


def test_run_ends_with_advice_when_no_molecule_is_to_blame() -> None:
    with pytest.raises(WorkerDiedError, match=r"molecules 0 to 7 .* more memory"):
        outcome(Workers(2, most=4), 8)  # half a shard fits into the memory, a whole one does not


def test_run_ends_when_every_molecule_kills_its_worker() -> None:
    with pytest.raises(WorkerDiedError, match="each does it"):
        outcome(Workers(2, dict.fromkeys(range(8), 10**6)), 8)


def test_run_ends_when_a_worker_dies_with_every_molecule_refused() -> None:
    shard = Shard(0, (0, 0), (1, 2), dict.fromkeys(range(2), "it ends its process"))
    driver = Driver(
        Workers(2, most=-1),  # no molecule is needed to end it
        lambda shard: Call(print, (shard,), "shard"),
        lambda shard: Call(print, (shard,), "trial"),
    )
    with pytest.raises(WorkerDiedError, match="all of them are refused already"):
        list(driver.run(iter([shard])))


def test_input_is_read_no_further_than_the_workers_need() -> None:
    read = []

    def endless():
        for k in range(10**9):
            read.append(k)
            yield k

    driver = Driver(
        Workers(2),
        lambda shard: Call(print, (shard,), "shard"),
        lambda shard: Call(print, (shard,), "trial"),
    )
    run = driver.run(shards_of(endless(), (0, 0), SIZE))
    for _ in range(3):
        next(run)
    assert len(read) <= SIZE * (3 + 2 * AHEAD)
