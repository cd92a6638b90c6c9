#!/usr/bin/env python3
"""Make harmonic infrared spectra of small QM9 molecules at GFN2-xTB: what `model:
spectra` learns from.

    make_spectra.py QM9.npz OUT.npz [--heavy 7] [--molecules N] [--held-out N]
        [--seconds 1200] [--seed 0]

Takes QM9 molecules of at most `--heavy` heavy atoms, of all three parts (training and
held-out: the split is read from `smiles` by whoever trains), in a seeded order,
held-out ones first: all there are, or `--molecules` in all with `--held-out` held-out
ones among them. Each is relaxed to its GFN2-xTB minimum from QM9's geometry;
displacements of 0.01 A give the Hessian and the dipole derivatives
(`equidrift.adapters.ase.xtb`). About 0.25 core-seconds a molecule.

OUT.npz, one row a molecule: `row` (of QM9.npz), `index` and `smiles` (QM9's), `numbers`
and `R` (A, the minimum) ragged by `offset`, `frequencies_cm1` and `intensities`
((D/A)^2/amu) ragged by `mode_offset`. `vectors` are the spectra broadened by
`equidrift.spectrum.broaden`, as `observables` of the latent
diffusion takes them. Started again, it goes on after the molecules that OUT.npz holds.
Molecules without a minimum or a converged field are left out.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from equidrift.adapters.ase.xtb import infrared
from equidrift.adapters.rdkit.molecule import flat_smiles, from_smiles
from equidrift.errors import MoleculeError
from equidrift.models.shared.split import held_out
from equidrift.spectrum import broaden

SAVE_EVERY = 25


def chosen_rows(qm9, heavy, seed, molecules=None, held_out_ones=None):
    """Rows of at most `heavy` heavy atoms, held-out ones first, each part shuffled; as
    many as there are, or `molecules`, of which `held_out_ones` are held out.
    """
    most = {"held": np.inf, "train": np.inf}
    if molecules is not None:
        most = {"held": held_out_ones, "train": molecules - held_out_ones}
    offset = qm9["offset"]
    counts = np.add.reduceat((qm9["z"] > 1).astype(int), offset[:-1])
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(counts <= heavy))
    found = {"held": [], "train": []}
    for row in rows.tolist():
        if all(len(part) >= most[name] for name, part in found.items()):
            break
        try:
            part = held_out(flat_smiles(from_smiles(str(qm9["smiles"][row]))))
        except MoleculeError:
            continue
        name = "train" if part == "train" else "held"
        if len(found[name]) < most[name]:
            found[name].append(row)
    return found["held"] + found["train"]


def save(path, made, index):
    """Write what is made so far, a temporary file first."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        row=np.array([m["row"] for m in made], np.int32),
        index=index[[m["row"] for m in made]],
        smiles=np.array([m["smiles"] for m in made]),
        numbers=np.concatenate([m["numbers"] for m in made]).astype(np.uint8),
        R=np.concatenate([m["R"] for m in made]).astype(np.float32),
        offset=np.cumsum([0] + [len(m["numbers"]) for m in made]),
        frequencies_cm1=np.concatenate([m["f"] for m in made]).astype(np.float32),
        intensities=np.concatenate([m["i"] for m in made]).astype(np.float32),
        vectors=np.stack([broaden(m["f"], m["i"]) for m in made]).astype(np.float32),
        mode_offset=np.cumsum([0] + [len(m["f"]) for m in made]),
    )
    temporary.replace(path)


def load(path):
    """The molecules of an earlier run, none if there was none."""
    if not path.exists():
        return []
    with np.load(path, allow_pickle=False) as data:
        f = {key: data[key] for key in data.files}
    a, m = f["offset"], f["mode_offset"]
    return [
        {
            "row": int(row),
            "smiles": str(f["smiles"][k]),
            "numbers": f["numbers"][a[k] : a[k + 1]],
            "R": f["R"][a[k] : a[k + 1]],
            "f": f["frequencies_cm1"][m[k] : m[k + 1]],
            "i": f["intensities"][m[k] : m[k + 1]],
        }
        for k, row in enumerate(f["row"].tolist())
    ]


def main() -> None:
    """Make the spectra that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("qm9", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--heavy", type=int, default=7)
    parser.add_argument("--molecules", type=int)
    parser.add_argument("--held-out", type=int)
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if (options.molecules is None) != (options.held_out is None):
        parser.error("--molecules and --held-out go together; give both or none")
    if options.molecules is not None and not 0 <= options.held_out <= options.molecules:
        parser.error(f"--held-out must be 0 to {options.molecules}, not {options.held_out}")
    with np.load(options.qm9, allow_pickle=False) as data:
        qm9 = {key: data[key] for key in ("R", "z", "offset", "smiles", "index")}
    made, skipped, begun = load(options.out), 0, time.process_time()
    done = {m["row"] for m in made}
    chosen = chosen_rows(qm9, options.heavy, options.seed, options.molecules, options.held_out)
    rows = [row for row in chosen if row not in done]
    for count, row in enumerate(rows):
        if time.process_time() - begun > options.seconds:
            break
        part = slice(int(qm9["offset"][row]), int(qm9["offset"][row + 1]))
        try:
            positions, frequencies, intensities = infrared(qm9["z"][part], qm9["R"][part])
        except MoleculeError as error:
            print(f"{qm9['smiles'][row]}: {error}", file=sys.stderr)
            skipped += 1
            continue
        smiles = str(qm9["smiles"][row])
        made.append(
            {
                "row": row,
                "smiles": smiles,
                "numbers": qm9["z"][part],
                "R": positions,
                "f": frequencies,
                "i": intensities,
            }
        )
        if (count + 1) % SAVE_EVERY == 0:
            save(options.out, made, qm9["index"])
    save(options.out, made, qm9["index"])
    print(
        f"{len(made)} spectra in {options.out}, {skipped} molecules left out, "
        f"{time.process_time() - begun:.0f} s"
    )


if __name__ == "__main__":
    main()
