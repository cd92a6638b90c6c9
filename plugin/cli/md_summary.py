"""What a person reads at the end of `equidrift md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from equidrift.cli.output import print_table
from equidrift.text import counted

Result = Mapping[str, Any]
_TORSION_COLUMNS = ("torsion", "accepted > 60°", "ESS", "R-hat")
_BASIN_COLUMNS = ("population", "F/kJ/mol", "entries")


def print_summary(result: Result) -> None:
    """Print conditions, counts, tables and warnings of a result of
    `equidrift.montecarlo.run.md`.
    """
    notes = [f"note: {note}" for note in result["notes"]]
    for line in (*_conditions(result), *notes, *_adaptations(result), *_counts(result)):
        typer.echo(line)
    rows = _torsion_rows(result)
    if rows:
        columns = (*_TORSION_COLUMNS, "basin/°", *_BASIN_COLUMNS)
        print_table(columns, rows, title="Torsional basins")
        typer.echo(f"tables: {', '.join(result['tables'])}")
    if len(result["torsions"]) > 1:
        states = [_basin(state) for state in result["states"]]
        print_table(("state/°", *_BASIN_COLUMNS), states, title="States")
    for text in result.get("warnings", []):
        typer.echo(f"warning: {text}", err=True)


def _conditions(result: Result) -> list[str]:
    written = ", ".join(chain["output"] for chain in result["chains"])
    several = len(result["chains"]) > 1
    chains = f" in {len(result['chains'])} independent chains" if several else ""
    where = f"{result['potential']} at {result['temperature_K']:g} K"
    return [f"{where}, {result['time_ps']:g} ps{chains} on {result['platform']} -> {written}"]


def _adaptations(result: Result) -> list[str]:
    """How each chain's proposer was made; chains that say the same say it once."""
    moves: dict[str, None] = {}
    notes: dict[str, None] = {}
    reports = [chain["adaptation"] for chain in result["chains"]]
    for report in reports:
        if report.get("cycles"):
            size = report["block_size"]
            moved = counted(size, "torsion") if size else "all torsions"
            plain = f"{report['proposer']} proposals that move {moved} at once"
            moves[report.get("is", plain)] = None
        if "note" in report:
            notes[f"note: {report['note']}"] = None
    if not moves:
        return list(notes)
    cycles = sum(report.get("cycles", 0) for report in reports)
    seconds = sum(report["seconds"] for report in reports)
    adapted = f"adapted for {counted(cycles, 'cycle')} in {seconds:.1f} s, then frozen"
    return [f"{adapted} (nothing of that phase is in the result): {'; '.join(moves)}", *notes]


def _counts(result: Result) -> list[str]:
    parts = ", ".join(f"{part} {value:.1f} s" for part, value in result["seconds_by_part"].items())
    speed = f"{result['seconds']:.1f} s here ({result['ps_per_s']:.1f} ps/s)"
    lines = [f"{speed}; of the whole run: {parts}"]
    if result["proposed"]:
        failed = f", {result['not_finite']} without a finite energy" if result["not_finite"] else ""
        share = f"{result['accepted']} of {counted(result['proposed'], 'proposal')} accepted"
        lines.append(f"{share} ({result['acceptance']:.1%}){failed}")
    return lines


def _torsion_rows(result: Result) -> list[list[str]]:
    rows = []
    for torsion in result["torsions"]:
        share = result["acceptance_by_torsion"][torsion["torsion"]]
        first = [
            torsion["torsion"],
            "" if share is None else f"{share:.1%}",
            f"{torsion['ess']:.0f}",
            "?" if torsion["r_hat"] is None else f"{torsion['r_hat']:.3f}",
        ]
        for basin in torsion["basins"]:
            rows.append([*first, *_basin(basin)])
            first = [""] * len(first)
    return rows


def _basin(basin: Result) -> list[str]:
    angles = " ".join(f"{angle:.0f}" for angle in basin["centres_deg"])
    return [
        angles,
        _with_error(basin["population"], basin["population_error"], 3),
        _with_error(basin["free_energy_kJ_mol"], basin["free_energy_error_kJ_mol"], 2),
        str(basin["entries"]),
    ]


def _with_error(value: float, error: float | None, digits: int) -> str:
    return f"{value + 0.0:.{digits}f} ± {'?' if error is None else format(error, f'.{digits}f')}"
