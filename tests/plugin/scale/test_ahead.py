"""Draws that are made before they are asked for are the draws that are asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from equidrift.scale.ahead import Ahead
from equidrift.scale.pool import Call
from tests.plugin.scale.test_driver import Workers


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=12),
    st.integers(0, 40),
    st.dictionaries(st.integers(0, 20), st.integers(1, 2), max_size=2),
)
def test_draws_are_those_that_were_asked_for_whatever_was_guessed(
    counts: list[int], expected: int, fatal: dict[int, int]
) -> None:
    # `Workers` returns the entries of a shard that are not refused
    pool = Workers(2, fatal)
    drawing = Ahead(pool, lambda shard: Call(print, (shard,), "draws"), 4, lambda: expected)
    first = 0
    for count in counts:
        made = drawing(first, count)
        assert set(range(first, first + count)) - set(made) <= set(fatal)
        assert set(made) <= set(range(first, first + count))
        first += count


def test_whole_batches_are_drawn_once_when_the_guess_is_right() -> None:
    pool = Workers(2)
    drawing = Ahead(pool, lambda shard: Call(print, (shard,), "draws"), 4, lambda: 40)
    for first in range(0, 40, 4):
        assert drawing(first, 4) == list(range(first, first + 4))
    assert pool.calls["draws"] == 10
