"""What has failed in a run: counted by reason, the first of it listed, all of it in a table.

A run of a million molecules keeps counts and the first LISTED failures and notes; the
rest goes to the table OUT.failures.csv, row by row.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("index", "title", "reason", "error")
LISTED = 256  # failures, or notes, in a summary; a shard has no more molecules
CRASHED, TOO_FEW, REFUSED = "ended its process", "too few valid conformers", "refused"

Failures = Sequence[Mapping[str, Any]]  # each with title and error, and mostly an index


def no_failures() -> dict[str, Any]:
    """Counts of a run in which nothing has failed."""
    return {"failed": 0, "failures_by_reason": {}, "failures": []}


def reason_of(error: str) -> str:
    """The kind of a failure, by its text."""
    if error.startswith("it ends its process"):
        return CRASHED
    return TOO_FEW if error.startswith("only ") else REFUSED


def add_failures(counts: dict[str, Any], failures: Failures) -> None:
    """Count failures in those of a run, and list the first."""
    reasons = Counter(reason_of(str(failure["error"])) for failure in failures)
    counts["failed"] += len(failures)
    counts["failures_by_reason"] = summed(counts["failures_by_reason"], reasons)
    counts["failures"] = listed(counts["failures"], failures)


def add_counts(counts: dict[str, Any], further: Mapping[str, Any]) -> None:
    """Add counts of a shard to those of the run: numbers, counts by reason, and lists,
    which end after LISTED entries.
    """
    for name, value in further.items():
        if isinstance(value, Mapping):
            counts[name] = summed(counts.get(name, {}), value)
        elif isinstance(value, list):
            counts[name] = listed(counts.get(name, []), value)
        else:
            counts[name] = counts.get(name, 0) + value


def listed(first: list[Any], second: Sequence[Any]) -> list[Any]:
    """The first LISTED of two lists."""
    return [*first, *second[: max(0, LISTED - len(first))]]


def summed(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Counts by reason of two parts together, by name."""
    return dict(sorted((Counter(first) + Counter(second)).items()))


def table_text(failures: Failures, *, header: bool) -> str:
    """Rows of the table of failures, under its header or not."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if header:
        table.writerow(COLUMNS)
    for told in failures:
        error = str(told["error"])
        table.writerow((told.get("index", ""), told["title"], reason_of(error), error))
    return text.getvalue()
