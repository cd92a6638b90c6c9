#!/usr/bin/env python3
"""Make sets of peptide backbones by molecular dynamics with the package's own MMFF94
system in OpenMM: the second domain of system A (`PointModel`).

    make_backbones.py FOLDER [--residues 3 4 5 6] [--sets 4000] [--spacing-ps 1]

Capped alanine peptides in vacuum at 500 K, two runs of each from unlike starts; of every
frame N, CA, C and O of each residue are kept. FOLDER/ala-N.npz holds `points` (sets, 4 N,
3) in A, the first half of them of one run, the second of the other, and `parents`. What
is there already is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from equidrift.adapters.openmm.simulation import Langevin
from equidrift.mmff import mmff_system
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds

TEMPERATURE_K, STEP_FS, FRICTION_PER_FS, WARM_PS = 500.0, 1.0, 0.002, 20.0


def peptide(residues: int) -> tuple[Molecule, list[int]]:
    """Ace-Ala(n)-NMe, and its N, CA, C and O in order."""
    molecule = Molecule.from_smiles("CC(=O)" + "N[C@@H](C)C(=O)" * residues + "NC")
    # heavy atoms come in the order of the SMILES: C C O, then N CA CB C O a residue
    kept = [3 + 5 * k + j for k in range(residues) for j in (0, 1, 3, 4)]
    return molecule, kept


def parents(residues: int) -> list[int]:
    """The parent of each point: N - CA - C - O, and the next N on C."""
    out: list[int] = []
    for k in range(residues):
        first = 4 * k
        out += [first - 2 if k else -1, first, first + 1, first + 2]
    return out


def backbones(residues: int, sets: int, spacing_ps: float, seed: int) -> np.ndarray:
    """Frames (sets, 4 residues, 3) in A of one run."""
    molecule, kept = peptide(residues)
    start = make_model("etkdg-mmff").sample(molecule, sample_seeds(seed, 0, 1))[0]
    run = Langevin(
        mmff_system(molecule),
        start,
        temperature_K=TEMPERATURE_K,
        friction_per_fs=FRICTION_PER_FS,
        step_fs=STEP_FS,
        seed=seed,
    )
    run.run(round(1000 * WARM_PS / STEP_FS))
    steps = round(1000 * spacing_ps / STEP_FS)
    return np.stack([run.run(steps).positions_A[kept] for _ in range(sets)])


def main() -> None:
    """Run the dynamics and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--residues", type=int, nargs="+", default=[3, 4, 5, 6])
    parser.add_argument("--sets", type=int, default=4000)
    parser.add_argument("--spacing-ps", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for residues in options.residues:
        path = options.folder / f"ala-{residues}.npz"
        if path.exists():
            print(f"{path} is there already")
            continue
        runs = [
            backbones(residues, options.sets // 2, options.spacing_ps, options.seed + k)
            for k in (1, 2)
        ]
        part = path.with_suffix(".part.npz")
        np.savez_compressed(
            part, points=np.concatenate(runs).astype(np.float32), parents=parents(residues)
        )
        part.replace(path)
        print(f"{path}: {options.sets} sets of {4 * residues} points", flush=True)


if __name__ == "__main__":
    main()
