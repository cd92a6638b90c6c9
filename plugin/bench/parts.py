"""Benchmarks of several parts: all of them, or some, into the table of an earlier run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import Row, earlier_result, merged, table
from equidrift.errors import UnknownNameError
from equidrift.files.data import VARIABLE, data_given
from equidrift.files.whole import write_json

Parts = Mapping[str, Callable[[], Iterable[Row]]]  # a part's name to what measures it


class Run(Protocol):
    """What measures a benchmark of several parts."""

    def __call__(
        self,
        full: bool = False,
        progress: Progress | None = None,
        parts: str | None = None,
        into: str | None = None,
    ) -> dict[str, Any]:
        """The table as one object; see `benchmark`."""
        ...


def benchmark(name: str, parts_of: Callable[[bool, Progress], Parts]) -> Run:
    """The `run` of a benchmark.

    Parameters
    ----------
    name : str
        Of the benchmark.
    parts_of : callable
        (whether the long form is wanted, who is told what is next) -> its parts.
    """

    def run(
        full: bool = False,
        progress: Progress | None = None,
        parts: str | None = None,
        into: str | None = None,
    ) -> dict[str, Any]:
        """The table as one object.

        Parameters
        ----------
        full : bool, optional
            The long form; see `parts_of`.
        progress : callable, optional
            Called with a line of text before every row.
        parts, into : str, optional
            `only` and `into` of `measured`, whose errors it raises. Parts whose data is
            not in the folder EQUIDRIFT_DATA have no rows.
        """
        return measured(name, parts_of(full, progress or silent), parts, into)

    return run


def chosen_parts(text: str | None, parts: Collection[str]) -> list[str]:
    """The parts that are named with commas between them, in the benchmark's own order;
    all for None.

    Raises
    ------
    UnknownNameError
        For a part that the benchmark does not have; the message lists those it has.
    """
    if text is None:
        return list(parts)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in parts:
            raise UnknownNameError("part (--parts)", name, parts)
    return [name for name in parts if name in names]


def measured(name: str, parts: Parts, only: str | None, into: str | None) -> dict[str, Any]:
    """A benchmark's table.

    Parameters
    ----------
    name : str
        Of the benchmark.
    parts : mapping
        Name of a part to what measures its rows, in the order of the table.
    only : str or None
        Names of parts, with commas between them; None measures all.
    into : str or None
        A JSON file that the rows are put into after every part; its other rows stay,
        with the commit that they were measured at.

    Raises
    ------
    InputError
        If `into` cannot be written, or holds no result of this benchmark;
        UnknownNameError for another part: all before anything is measured.
    """
    chosen = chosen_parts(only, parts)
    earlier = None if into is None else earlier_result(Path(into), name)
    result = table(name, [])
    for part in chosen:
        result["rows"] += parts[part]()
        if into is not None:
            write_json(Path(into), merged(earlier, result))
    return result


def of_data(
    part: str, files: Sequence[str], rows: Callable[[Path], list[Row]], say: Progress
) -> list[Row]:
    """The rows of a part that reads files of EQUIDRIFT_DATA; without them none, and a
    line that tells so.

    Parameters
    ----------
    part : str
        Its name, for the line.
    files : sequence of str
        Relative to the folder.
    rows : callable
        Given the folder.
    """
    folder = data_given()
    missing = [name for name in files if folder is None or not (folder / name).exists()]
    if folder is None or missing:
        place = folder or f"{VARIABLE}, which is not set"
        say(f"{part}: left out, {', '.join(missing)} is not in {place}")
        return []
    return rows(folder)
