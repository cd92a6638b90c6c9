"""Tables for people, JSON for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import typer

FINISHED_BEFORE = "  this command had finished before, and nothing was done (--overwrite redoes it)"


def json_line(value: Any) -> str:
    """One JSON object on one line; numbers that are not finite are null, for JSON has no
    word for them and strict readers refuse Python's.
    """
    from equidrift.files.plain import plain

    return json.dumps(_finite(plain(value)), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(value: Any) -> None:
    """One JSON object on one line of stdout."""
    typer.echo(json_line(value))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """A rich table; numbers to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    rows = [list(row) for row in rows]
    for k, column in enumerate(columns):
        numeric = all(isinstance(row[k], int | float) or row[k] in ("", None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console = Console()
    if not console.is_terminal:  # in a file or a pipe, a table is as wide as it needs
        console = Console(width=Console(width=10_000).measure(table).maximum)
    console.print(table)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def reasons(counts: Mapping[str, int]) -> str:
    """Counts by reason on one line: "bonds 3, clash 1", or "none"."""
    return ", ".join(f"{reason} {number}" for reason, number in counts.items()) or "none"


def resumed_lines(summary: Mapping[str, Any], unit: str) -> list[str]:
    """The summary's line on an earlier run of the same command, if there was one."""
    if summary["finished_before"]:
        return [FINISHED_BEFORE]
    if summary["resumed_from"]:
        return [f"  continued from {unit} {summary['resumed_from']}"]
    return []


def more_failures(summary: Mapping[str, Any], shown: int) -> list[str]:
    """The summary's line on failures that it does not show, and where they are."""
    more = summary["failed"] - shown
    if more <= 0:
        return []
    table = summary["failures_file"]
    return [f"  and {more} more; " + (f"{table} has all" if table else "--json lists them all")]


def rate_line(summary: Mapping[str, Any], units: str) -> str:
    """The summary's line on time and speed."""
    return f"  {summary['seconds']:.1f} s, {summary[f'{units}_per_s'] or 0:.1f} {units}/s"


def rate(made: int, seconds: float) -> float | None:
    """What was made per second, None if no time has passed."""
    return round(made / seconds, 3) if seconds else None


def print_summary(
    summary: Mapping[str, Any], text: Callable[[Mapping[str, Any]], str], request: Summarised
) -> None:
    """The end of a run: JSON if asked for, else text; on stderr if the records are on
    stdout.
    """
    from equidrift.files.formats import STDOUT

    told = json_line(summary) if request.as_json else text(summary)
    typer.echo(told, err=str(request.output) == STDOUT)


class Summarised(Protocol):
    """What a request says of its summary."""

    @property
    def output(self) -> Path:
        """Where the result goes; "-" is standard output."""
        ...

    @property
    def as_json(self) -> bool:
        """Whether the summary is for a program."""
        ...


def topology_of(output: Path) -> str | None:
    """The topology file that a finished run leaves beside its output; None if the
    format holds the graph.
    """
    from equidrift.files.formats import topology_path

    topology = topology_path(output)
    return None if topology is None else str(topology)


def topology_line(topology: str | None) -> list[str]:
    """The summary's line that names it, if there is one."""
    return [] if topology is None else [f"  topology: {topology}"]
