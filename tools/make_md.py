#!/usr/bin/env python3
"""Make molecular dynamics of many training molecules with the package's own MMFF94
system in OpenMM, for the transferable model.

    make_md.py SMILES.txt OUT.npz [--molecules 1000] [--bursts 12] [--frames 21]
        [--spacing 1.0] [--temperatures 300 400 500] [--forces]

SMILES.txt holds one SMILES per line. Molecules of the validation and test parts
(`held_out`) are left out, so are those that MMFF94 cannot type. Each molecule is
embedded by ETKDGv3, relaxed, heated, and run by Langevin dynamics (0.01/fs, 0.5 fs
steps) at one of the temperatures; of its run --bursts bursts of --frames consecutive
frames, --spacing fs apart, are kept, 100 fs between bursts. --spacing above 2 makes
bursts for `kind: flow`, whose frames may lie 5 fs to 10 ps apart. Written: the npz of
`equidrift.models.trajectories.dynamics.save_dynamics`, anew every 50 molecules. --forces
keeps the forces of the frames too, which are the better target. What the shipped model
was trained on, 0.1 to 0.5 core-seconds per molecule:

    make_md.py SMILES.txt forces.npz --molecules 1500 --frames 1 --apart 60 --forces
    make_md.py SMILES.txt bursts.npz --molecules 150 --bursts 4 --frames 41
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equidrift.adapters.openmm.simulation import Langevin
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.errors import EquidriftError
from equidrift.mmff import mmff_system
from equidrift.models.shared.split import held_out
from equidrift.models.trajectories.dynamics import Dynamics, save_dynamics
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds

STEP_FS, FRICTION_PER_FS, WARM_STEPS = 0.5, 0.01, 400


@dataclass(frozen=True)
class Bursts:
    """Which frames of a run are kept: bursts of frames `spacing_fs` apart, `apart_fs`
    between bursts.
    """

    count: int
    frames: int
    spacing_fs: float
    apart_fs: float = 100.0
    forces: bool = False


def arguments(about: str | None, *, molecules: int, seconds: float) -> argparse.ArgumentParser:
    """The arguments of a tool that runs the molecules of a list of SMILES."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("smiles", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--molecules", type=int, default=molecules)
    parser.add_argument("--seconds", type=float, default=seconds, help="after which it stops")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def in_random_order(path: Path, seed: int) -> Iterator[tuple[int, str]]:
    """The SMILES of a list, each with its line, in the order that the seed draws."""
    lines = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    for k in np.random.default_rng(seed).permutation(len(lines)).tolist():
        yield k, lines[k]


def dynamics(smiles: str, temperature_K: float, kept: Bursts, *, seed: int) -> Dynamics | None:
    """The run of one molecule, None if it cannot be made or belongs to a held-out
    part.
    """
    try:
        molecule = Molecule.from_smiles(smiles)
        if held_out(flat_smiles(molecule)) != "train":
            return None
        system = mmff_system(molecule)
        start = make_model("etkdg-mmff").sample(molecule, sample_seeds(seed, 0, 1))[0]
    except EquidriftError:
        return None
    if not np.isfinite(start).all():
        return None
    run = Langevin(
        system,
        start,
        temperature_K=temperature_K,
        friction_per_fs=FRICTION_PER_FS,
        step_fs=STEP_FS,
        seed=seed,
    )
    run.run(WARM_STEPS)
    inner, states = max(1, round(kept.spacing_fs / STEP_FS)), []
    for _ in range(kept.count):
        run.run(round(kept.apart_fs / STEP_FS))
        states += [run.run(inner, kept.forces) for _ in range(kept.frames)]
    shape = (kept.count, kept.frames, -1, 3)
    positions = np.array([state.positions_A for state in states]).reshape(shape)
    pull = None
    if kept.forces:
        pull = np.array([state.forces_eV_A for state in states], np.float32).reshape(shape)
    if not np.isfinite(positions).all():
        return None
    positions -= positions.mean((1, 2), keepdims=True)  # near the origin, where float32 is finest
    return Dynamics(
        molecule,
        positions.astype(np.float32),
        inner * STEP_FS,
        "MMFF94",
        temperature_K,
        FRICTION_PER_FS,
        pull,
    )


def main() -> None:
    """Run the dynamics and write them."""
    parser = arguments(__doc__, molecules=1000, seconds=1800.0)
    parser.add_argument("--bursts", type=int, default=12)
    parser.add_argument("--frames", type=int, default=21)
    parser.add_argument("--spacing", type=float, default=1.0)
    parser.add_argument("--apart", type=float, default=100.0, help="fs between bursts")
    parser.add_argument("--forces", action="store_true")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 400.0, 500.0])
    options = parser.parse_args()
    kept = Bursts(options.bursts, options.frames, options.spacing, options.apart, options.forces)
    runs, begun = [], time.process_time()
    for count, (k, smiles) in enumerate(in_random_order(options.smiles, options.seed)):
        temperature = options.temperatures[count % len(options.temperatures)]
        run = dynamics(smiles, temperature, kept, seed=options.seed + k)
        runs += [run] if run is not None else []
        late = time.process_time() - begun > options.seconds or len(runs) >= options.molecules
        if runs and (late or len(runs) % 50 == 0):
            save_dynamics(options.out, runs)
            print(
                f"{len(runs)} molecules, {time.process_time() - begun:.0f} core-seconds", flush=True
            )
        if late:
            break


if __name__ == "__main__":
    main()
