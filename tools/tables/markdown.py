"""Rows of a benchmark as tables in Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# heading, metrics of the cell, decimals, which end is the better one (+1 more, -1 less, 0 neither)
Column = tuple[str, tuple[str, ...], int, int]

LABELS = {
    "qm9-test/equidrift": "**equidrift** (`default`)",
    "qm9-test/no-selection": "`default` with the first new torsions instead (`--select diverse`)",
    "qm9-test/refine": "`refine` on ETKDG + MMFF94",
    "qm9-test/etkdg": "ETKDG (RDKit)",
    "qm9-test/etkdg-mmff": "ETKDG + MMFF94 (RDKit)",
    "qm9-test/etkdg-mmff-lowest": "ETKDG + MMFF94, the lowest of four a conformer, no network",
    "qm9-test/etkdg-mmff-coverage": "ETKDG + MMFF94, the choice of `default` of four, no network",
    "qm9-test/etkdg-refine": "`etkdg-refine`: ETKDG, refined",
    "qm9-test/etkdg-mmff-refine": "`etkdg-mmff-refine`: ETKDG + MMFF94, refined, no pick",
    "qm9-test/conformer": "`conformer`: from noise, not refined",
    "qm9-test/conformer-refine": "`conformer-refine`: from noise, refined",
    "qm9-test/se3-distance": "`se3-distance`: distance scores, published map, 100 steps",
    "qm9-test/se3-distance-gauss-newton": "`se3-distance-gauss-newton`: Gauss-Newton map instead",
    "zinc-test/equidrift": "**equidrift** (`default`)",
    "zinc-test/effort-4": "`default` with `effort=4`",
    "zinc-test/effort-16": "`default` with `effort=16`",
    "zinc-test/no-crossing": "`default` with all candidates embedded (`cross=False`)",
    "zinc-test/no-mirror": "`default` without mirror images",
    "zinc-test/no-refiner": "`default` without the refiner",
    "zinc-test/selection-alone": "the choice alone, by MMFF94 energies",
    "zinc-test/no-selection": "`default` without the choice among candidates",
    "zinc-test/no-energy": "`default` without the steps down the learned energy",
    "zinc-test/neither": "`default` without either",
    "zinc-test/etkdg-mmff-refine": "`etkdg-mmff-refine`: no pick of new torsions",
    "zinc-test/turned": "`torsions-all`: bonds of the embedded candidate turned by the diffusion",
    "zinc-test/turned-no-crossing": "`torsions-all` with all candidates turned (`cross=False`)",
    "zinc-test/etkdg": "ETKDG (RDKit)",
    "zinc-test/etkdg-mmff": "ETKDG + MMFF94 (RDKit)",
    "zinc-test/etkdg-mmff-lowest": "ETKDG + MMFF94, the lowest of four a conformer, no network",
    "zinc-test/etkdg-mmff-coverage": "ETKDG + MMFF94, the choice of `default` of four, no network",
    "zinc-test/lowest": "`default` with the lowest new ones (`--select energy`)",
    "zinc-test-flexible/etkdg-mmff-coverage": "the choice of `default` of four, no network",
    "zinc-test-flexible/equidrift": "**equidrift** (`default`)",
    "zinc-test-flexible/etkdg-mmff": "ETKDG + MMFF94 (RDKit)",
    "zinc-test-flexible/etkdg-mmff-lowest": "the lowest of four a conformer, no network",
    "ensembles/equidrift": "**equidrift** (`default`)",
    "ensembles/etkdg-mmff": "ETKDG + MMFF94 (RDKit)",
    "qm9/se3-invariant-diffusion-published": "SE(3)-invariant diffusion, published ¹",
    "qm9/geodiff-published": "GeoDiff, published ¹",
}


def usable(value: Any) -> bool:
    """Whether a value is a number that a table can show."""
    return isinstance(value, int | float) and math.isfinite(value)


def cell(values: Mapping[str, Any], column: Column, best: float | None) -> str:
    """A cell: the mean with its standard error if it has one, or that `/ median`; bold
    where the mean is the best of its column as printed.
    """
    _, metrics, decimals, _ = column
    if not any(usable(values.get(name)) for name in metrics):
        return "–"
    # a mean that a molecule without a sample makes infinite is no number
    shown = [
        f"{values[name]:.{decimals}f}" if usable(values.get(name)) else "–"
        for name in metrics
        if name in values
    ]
    mean, error = shown[0], values.get(f"{metrics[0]}_se")
    if usable(error):
        shown[0] += f" ± {error:.{decimals}f}"
    text = " / ".join(shown)
    return f"**{text}**" if best is not None and mean == f"{best:.{decimals}f}" else text


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[str]:
    """A Markdown table of the rows and columns that have a number; published rows take
    no part in the choice of the best.
    """
    with_numbers = [c for c in columns if any(usable(row["values"].get(c[1][0])) for row in rows)]
    lines = [
        "| | " + " | ".join(c[0] for c in with_numbers) + " |",
        "|---|" + "---:|" * len(with_numbers),
    ]
    best: list[float | None] = []
    for _, (metric, *_), _, sign in with_numbers:
        ours = [
            row["values"][metric]
            for row in rows
            if not published(row) and usable(row["values"].get(metric))
        ]
        best.append(sign * max(sign * value for value in ours) if sign and len(ours) > 1 else None)
    for row in rows:
        values = row["values"]
        if any(usable(values.get(c[1][0])) for c in with_numbers):
            cells = [
                cell(values, c, None if published(row) else top)
                for c, top in zip(with_numbers, best, strict=True)
            ]
            lines.append(f"| {LABELS.get(row['row'], row['row'])} | " + " | ".join(cells) + " |")
    return lines


def shown_number(values: Mapping[str, Any], name: str, digits: int, errors: bool) -> str:
    """A value with so many digits, and its standard error after it if there is one and
    it is asked for.
    """
    text = f"{values[name]:.{digits}g}"
    error = values.get(f"{name}_se")
    if not errors or not usable(error):
        return text
    return f"{text} ± {float(f'{error:.1g}'):g}"  # 20, and not 2e+01


def pivot(
    result: Mapping[str, Any], metrics: Sequence[tuple[str, int]], errors: bool = False
) -> str:
    """A line a method, a column a system; cells hold the metrics (name, digits) with
    slashes between, and their standard errors if asked for. Rows without them are left
    out.
    """
    cells: dict[str, dict[str, str]] = {}
    for row in result["rows"]:
        system, _, method = str(row["row"]).partition("/")
        shown = [
            shown_number(row["values"], name, digits, errors)
            for name, digits in metrics
            if usable(row["values"].get(name))
        ]
        if shown:
            cells.setdefault(method, {})[system] = " / ".join(shown)
    systems = list(dict.fromkeys(system for line in cells.values() for system in line))
    lines = ["| | " + " | ".join(systems) + " |", "|---|" + "---:|" * len(systems)]
    lines += [
        f"| {method_label(name)} | " + " | ".join(line.get(s, "–") for s in systems) + " |"
        for name, line in cells.items()
    ]
    return "\n".join(lines)


def method_label(method: str) -> str:
    """A method as the tables name it."""
    name = method.removesuffix("-published")
    return (
        f"{name}, published"
        if name != method
        else f"**{name}**"
        if name == "equidrift"
        else f"`{name}`"
    )


def listed(
    result: Mapping[str, Any],
    metrics: Sequence[tuple[str, int]],
    rows: str = "",
    errors: bool = False,
) -> str:
    """A line a row whose name fits the pattern `rows`, a column a metric (name,
    digits), with standard errors if asked for.
    """
    chosen = [row for row in result["rows"] if re.search(rows, str(row["row"]))]
    used = [
        (name, digits)
        for name, digits in metrics
        if any(usable(row["values"].get(name)) for row in chosen)
    ]
    lines = [
        "| | " + " | ".join(name.replace("_", " ") for name, _ in used) + " |",
        "|---|" + "---:|" * len(used),
    ]
    for row in chosen:
        shown = [
            shown_number(row["values"], name, digits, errors)
            if usable(row["values"].get(name))
            else "–"
            for name, digits in used
        ]
        if any(cell != "–" for cell in shown):
            lines.append(f"| {row['row']} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def measured_on(result: Mapping[str, Any]) -> str:
    """Where and with which commit a table was measured."""
    machine = result["machine"]
    where = f"{machine['cores']} cores of {machine['cpu']}, {machine['os']}"
    earlier: dict[str, list[str]] = {}
    for row in result["rows"]:
        if "commit" in row and not published(row):
            family = str(row["row"]).partition("/")[0]
            families = earlier.setdefault(str(row["commit"]), [])
            families += [] if family in families else [family]
    others = [f"; rows {', '.join(names)} of commit {of}" for of, names in earlier.items()]
    return (
        f"Measured on {where}, Python {machine['python']}; commit {result['commit']}"
        f"{''.join(others)}."
    )


def published(row: Mapping[str, Any]) -> bool:
    """Whether a row holds figures of a paper."""
    return str(row["row"]).endswith("-published")
