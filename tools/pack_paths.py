#!/usr/bin/env python3
"""Pack the shards of make_gfn2_paths.py into one file to train `conformer-energy` on.

    pack_paths.py OUT.npz SHARD.npz [SHARD.npz ...] [--highest 150]

Frames whose bonds or stereo are no longer those of the SMILES are dropped, and what
comes after them on a path; so are frames over `--highest` kcal/mol a path above its
minimum. MMFF94 energies and forces are added (the reference). A molecule that MMFF94
cannot type is left out.
"""

import argparse

import numpy as np
from rdkit import Chem

from equidrift.adapters.rdkit.mmff_energy import MMFFEnergy
from equidrift.adapters.rdkit.molecule import from_mol
from equidrift.errors import MoleculeError
from equidrift.models.conformers.energy.data import PathSet, RelaxationPath
from equidrift.models.shared.graph_codes import graph_codes
from equidrift.units import KCAL_MOL_PER_EV


def pack(path, highest_kcal):
    """The PathSet of a shard."""
    with np.load(path) as data:
        f = {key: data[key] for key in data.files}
    out, dropped = PathSet([], []), 0
    place = {}
    for k, m in enumerate(f["molecule"].tolist()):
        if m not in place:
            place[m] = None
            try:
                molecule = from_mol(Chem.AddHs(Chem.MolFromSmiles(str(f["smiles"][m]))))
                place[m] = (len(out.graphs), MMFFEnergy(molecule))
                out.graphs.append(graph_codes(molecule))
            except MoleculeError as error:
                print("left out", f["smiles"][m], str(error)[:80])
        if place[m] is None:
            continue
        frames = np.arange(f["frames"][k], f["frames"][k + 1])
        kind, good = f["kind"][frames], (f["graph"] & f["stereo"])[frames]
        steps = frames[kind == 0]
        broken = np.flatnonzero(~good[kind == 0])
        if len(broken):
            dropped += 1
            continue
        low = f["E"][frames] - f["E"][steps[-1]] < highest_kcal / KCAL_MOL_PER_EV
        keep = frames[good & (low | (kind == 0))]
        n = out.graphs[place[m][0]].n_atoms
        rows = slice(f["rows"][frames[0]], f["rows"][frames[-1] + 1])
        chosen = keep - frames[0]
        positions = f["R"][rows].reshape(-1, n, 3)[chosen]
        forces = f["F"][rows].reshape(-1, n, 3)[chosen]
        reference = [place[m][1](x.astype(np.float64)) for x in positions]
        out.paths.append(
            RelaxationPath(
                place[m][0],
                f["kind"][keep],
                f["E"][keep],
                np.array([e for e, _ in reference]),
                positions,
                forces,
                np.array([-g for _, g in reference], np.float32),
            )
        )
    if dropped:
        print(f"{path}: {dropped} paths left their graph or stereo")
    return out


def main() -> None:
    """Pack all shards into one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out"), parser.add_argument("shards", nargs="+")
    parser.add_argument("--highest", type=float, default=150.0)
    args = parser.parse_args()
    whole = PathSet([], [])
    for shard in args.shards:
        whole.extend(pack(shard, args.highest))
    whole.save(args.out)
    print(
        f"{len(whole.graphs)} molecules, {len(whole)} paths, "
        f"{sum(len(p.kind) for p in whole.paths)} gradients"
    )


if __name__ == "__main__":
    main()
