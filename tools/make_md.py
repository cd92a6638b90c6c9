#!/usr/bin/env python3
"""Make molecular dynamics of many training molecules with the package's own MMFF94
system in OpenMM, for the transferable model.

    make_md.py SMILES.txt OUT.npz [--molecules 1000] [--bursts 12] [--frames 21]
    [--spacing 1.0] [--temperatures 300 400 500]
               [--forces]

SMILES.txt holds one SMILES a line. Molecules of the validation and test parts
(`held_out`) are left out, so are those that MMFF94 cannot type. Each molecule is
embedded by ETKDGv3, relaxed, heated, and run by Langevin dynamics (0.01/fs, 0.5 fs
steps) at one of the temperatures; of its run --bursts bursts of --frames consecutive
frames, --spacing fs apart, are kept, 100 fs between bursts. --spacing above 2 makes
bursts for `kind: flow`, whose frames may lie 5 fs to 10 ps apart. Written: the npz of
`equidrift.models.trajectories.dynamics.save_dynamics`, anew every 50 molecules. --forces
keeps the forces of the frames too, which are the better target. What the shipped model
was trained on, 0.1 to 0.5 core-seconds a molecule:

    make_md.py SMILES.txt forces.npz --molecules 1500 --bursts 12 --frames 1 --apart 60
    --forces make_md.py SMILES.txt bursts.npz --molecules 150 --bursts 4 --frames 41
"""

from __future__ import annotations

import argparse
import time
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


def dynamics(
    smiles: str,
    temperature_K: float,
    *,
    bursts: int,
    frames: int,
    spacing_fs: float,
    seed: int,
    apart_fs: float = 100.0,
    forces: bool = False,
) -> Dynamics | None:
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
    inner, kept = max(1, round(spacing_fs / STEP_FS)), []
    for _ in range(bursts):
        run.run(round(apart_fs / STEP_FS))
        kept += [run.run(inner, forces) for _ in range(frames)]
    positions = np.array([state.positions_A for state in kept]).reshape(bursts, frames, -1, 3)
    pull = (
        np.array([state.forces_eV_A for state in kept], np.float32).reshape(positions.shape)
        if forces
        else None
    )
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("smiles", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--molecules", type=int, default=1000)
    parser.add_argument("--bursts", type=int, default=12)
    parser.add_argument("--frames", type=int, default=21)
    parser.add_argument("--spacing", type=float, default=1.0)
    parser.add_argument("--apart", type=float, default=100.0, help="fs between bursts")
    parser.add_argument("--forces", action="store_true")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 400.0, 500.0])
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = [line.split()[0] for line in options.smiles.read_text().splitlines() if line.strip()]
    order = np.random.default_rng(options.seed).permutation(len(lines))
    runs, begun = [], time.process_time()
    for count, k in enumerate(order.tolist()):
        temperature = options.temperatures[count % len(options.temperatures)]
        settings = {
            "bursts": options.bursts,
            "frames": options.frames,
            "spacing_fs": options.spacing,
            "apart_fs": options.apart,
        }
        run = dynamics(
            lines[k], temperature, **settings, forces=options.forces, seed=options.seed + k
        )
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
