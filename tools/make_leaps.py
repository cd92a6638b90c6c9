#!/usr/bin/env python3
"""Make long dynamics of many training molecules in the package's own MMFF94 System, for
leaps (`kind: leap`).

    make_leaps.py SMILES.txt OUT_FOLDER [--molecules 200] [--ns 2] [--temperature 300]
        [--part train] [--seconds 3600] [--atoms 40] [--step 4]

SMILES.txt holds one SMILES per line. Of molecules of the part asked for (`held_out`:
train, val or test; any takes all) that MMFF94 can type, with 1 to 8 torsions and at most
--atoms atoms, each
is embedded by ETKDGv3, relaxed, warmed for 20 ps and run by Langevin dynamics (1/ps,
hydrogens of 3 amu, bonds to hydrogen held, steps of --step fs) for --ns nanoseconds; a frame
per picosecond is kept. Written: one file per molecule, PLACE.npz of `save_dynamics`, PLACE its
line. A run depends on its line and on --seed alone: called again, the tool goes on with
what is not there yet, and makes what one call would have made. 30 to 45 core-seconds per
nanosecond of 40 atoms.
"""

from __future__ import annotations

import time

from make_md import arguments, in_random_order

from equidrift.bench.trajectories_leap_runs import (
    ANY,
    MOST_ATOMS,
    SPACING_FS,
    STEP_FS,
    TEMPERATURE_K,
    leaping_molecule,
    long_dynamics,
)
from equidrift.models.trajectories.dynamics import save_dynamics


def main() -> None:
    """Run what is not there yet."""
    parser = arguments(__doc__, molecules=200, seconds=3600.0)
    parser.add_argument("--ns", type=float, default=2.0, help="nanoseconds per molecule")
    parser.add_argument("--temperature", type=float, default=TEMPERATURE_K, help="in K")
    parser.add_argument("--part", choices=("train", "val", "test", ANY), default="train")
    parser.add_argument("--atoms", type=int, default=MOST_ATOMS, help="of the largest molecule")
    parser.add_argument("--step", type=float, default=STEP_FS, help="of the integrator, in fs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    made, begun, frames = 0, time.process_time(), round(1e6 * options.ns / SPACING_FS)
    for k, smiles in in_random_order(options.smiles, options.seed):
        if made >= options.molecules or time.process_time() - begun > options.seconds:
            break
        path = options.out / f"{k:07d}.npz"
        if path.exists():
            made += 1
            continue
        molecule = leaping_molecule(smiles, options.part, options.atoms)
        if molecule is None:
            continue
        run = long_dynamics(molecule, frames, options.seed + k, options.temperature, options.step)
        if run is not None:
            save_dynamics(path, [run])
            made += 1
            print(f"{made} molecules, {time.process_time() - begun:.0f} core-seconds", flush=True)


if __name__ == "__main__":
    main()
