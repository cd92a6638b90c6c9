#!/usr/bin/env python3
"""Measure leaps against long dynamics of molecules that they never saw.

    measure_leap.py WEIGHTS RUNS_FOLDER [--molecules 30] [--chains 16] [--seconds 60]

RUNS_FOLDER: what `make_leaps.py SMILES.txt RUNS_FOLDER --part test` wrote. From frames of
each run chains of 100 leaps of 20 ps are drawn; their torsions are held against the run's:
Jensen-Shannon distances after 1, 10 and 100 leaps (and their floors), changes of well and
implied timescales over the run's, nanoseconds a CPU second over dynamics'; the exact twin
and dynamics alone get --seconds of CPU each, for effective samples a second. Printed: the
three rows that `equidrift bench trajectories` has for these molecules, a JSON object each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from equidrift.bench.trajectories_leap_rows import rows_of
from equidrift.models.trajectories.dynamics import load_dynamics


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--molecules", type=int, default=30)
    parser.add_argument("--chains", type=int, default=16, help="of leaps of each molecule")
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU of twin and dynamics")
    asked = parser.parse_args()
    paths = sorted(asked.runs.glob("*.npz"))[: asked.molecules]
    runs = [load_dynamics(path)[0] for path in paths]
    for row in rows_of(asked.runs.name, runs, asked.weights, asked.chains, asked.seconds):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
