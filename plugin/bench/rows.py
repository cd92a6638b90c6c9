"""The rows of every benchmark: each has the number `n` of what was measured, and each
mean its standard error under the same name with `_se`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.bench.machine import commit, machine
from equidrift.errors import InputError
from equidrift.files.formats import check_writable

Row = dict[str, Any]  # "row": SYSTEM/METHOD, "values": metric -> number
SE = "_se"  # ends the name of a standard error
RESAMPLES = 200  # of a bootstrap: its standard error is then known to 5 %


def row(name: str, values: Mapping[str, Any], n: int) -> Row:
    """One row.

    Parameters
    ----------
    name : str
        SYSTEM/METHOD.
    values : mapping
        Metric to number.
    n : int
        How many independent things (molecules, trajectories, functions, samples) the
        numbers were measured on.
    """
    return {"row": name, "values": {**values, "n": n}}


def published(name: str, values: Mapping[str, float]) -> Row:
    """A row of a paper, whose counts stand in the paper."""
    return {"row": name, "values": dict(values)}


def table(name: str, rows: Iterable[Row]) -> dict[str, Any]:
    """A benchmark's result, with the machine and the commit."""
    return {"name": name, "machine": machine(), "commit": commit(), "rows": list(rows)}


def earlier_result(path: Path, name: str) -> dict[str, Any] | None:
    """What an earlier run of a benchmark left in a JSON file; None if there is none.

    Raises `InputError` if the file holds anything else, or cannot be written.
    """
    check_writable(path)
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        fits = found["name"] == name and isinstance(found["rows"], list) and "commit" in found
    except (OSError, ValueError, TypeError, KeyError):
        fits = False
    if not fits:
        raise InputError(
            f"--into: {str(path)!r} holds no result of `equidrift bench {name} --json`; "
            "give another file"
        )
    return dict(found)


def merged(earlier: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """An earlier result with the rows of a later one: those of the same name take their
    places. A row that stays keeps the commit that it was measured at.
    """
    if earlier is None:
        return dict(now)
    fresh = {str(one["row"]): one for one in now["rows"]}
    rows = [fresh.pop(one["row"], {"commit": earlier["commit"], **one}) for one in earlier["rows"]]
    return {**now, "rows": [*rows, *fresh.values()]}


def means(columns: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Mean of each column and its standard error `NAME_se`.

    NaN entries are left out. A mean that is not finite, or of one value, has no error.
    """
    out: dict[str, float] = {}
    for name, column in columns.items():
        values = np.asarray(column, np.float64).ravel()
        values = values[~np.isnan(values)]
        out[name] = float(values.mean()) if len(values) else math.nan
        if len(values) > 1 and np.isfinite(values).all():
            out[f"{name}{SE}"] = float(values.std(ddof=1) / math.sqrt(len(values)))
    return out


def shares(columns: Mapping[str, ArrayLike]) -> dict[str, float]:
    """As `means`, of yes or no, in percent."""
    return means({name: 100.0 * np.asarray(c, np.float64) for name, c in columns.items()})


def share_errors(percent: Mapping[str, float], n: int) -> dict[str, float]:
    """The standard errors of shares (in percent) of n independent things, under
    NAME_se.
    """
    return {
        f"{name}{SE}": math.sqrt(max(0.0, p * (100.0 - p)) / max(1, n))
        for name, p in percent.items()
    }


def medians(columns: Mapping[str, ArrayLike]) -> dict[str, float]:
    """As `means`, of medians, whose standard errors are those of the bootstrap."""
    out: dict[str, float] = {}
    for name, column in columns.items():
        values = np.asarray(column, np.float64).ravel()
        values = values[~np.isnan(values)]
        out[name] = float(np.median(values)) if len(values) else math.nan
        if len(values) > 1 and np.isfinite(values).all():
            out[f"{name}{SE}"] = bootstrap_se(np.median, values)
    return out


def bootstrap_se(
    statistic: Callable[[NDArray[np.float64]], float], sample: NDArray[np.float64], seed: int = 0
) -> float:
    """Standard error of a statistic of a sample (n, ...), by drawing it anew with
    replacement (Efron 1979).
    """
    rng = np.random.default_rng(seed)
    draws = [statistic(sample[rng.integers(0, len(sample), len(sample))]) for _ in range(RESAMPLES)]
    return float(np.std(draws, ddof=1))


def mean_of_rows(values: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, float]:
    """Means over systems of what their rows say, the standard errors carried over."""
    out: dict[str, float] = {}
    for name in names:
        out[name] = float(np.mean([v[name] for v in values]))
        errors = [v.get(f"{name}{SE}", math.nan) for v in values]
        if np.isfinite(errors).all():
            out[f"{name}{SE}"] = math.sqrt(float(np.square(errors).sum())) / len(values)
    return out


def ratio(
    name: str, values: Mapping[str, float], over: Mapping[str, float], key: str
) -> dict[str, float]:
    """The metric `key` of one row over that of another, as `name`, and its standard
    error from the errors of both, if both have one.
    """
    found = values[key] / over[key]
    errors = [part.get(f"{key}{SE}", math.nan) / part[key] for part in (values, over)]
    if not np.isfinite(errors).all():
        return {name: found}
    return {name: found, f"{name}{SE}": abs(found) * math.hypot(*errors)}
