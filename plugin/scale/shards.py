"""Shards: runs of consecutive molecules, cut the same way whoever works on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, TypeVar

from equidrift.engine import conformers as engine
from equidrift.errors import MoleculeError
from equidrift.files.journal import Position

T = TypeVar("T")


def index_of(position: Position) -> int:
    """The number of the shard that a run at this position works on."""
    return position[0] // engine.SHARD_MOLECULES


@dataclass(frozen=True, eq=False)
class Shard(Generic[T]):
    """Consecutive entries of an input.

    Parameters
    ----------
    index : int
        Its number among all shards, from 0.
    start : (int, int)
        Molecules done before it, and samples done of its first: where it begins.
    entries : tuple
        What the command makes of its molecules, one for each.
    refused : mapping
        Offset in `entries` -> why that one is not worked on: it has ended its process
        twice.
    noun : str
        What the entries are, for messages.
    """

    index: int
    start: Position
    entries: tuple[T, ...]
    refused: Mapping[int, str] = field(default_factory=dict)
    noun: str = "molecules"

    def __len__(self) -> int:
        return len(self.entries)

    def refusing(self, further: Mapping[int, str]) -> Shard[T]:
        """The shard without some of its entries."""
        return replace(self, refused={**self.refused, **further})

    def only(self, offsets: Iterable[int]) -> Shard[T]:
        """A shard of some of the entries, for a trial whose result is thrown away."""
        return replace(self, entries=tuple(self.entries[k] for k in offsets), start=(0, 0))

    def with_errors(self) -> list[T | MoleculeError]:
        """The entries, an error in the place of each that is refused."""
        return [
            MoleculeError(self.refused[k]) if k in self.refused else entry
            for k, entry in enumerate(self.entries)
        ]

    @property
    def named(self) -> str:
        """What is worked on, for messages."""
        first = self.start[0]
        return f"the work on {self.noun} {first} to {first + len(self) - 1}"

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes its result from that of another shard of the run."""
        refused = {str(offset): self.refused[offset] for offset in sorted(self.refused)}
        return {"start": list(self.start), "refused": refused}


def shards_of(
    entries: Iterator[T], start: Position = (0, 0), size: int | None = None
) -> Iterator[Shard[T]]:
    """Entries cut into shards, one at a time.

    Parameters
    ----------
    entries : iterator
        Of the input, from the first that is not done.
    start : (int, int)
        Where an earlier process has come; the first shard ends where it would have.
    size : int, optional
        Molecules in a shard; None for the number that every command has.
    """
    size = size or engine.SHARD_MOLECULES
    first, samples = start
    while part := tuple(islice(entries, size - first % size)):
        yield Shard(first // size, (first, samples), part)
        first, samples = first + len(part), 0
