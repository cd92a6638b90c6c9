#!/usr/bin/env python3
"""Write `models/zoo/RUNS.md`, the table of all training runs, from one small YAML file
per run in `models/zoo/runs/`.

    runs_table.py            write the table
    runs_table.py --check    exit 1 if the table is not the one of the files

A new run is a new file `NUMBER-NAME.yaml` with the fields of `FIELDS`, failed runs too;
then run this script.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ZOO = Path(__file__).parents[1] / "models" / "zoo"
FIELDS = {
    "date": "date",
    "run": "run",
    "config": "config",
    "samples": "samples seen",
    "minutes": "minutes",
    "result": "result",
}
HEAD = (
    "# Training runs\n\n"
    "Every run, the failed ones too: one file per run in `runs/`, from which `tools/runs_table.py` "
    "makes this table. One core of\n"
    "the 2-core CPU machine (float32; no AMX there) unless said otherwise.\n"
)


def read_run(path: Path) -> dict[str, Any]:
    """The fields of a run's file.

    Raises
    ------
    ValueError
        for a file that lacks a field or has another one.
    """
    run = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(run, dict) or list(run) != list(FIELDS):
        raise ValueError(f"{path.name} must hold the fields {', '.join(FIELDS)}, in this order")
    return run


def cell(value: Any) -> str:
    """A field as a cell of the table."""
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "/").strip()


def table(folder: Path) -> str:
    """The table of the runs in a folder, in the order of the files' names."""
    runs = [read_run(path) for path in sorted(folder.glob("*.yaml"))]
    rows = [
        list(FIELDS.values()),
        ["---"] * len(FIELDS),
        *([cell(run[key]) for key in FIELDS] for run in runs),
    ]
    return HEAD + "\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def main() -> int:
    """Write or check the table."""
    target, made = ZOO / "RUNS.md", table(ZOO / "runs")
    if "--check" in sys.argv[1:]:
        return int(target.read_text(encoding="utf-8") != made)
    target.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
