#!/usr/bin/env python3
"""Measure refiners on GFN2-xTB relaxation paths: how near they come to the minimum, and
how far above it in energy.

    measure_relaxation.py SHARD.npz [SHARD.npz ...] --refiner conformer-energy:15
    [--refiner refine:2 ...]

Shards are those of make_gfn2_paths.py, of molecules that no refiner was trained on.
Each refiner starts from the MMFF94 minimum with which a path begins. Measured are the
RMSD of all atoms after superposition on the path's end (its GFN2-xTB minimum, which
BFGS from another start need not reach), and the GFN2-xTB energy above it. Beside them
stand the MMFF94 minimum itself, and the path after 10 and 15 exact gradients. Paths
that did not converge, or left their graph or stereo, are passed over. A result that
fails the geometry check counts as its start, and is told.
"""

import argparse
import json
import time

import numpy as np
from make_gfn2_paths import GFN2
from rdkit import Chem

from equidrift.adapters.rdkit.molecule import from_mol
from equidrift.checks.geometry import GeometryCheck
from equidrift.errors import MoleculeError
from equidrift.geometry import align
from equidrift.registry import make_refiner
from equidrift.units import KCAL_MOL_PER_EV

EXACT = (10, 15)  # steps of the refiner that are measured


def rmsd(a, b):
    """RMSD in A of two geometries, superposed."""
    return float(np.sqrt(np.square(align(a, b) - b).sum(1).mean()))


def usable_paths(f):
    """(molecule index, steps (s, n, 3), energy of the minimum in eV) of each path."""
    for k, m in enumerate(f["molecule"].tolist()):
        frames = np.arange(f["frames"][k], f["frames"][k + 1])
        frames = frames[f["kind"][frames] == 0]
        if f["converged"][k] and (f["graph"] & f["stereo"])[frames].all():
            steps = [f["R"][f["rows"][a] : f["rows"][a + 1]].astype(float) for a in frames]
            yield m, np.stack(steps), f["E"][frames[-1]]


def measure(shards, refiners):
    """Rows of (atoms, {way: (rmsd in A, energy in kcal/mol, failed)}) and
    core-milliseconds a conformer of each way.
    """
    rows, cost = [], {}
    for shard in shards:
        with np.load(shard) as data:
            f = {key: data[key] for key in data.files}
        for m in np.unique(f["molecule"]):
            found = [(steps, e) for k, steps, e in usable_paths(f) if k == m]
            if not found:
                continue
            molecule = from_mol(Chem.AddHs(Chem.MolFromSmiles(str(f["smiles"][m]))))
            starts = np.stack([steps[0] for steps, _ in found])
            ways = {"MMFF94 minimum": starts}
            for count in EXACT:
                ways[f"{count} exact gradients"] = np.stack(
                    [steps[min(count, len(steps) - 1)] for steps, _ in found]
                )
            try:
                for name, refiner, count in refiners:
                    begun = time.process_time()
                    ways[name] = refiner.refine_many([(molecule, starts)], steps=count)[0]
                    cost[name] = cost.get(name, 0.0) + time.process_time() - begun
            except MoleculeError as error:
                print("left out:", f["smiles"][m], str(error)[:90])
                continue
            check = GeometryCheck(molecule)
            for k, (steps, lowest) in enumerate(found):
                surface = GFN2(molecule.numbers, steps[-1], int(f["charge"][m]))
                row = {}
                for name, made in ways.items():
                    failed = check(made[k : k + 1])[0] != ""
                    x = starts[k] if failed else made[k]
                    energy = (surface(x)[0] - lowest) * KCAL_MOL_PER_EV
                    row[name] = (rmsd(x, steps[-1]), energy, failed)
                rows.append((molecule.n_atoms, row))
    return rows, {name: 1000 * value / len(rows) for name, value in cost.items()}


def table(rows, cost):
    """Means with standard errors, of all molecules and by size."""
    out = {}
    sizes = {
        "all": rows,
        "drug-size": [r for r in rows if r[0] >= 30],
        "small": [r for r in rows if r[0] < 30],
    }
    for label, chosen in sizes.items():
        for name in chosen[0][1] if chosen else ():
            d, e, failed = np.array([row[name] for _, row in chosen]).T
            root = len(chosen) ** 0.5
            start = np.array([row["MMFF94 minimum"][0] for _, row in chosen])
            out[f"{label}/{name}"] = {
                "n": len(chosen),
                "rmsd_A": d.mean(),
                "rmsd_A_se": d.std(ddof=1) / root if len(d) > 1 else 0.0,
                "rmsd_A_median": float(np.median(d)),
                "energy_above_kcal_mol_median": float(np.median(e)),
                "energy_above_kcal_mol": e.mean(),
                "energy_above_kcal_mol_se": e.std(ddof=1) / root if len(e) > 1 else 0.0,
                "nearer_than_start_percent": 100 * float((d < start).mean()),
                "failed_check": int(failed.sum()),
                **({"core_ms_per_conformer": cost[name]} if name in cost else {}),
            }
    return out


def main() -> None:
    """Measure and print a line for each refiner."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", nargs="+")
    parser.add_argument(
        "--refiner",
        action="append",
        default=[],
        help="NAME or PATH, then :STEPS, say conformer-energy:15",
    )
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    refiners = []
    for text in args.refiner:
        name, _, count = text.rpartition(":")
        refiner = make_refiner(name)
        refiners.append((f"{refiner.name}, {count} steps", refiner, int(count)))
    rows, cost = measure(args.shards, refiners)
    figures = table(rows, cost)
    for name, row in figures.items():
        print(
            f"{name:42s} n {row['n']:3d}  rmsd {row['rmsd_A']:.3f} +- {row['rmsd_A_se']:.3f} "
            f"median {row['rmsd_A_median']:.3f} A",
            f"energy median {row['energy_above_kcal_mol_median']:.2f} mean "
            f"{row['energy_above_kcal_mol']:.2f}",
            f"+- {row['energy_above_kcal_mol_se']:.2f} kcal/mol  nearer "
            f"{row['nearer_than_start_percent']:.0f} %",
            f"failed {row['failed_check']}  {row.get('core_ms_per_conformer', 0):.0f} ms",
        )
    if args.json:
        with open(args.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
