#!/usr/bin/env python3
"""Pack QM9 as molecules with bonds and formal charges on the atoms of its geometries:
the data of `equidrift train molecules`.

    make_molecules.py [--qm9 qm9_130831.npz] [--out
    ~/.cache/equidrift/qm9_molecules.npz] [--limit N]

Bonds come from the file's SMILES, matched to the geometry by elements, hydrogens and
the connections that distances tell; molecules where the two disagree are dropped and
counted. The format is `equidrift.models.molecules.data.QM9`; about two CPU minutes.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

from equidrift.adapters.rdkit.qm9 import match_geometry
from equidrift.models.molecules.data import COLUMNS, SPLITS, cache_file, half_of
from equidrift.models.shared.split import held_out


def ends(sizes):
    """Where each block of these sizes begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def pack(data, limit):
    """The arrays of a `QM9`, and how many molecules were dropped."""
    names = data["prop_names"].tolist()
    props = np.stack(
        [data["props"][:, names.index(column)] * factor for column, factor in COLUMNS.values()],
        axis=1,
    )
    kept, parts = [], []
    n = len(data["smiles"]) if limit is None else limit
    for k in range(n):
        rows = slice(data["offset"][k], data["offset"][k + 1])
        found = match_geometry(str(data["smiles"][k]), data["z"][rows], data["R"][rows])
        if found is not None:
            kept.append(k)
            parts.append(found)
    atoms = np.concatenate([np.arange(data["offset"][k], data["offset"][k + 1]) for k in kept])
    keys = [part[4] for part in parts]
    return {
        "numbers": data["z"][atoms],
        "positions_A": data["R"][atoms],
        "formal_charges": np.concatenate([part[3] for part in parts]),
        "offset": ends([data["offset"][k + 1] - data["offset"][k] for k in kept]),
        "bonds": np.concatenate([part[0] for part in parts]),
        "bond_orders": np.concatenate([part[1] for part in parts]),
        "aromatic": np.concatenate([part[2] for part in parts]),
        "bond_offset": ends([len(part[0]) for part in parts]),
        "smiles": np.array(keys),
        "index": data["index"][kept],
        "props": props[kept],
        "split": np.array([SPLITS.index(held_out(key)) for key in keys], np.uint8),
        "half_b": np.array([half_of(key) == "b" for key in keys], bool),
    }, n - len(kept)


def main() -> None:
    """Pack QM9."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--qm9", default=Path(os.environ.get("EQUIDRIFT_DATA", ".")) / "qm9_130831.npz", type=Path
    )
    parser.add_argument("--out", default=cache_file(), type=Path)
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    begun = time.time()
    with np.load(args.qm9, allow_pickle=False) as file:
        arrays, dropped = pack({key: file[key] for key in file.files}, args.limit)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.out.with_name(args.out.name + ".tmp.npz")
    np.savez(temporary, **arrays)
    temporary.replace(args.out)
    parts = ", ".join(
        f"{name} {int((arrays['split'] == k).sum())}" for k, name in enumerate(SPLITS)
    )
    print(
        f"{len(arrays['smiles'])} molecules ({parts}), {dropped} dropped, "
        f"{time.time() - begun:.0f} s -> {args.out}"
    )


if __name__ == "__main__":
    main()
