#!/usr/bin/env python3
"""Measure leaps against long dynamics of molecules that they never saw.

    measure_leap.py WEIGHTS RUNS_FOLDER [--lag 20] [--frames 400] [--molecules 30]

RUNS_FOLDER: what `make_leaps.py SMILES.txt RUNS_FOLDER --part test` wrote. From the first
frame of each run a chain of --frames leaps of --lag ps is drawn; its torsions are held
against the run's: Jensen-Shannon distance of the histograms (and of the halves of the
run: the floor), changes of well and implied timescales over the run's, and nanoseconds a
CPU second. Printed: a line a molecule, and means with standard errors over molecules.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from equidrift.bench.rows import means
from equidrift.bench.trajectories_leaps import geometric, leap_values
from equidrift.models.trajectories.dynamics import load_dynamics
from equidrift.registry import make_trajectory_model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--lag", type=float, default=20.0, help="in ps")
    parser.add_argument("--frames", type=int, default=400, help="leaps of a chain")
    parser.add_argument("--molecules", type=int, default=30)
    options = parser.parse_args()
    columns: dict[str, list[float]] = {}
    for seed, path in enumerate(sorted(options.runs.glob("*.npz"))[: options.molecules]):
        (run,) = load_dynamics(path)
        model = make_trajectory_model(options.weights, temperature_K=run.temperature_K)
        found = leap_values(model, run, options.lag, options.frames, seed)
        each = {name: float(np.nanmean(v)) for name, v in found.items() if np.isfinite(v).any()}
        each |= geometric(found)
        print(run.molecule.name or path.stem, json.dumps(each), flush=True)
        for name, value in each.items():
            columns.setdefault(name, []).append(value)
    summary = means(columns) | {
        f"{n}_geometric": v
        for n, v in geometric({name: np.array(values) for name, values in columns.items()}).items()
    }
    print("all", json.dumps(summary | {"molecules": len(columns.get("ns_per_cpu_s", []))}))


if __name__ == "__main__":
    main()
