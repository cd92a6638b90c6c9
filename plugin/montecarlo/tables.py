"""The tables that `equidrift md` writes beside its trajectory."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table_paths(output: Path) -> list[Path]:
    """Where the tables of torsions and of states go: run.torsions.csv for run.xtc."""
    return [output.with_name(f"{output.stem}.{name}.csv") for name in ("torsions", "states")]


def write_tables(result: Mapping[str, Any], output: Path) -> None:
    """Write the basins of each torsion, and of all together, as CSV; angles in degrees."""
    torsions, states = table_paths(output)
    rows = []
    for torsion in result["torsions"]:
        name = torsion["torsion"]
        first = [name, result["acceptance_by_torsion"][name], torsion["ess"], torsion["r_hat"]]
        rows += [[*first, *_basin_row(basin)] for basin in torsion["basins"]]
    _write_csv(torsions, ["torsion", "accepted_over_60_deg", "ess", "r_hat", *BASIN_COLUMNS], rows)
    _write_csv(states, BASIN_COLUMNS, [_basin_row(state) for state in result["states"]])


BASIN_COLUMNS = [
    "centres_deg",
    "population",
    "population_error",
    "free_energy_kJ_mol",
    "free_energy_error_kJ_mol",
    "entries",
]


def _basin_row(basin: Mapping[str, Any]) -> list[Any]:
    centres = " ".join(f"{angle:.1f}" for angle in basin["centres_deg"])
    return [centres, *(basin[name] for name in BASIN_COLUMNS[1:])]


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows([["" if value is None else value for value in row] for row in rows])
