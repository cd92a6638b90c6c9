"""Benchmark tables as figures."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np

from equidrift.report import plots

MAX_PANELS = 9
LABEL_FONT = 6


def bench_figure(result: Mapping[str, Any]) -> Any:
    """A panel for each metric, a bar for each row with its standard error.

    Parameters
    ----------
    result : mapping
        What `equidrift bench NAME --json` prints.
    """
    rows = list(result["rows"])
    names = dict.fromkeys(metric for row in rows for metric in row["values"])
    metrics = [name for name in names if name != "n" and not name.endswith("_se")][:MAX_PANELS]
    columns = min(3, max(1, len(metrics)))
    lines = max(1, ceil(len(metrics) / columns))
    figure = plots.canvas(3.4 * columns, (0.5 + 0.16 * len(rows)) * lines)
    for k, metric in enumerate(metrics):
        ax = figure.add_subplot(lines, columns, k + 1)
        shown = [row for row in rows if _number(row["values"].get(metric)) is not None]
        values = np.array([_number(row["values"][metric]) for row in shown], np.float64)
        errors = [_number(row["values"].get(f"{metric}_se")) or 0.0 for row in shown]
        ax.barh(range(len(shown)), values, xerr=errors, color="#2667a8", ecolor="#d39e00")
        ax.set_yticks(range(len(shown)))
        ax.set_yticklabels(
            [str(row["row"]) for row in shown], fontsize=LABEL_FONT, parse_math=False
        )
        ax.invert_yaxis()
        ax.set_title(metric, fontsize=8, parse_math=False)
    return figure


def _number(value: object) -> float | None:
    """A finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if np.isfinite(value) else None
