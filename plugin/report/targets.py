"""How near new molecules came to their targets, and which of them are best at two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.goals import pareto_front
from equidrift.report import plots
from equidrift.report.parts import Figure, Table
from equidrift.report.sources import rows_of
from equidrift.text import counted

Floats = NDArray[np.float64]
COLUMNS = ("property", "target", "judge", "molecules", "mean")
ERRORS = ("mean_absolute_error", "mean_absolute_error_se")


def targets_of(told: Mapping[str, Any]) -> dict[str, float]:
    """Property -> target of the summary of a `generate` run; empty if it had none."""
    return {
        str(row["property"]): float(row["target"])
        for row in rows_of(told, "targets")
        if "property" in row and isinstance(row.get("target"), int | float)
    }


def target_tables(told: Mapping[str, Any]) -> list[Table]:
    """What was aimed at and what was achieved, by each judge."""
    aimed = [row for row in rows_of(told, "targets") if "property" in row]
    if not aimed:
        return []
    rows = [[row.get(name) for name in (*COLUMNS, *ERRORS)] for row in aimed]
    tables = [Table("Targets", [*COLUMNS, "mean absolute error", "± error"], rows)]
    front = list(rows_of(told, "pareto"))
    if front:
        names = list(front[0])
        best = [[row.get(name) for name in names] for row in front]
        tables.append(Table("Pareto front of the targets", names, best))
    return tables


def pareto_figures(
    scores: Mapping[str, Sequence[float]], targets: Mapping[str, float]
) -> list[Figure]:
    """The distances of the molecules from two targets, the Pareto front marked; none if
    fewer than two targets have a value for each molecule.
    """
    named = {name: name.partition("/")[0] for name in scores}
    wanted = [name for name, label in named.items() if label in targets][:2]
    columns = [np.abs(np.asarray(scores[name]) - targets[named[name]]) for name in wanted]
    if len(columns) < 2 or len(columns[0]) != len(columns[1]):
        return []
    errors = np.stack(columns, axis=1)
    errors = errors[np.isfinite(errors).all(axis=1)]
    front = pareto_front(errors)
    figure = plots.canvas()
    ax = figure.add_subplot()
    ax.plot(*errors[~front].T, "o", markersize=3, color="#9fb3c8", label="molecules")
    best = errors[front][np.argsort(errors[front][:, 0])]
    ax.plot(*best.T, "o-", markersize=4, color="#d39e00", label="Pareto front")
    ax.legend(fontsize=7)
    ax.set_xlabel(f"off the target of {wanted[0]}", parse_math=False)
    ax.set_ylabel(f"off the target of {wanted[1]}", parse_math=False)
    best = counted(int(front.sum()), "molecule", "is", "are")
    told = f"Distance from two targets; {best} on the Pareto front"
    return [Figure(plots.svg_of(figure), told)]
