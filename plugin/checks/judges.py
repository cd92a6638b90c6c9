"""What the molecules of a run have of the properties asked for, as its judges see it.

Targets are B3LYP's values, as the training data. A judge's value is compared with a
target on that scale alone: the judge `network` predicts B3LYP's values, and those of
`gfn2` go through the line of `gfn2_scale.json` (made by `tools/fit_gfn2_scale.py`),
with its error. A value of another judge or property stands for itself: a difference of
two methods is no distance from a target.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.checks.goals import EXACT, GRAPH_PROPERTIES, Goal, pareto_front
from equidrift.text import counted

NETWORK = "network"  # its scores are named by the property alone


@dataclass(frozen=True)
class Scale:
    """The line that takes a judge's values of a property to B3LYP's.

    `deviation` is the standard deviation about the line over the `molecules` it was
    fitted to; `held_out_mae` (and its standard error) the mean absolute error over
    `held_out_molecules` others. All in the property's own unit.
    """

    slope: float
    intercept: float
    deviation: float
    held_out_mae: float
    held_out_mae_se: float
    molecules: int
    held_out_molecules: int

    def b3lyp(self, values: ArrayLike) -> NDArray[np.float64]:
        """The values on B3LYP's scale."""
        return self.slope * np.asarray(values, np.float64) + self.intercept


@lru_cache(maxsize=1)
def gfn2_scales() -> Mapping[str, Scale]:
    """The scale of each property that GFN2-xTB gives."""
    text = (files("equidrift.checks") / "gfn2_scale.json").read_text(encoding="utf-8")
    return {name: Scale(**entry) for name, entry in json.loads(text)["scale"].items()}


