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

import numpy as np
from make_md import arguments, in_random_order

from equidrift.adapters.openmm.simulation import Langevin
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.errors import EquidriftError
from equidrift.mmff import mmff_system
from equidrift.models.shared.split import held_out
from equidrift.models.trajectories.dynamics import Dynamics, save_dynamics
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds
from equidrift.torsions import TorsionTree

STEP_FS, FRICTION_PER_FS, SPACING_FS, WARM_FS = 4.0, 0.001, 1000.0, 20_000.0
HYDROGEN_AMU = 3.0
MOST_TORSIONS, MOST_ATOMS = 8, 40
ANY = "any"  # part of the molecules


def chosen(smiles: str, part: str, most_atoms: int = MOST_ATOMS) -> Molecule | None:
    """The molecule, if it is one to be run."""
    try:
        molecule = Molecule.from_smiles(smiles)
        fits = 1 <= TorsionTree.of(molecule).n_torsions <= MOST_TORSIONS
        if not fits or molecule.n_atoms > most_atoms:
            return None
        if part != ANY and held_out(flat_smiles(molecule)) != part:
            return None
    except EquidriftError:
        return None
    return molecule


def dynamics(
    molecule: Molecule, frames: int, temperature_K: float, seed: int, step_fs: float = STEP_FS
) -> Dynamics | None:
    """The run of a molecule, None if it cannot be made."""
    try:
        system = mmff_system(molecule, constraints="HBonds", hydrogenMass_amu=HYDROGEN_AMU)
        start = make_model("etkdg-mmff").sample(molecule, sample_seeds(seed, 0, 1))[0]
        run = Langevin(
            system,
            start,
            temperature_K=temperature_K,
            friction_per_fs=FRICTION_PER_FS,
            step_fs=step_fs,
            seed=seed,
        )
        run.relax(start, 200)
        run.warm(temperature_K, seed)
        run.run(round(WARM_FS / step_fs))
        inner = round(SPACING_FS / step_fs)
        x = np.array([run.run(inner).positions_A for _ in range(frames)])
    except EquidriftError:
        return None
    if not np.isfinite(x).all():
        return None
    x -= x.mean(1, keepdims=True)
    return Dynamics(
        molecule, x[None].astype(np.float32), SPACING_FS, "MMFF94", temperature_K, FRICTION_PER_FS
    )


def main() -> None:
    """Run what is not there yet."""
    parser = arguments(__doc__, molecules=200, seconds=3600.0)
    parser.add_argument("--ns", type=float, default=2.0, help="nanoseconds per molecule")
    parser.add_argument("--temperature", type=float, default=300.0, help="in K")
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
        molecule = chosen(smiles, options.part, options.atoms)
        if molecule is None:
            continue
        run = dynamics(molecule, frames, options.temperature, options.seed + k, options.step)
        if run is not None:
            save_dynamics(path, [run])
            made += 1
            print(f"{made} molecules, {time.process_time() - begun:.0f} core-seconds", flush=True)


if __name__ == "__main__":
    main()
