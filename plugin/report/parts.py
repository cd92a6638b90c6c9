"""What a page is made of: facts, tables, figures, and molecules that can be turned."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

CARDS_A_PAGE = 24  # molecules in the grid at once; more are drawn when their page is asked for

Card = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A plot: inline SVG, what it shows in words, and whether it takes a whole row."""

    svg: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under columns, also offered as a CSV file."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    shown: int = 200  # rows that stand in the page; the CSV holds all


@dataclass(frozen=True)
class Section:
    """One result.

    Parameters
    ----------
    title, kind : str
        Name of the result, and what it is in words.
    facts : mapping of str to str
        What stands in its head: model, seed, counts, provenance.
    warnings, notes : sequence of str
        Lines that stand out, and lines that do not.
    figures : sequence of Figure
        In the order of the page.
    tables : sequence of Table
        Below the figures.
    chunks : sequence of str
        Molecules, `CARDS_A_PAGE` in each, as `packed` makes them.
    n_cards : int
        How many molecules these are.
    """

    title: str
    kind: str
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    chunks: Sequence[str] = ()
    n_cards: int = 0


def packed(cards: Iterable[Card]) -> Iterator[str]:
    """Cards as base64 of deflated JSON, `CARDS_A_PAGE` in each piece."""
    source = iter(cards)
    while page := list(islice(source, CARDS_A_PAGE)):
        text = json.dumps(page, separators=(",", ":"), allow_nan=False)
        yield base64.b64encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")