def achieved(
    targets: Mapping[str, float | str],
    scores: Mapping[str, Sequence[float]],
    judges: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """A row for each target and judge: what the molecules have of the property.

    Parameters
    ----------
    targets : mapping of str to float or str
        What was asked for of each property.
    scores : mapping of str to sequence of float
        The values of all molecules, named `PROPERTY` (the judge `network`) or
        `PROPERTY/JUDGE`; NaN if a judge failed.
    judges : iterable of str, optional
        Judges of the run; a target that one of them gives no value of has a row, too.

    Returns
    -------
    list of dict
        `property`, `target`, `judge`, `molecules` (how many have a value) and their
        `mean`. On the targets' scale also `mean_absolute_error` and, of two molecules
        or more, its standard error `mean_absolute_error_se`. Values that were brought
        to that scale have the mean as it came (`mean_before`), and the scale's
        `deviation`, `held_out_mae` and `held_out_molecules`.
    """
    rows = []
    for name, values in scores.items():
        label, _, judge = name.partition("/")
        if label not in targets:
            continue
        if label in GRAPH_PROPERTIES:
            rows.append(_graph_row(Goal.of(label, targets[label]), values))
        else:
            rows.append(_row(label, float(targets[label]), judge or NETWORK, values))
    told = {(row["property"], row["judge"]) for row in rows}
    rows += [
        _row(name, float(target), judge, ())
        for name, target in targets.items()
        for judge in judges
        if (name, judge) not in told and name not in GRAPH_PROPERTIES and judge != EXACT
    ]
    return rows


def _graph_row(goal: Goal, values: Sequence[float]) -> dict[str, Any]:
    found = np.asarray(values, np.float64)
    row = {"property": goal.name, "target": goal.told, "judge": EXACT, "molecules": len(found)}
    if not len(found):
        return row
    row["mean"] = float(found.mean())
    if goal.kind == "=":
        row |= _error_of(goal.misses(found))
    elif not goal.limit:
        row["best"] = float(found[goal.misses(found).argmin()])
    return row


def _error_of(off: NDArray[np.float64]) -> dict[str, float]:
    """The mean of absolute errors (k,), and its standard error where there are two."""
    row = {"mean_absolute_error": float(off.mean())}
    if len(off) > 1:
        row["mean_absolute_error_se"] = float(off.std(ddof=1) / np.sqrt(len(off)))
    return row


def pareto(
    targets: Mapping[str, float | str],
    scores: Mapping[str, Sequence[float]],
    smiles: Sequence[str],
) -> list[dict[str, Any]]:
    """Molecules that no other one is as near to every target as and nearer to one.

    `targets` and `scores` are those of `achieved`; `smiles` names the molecules.

    Returns
    -------
    list of dict
        `smiles` and the values of the targets, the best at the first target first;
        empty where fewer than two targets that are no limits have values.
    """
    goals = {
        name: Goal.of(name, wanted) if name in GRAPH_PROPERTIES else Goal(name, "=", float(wanted))
        for name, wanted in targets.items()
        if len(scores.get(name, ())) == len(smiles)
    }
    aimed = [goal for goal in goals.values() if not goal.limit]
    if len(aimed) < 2 or not smiles:
        return []
    misses = np.stack([g.misses(np.asarray(scores[g.name], np.float64)) for g in aimed], axis=1)
    known = np.flatnonzero(np.isfinite(misses).all(1))
    front = known[pareto_front(misses[known])]
    order = front[np.argsort(misses[front, 0], kind="stable")]
    return [
        {"smiles": smiles[k], **{name: float(scores[name][k]) for name in goals}}
        for k in order.tolist()
    ]


def pareto_text(rows: Sequence[Mapping[str, Any]], most: int = 10) -> list[str]:
    """The first rows of `pareto` as lines of a table; none where there are no rows."""
    if not rows:
        return []
    names = [name for name in rows[0] if name != "smiles"]
    head = f"Pareto front, {counted(len(rows), 'molecule')}: "
    lines = [head + "  ".join(f"{n:>8}" for n in names)]
    indent = len(head)
    for row in rows[:most]:
        values = "  ".join(f"{row[name]:8.4g}" for name in names)
        lines.append(f"{'':{indent}}{values}  {row['smiles']}")
    if len(rows) > most:
        lines.append(f"{'':{indent}}and {len(rows) - most} more (--json lists all)")
    return lines


def _row(name: str, target: float, judge: str, values: Sequence[float]) -> dict[str, Any]:
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    row = {"property": name, "target": target, "judge": judge, "molecules": len(found)}
    if not len(found):
        return row
    scale = gfn2_scales().get(name) if judge == "gfn2" else None
    if scale is not None:
        row |= {
            "mean_before": float(found.mean()),
            "deviation": scale.deviation,
            "held_out_mae": scale.held_out_mae,
            "held_out_molecules": scale.held_out_molecules,
        }
        found = scale.b3lyp(found)
    row["mean"] = float(found.mean())
    if judge == NETWORK or scale is not None:
        row |= _error_of(np.abs(found - target))
    return row


def achieved_text(row: Mapping[str, Any]) -> str:
    """One row of `achieved` as a line for people."""
    target = row["target"] if isinstance(row["target"], str) else f"{row['target']:g}"
    start = f"{row['property']}: target {target}, "
    judge = f"judge {row['judge']}"
    if not row["molecules"]:
        return f"{start}the {judge} has no value of it"
    start += f"achieved ({judge}) mean {row['mean']:.3g}"
    if row["judge"] == EXACT and "mean_absolute_error" not in row:
        return start + (f", best {row['best']:.3g}" if "best" in row else ", kept by all")
    if "mean_absolute_error" not in row:
        return f"{start} on the judge's own scale, which is not the target's"
    line = f"{start}, off by {row['mean_absolute_error']:.2g} on average"
    if "mean_absolute_error_se" in row:
        line += f" (standard error {row['mean_absolute_error_se']:.1g})"
    if "deviation" in row:
        held_out = counted(row["held_out_molecules"], "held-out molecule")
        line += (
            f"; GFN2-xTB's mean is {row['mean_before']:.3g}, brought to B3LYP's scale with an "
            f"uncertainty of {row['deviation']:.2g} per molecule (mean error "
            f"{row['held_out_mae']:.2g} on {held_out})"
        )
    return line
