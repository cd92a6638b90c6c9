#!/usr/bin/env python3
"""Fit how GFN2-xTB's orbital energies, gaps and dipoles go together with B3LYP's.

    fit_gfn2_scale.py [--qm9 qm9_130831.npz] [--molecules 3000] [--held-out 1000]
                      [--out plugin/checks/gfn2_scale.json]

Both methods at the B3LYP geometries of QM9: a line for each property, by least squares
over random molecules of the training part, and its errors on random molecules of the
validation part. `equidrift generate --judge gfn2` reads the table. Needs
`equidrift[xtb]`; about a minute for 4,000 molecules.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before tblite is loaded

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from equidrift.adapters.ase.xtb import VALUES, gfn2_values
from equidrift.models.molecules.data import COLUMNS
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule

SEED = 12
FITTED = tuple(name for name in VALUES if name in COLUMNS)
Table = dict[str, NDArray[np.float64]]


def fit(gfn2: NDArray[np.float64], b3lyp: NDArray[np.float64]) -> tuple[float, float, float]:
    """Slope and intercept of B3LYP's values over GFN2-xTB's, and the standard deviation
    of what the line leaves (two parameters taken off).
    """
    slope, intercept = np.polyfit(gfn2, b3lyp, 1)
    left = b3lyp - (slope * gfn2 + intercept)
    return float(slope), float(intercept), float(np.sqrt((left**2).sum() / (len(left) - 2)))


def entry(train: tuple[NDArray, NDArray], test: tuple[NDArray, NDArray]) -> dict[str, float]:
    """What the table says of one property, from (GFN2-xTB, B3LYP) of both parts."""
    slope, intercept, deviation = fit(*train)
    errors = np.abs(slope * test[0] + intercept - test[1])
    numbers = {
        "slope": slope,
        "intercept": intercept,
        "deviation": deviation,
        "held_out_mae": float(errors.mean()),
        "held_out_mae_se": float(errors.std(ddof=1) / np.sqrt(len(errors))),
    }
    counts = {"molecules": len(train[0]), "held_out_molecules": len(test[0])}
    return {name: round(value, 4) for name, value in numbers.items()} | counts


def chosen(smiles: NDArray[np.str_], counts: Mapping[str, int]) -> dict[str, list[int]]:
    """Random rows of each part of QM9, as many as asked for."""
    rows: dict[str, list[int]] = {part: [] for part in counts}
    for k in np.random.default_rng(SEED).permutation(len(smiles)).tolist():
        mol = Chem.MolFromSmiles(str(smiles[k]))
        if mol is None:
            continue
        part = held_out(Chem.MolToSmiles(mol, isomericSmiles=False))
        if part in counts and len(rows[part]) < counts[part]:
            rows[part].append(k)
        if all(len(rows[name]) == count for name, count in counts.items()):
            break
    return rows


def values_of(data: Mapping[str, NDArray], rows: list[int]) -> tuple[Table, Table]:
    """GFN2-xTB's and B3LYP's values of some molecules, by property."""
    systems = []
    for k in rows:
        atoms = slice(data["offset"][k], data["offset"][k + 1])
        numbers = data["z"][atoms].astype(int)
        bare = Molecule(numbers, np.zeros((0, 2), int), np.zeros(0), np.zeros(len(numbers), int))
        systems.append((bare, data["R"][atoms].astype(np.float64)))
    names, props = data["prop_names"].tolist(), data["props"][rows]
    b3lyp = {name: props[:, names.index(COLUMNS[name][0])] * COLUMNS[name][1] for name in FITTED}
    return gfn2_values(systems), b3lyp


def main() -> None:
    """Fit all properties and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    folder = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
    parser.add_argument("--qm9", type=Path, default=folder / "qm9_130831.npz")
    parser.add_argument("--molecules", type=int, default=3000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("plugin/checks/gfn2_scale.json"))
    args = parser.parse_args()
    with np.load(args.qm9) as file:
        data = {name: file[name] for name in file.files}
    rows = chosen(data["smiles"], {"train": args.molecules, "val": args.held_out})
    train, test = values_of(data, rows["train"]), values_of(data, rows["val"])
    scale = {}
    for name in FITTED:
        parts = []
        for gfn2, b3lyp in (train, test):
            good = np.isfinite(gfn2[name])
            parts.append((gfn2[name][good], b3lyp[name][good]))
        scale[name] = entry(parts[0], parts[1])
    provenance = {
        "made_by": "tools/fit_gfn2_scale.py",
        "methods": f"GFN2-xTB by tblite {version('tblite')}; B3LYP/6-31G(2df,p), QM9",
        "geometries": "QM9's, B3LYP",
        "meaning": "B3LYP = slope * GFN2 + intercept, with this standard deviation",
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in scale.items()]
    text = f'{{"provenance": {json.dumps(provenance)},\n "scale": {{\n'
    args.out.write_text(text + ",\n".join(lines) + "\n }}\n", encoding="utf-8")
    print(args.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
