#!/usr/bin/env python3
"""Pack the shards of make_torsion_ensembles.py into one file to train `torsions-all` on.

    pack_torsion_ensembles.py OUT.npz SHARD.npz [SHARD.npz ...]

Kept are the heavy atoms with their codes, the rotatable bonds, the torsions of the
minima, and which draw, turned to the torsions of which minimum, has its shape within
`--shape` A (RMSD of heavy atoms): those are what a sampler could have begun with.
"""

import argparse

import numpy as np

from equidrift.errors import EquidriftError
from equidrift.models.torsions.distances.data import EnsembleSet, TorsionEnsemble
from equidrift.models.torsions.distances.graph import HeavyGraph, heavy_atoms
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree


def rmsd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(k,) RMSD of point sets a and b (k, n, 3) after superposition, without mirroring."""
    a, b = (x - x.mean(axis=-2, keepdims=True) for x in (a, b))
    u, s, v = np.linalg.svd(np.swapaxes(a, -1, -2) @ b)
    s[..., -1] *= np.sign(np.linalg.det(u) * np.linalg.det(v))
    square = (a**2 + b**2).sum((-1, -2)) - 2 * s.sum(-1)
    return np.sqrt(np.maximum(square, 0) / a.shape[-2])


def packed(
    smiles: str, energies: np.ndarray, relaxed: np.ndarray, drawn: np.ndarray, shape_A: float
) -> TorsionEnsemble | None:
    """Of conformers (k, n_atoms, 3); None where no minimum has the rings of its draw."""
    molecule = Molecule.from_smiles(smiles)
    tree = TorsionTree.of(molecule)
    graph, heavy = HeavyGraph.of(molecule, tree), heavy_atoms(molecule)
    phi = tree.torsions(relaxed)
    made = tree.set_torsions(drawn[None], phi[:, None])[:, :, heavy]  # (minimum, draw, n, 3)
    fits = rmsd(made, np.broadcast_to(relaxed[:, None, heavy], made.shape)) < shape_A
    keep = fits.diagonal()  # the others left the rings of their draw
    if not keep.any():
        return None
    return TorsionEnsemble(
        smiles,
        graph,
        (energies[keep] - energies[keep].min()).astype(np.float32),
        phi[keep].astype(np.float32),
        relaxed[keep][:, heavy].astype(np.float32),
        drawn[keep][:, heavy].astype(np.float32),
        fits[np.ix_(keep, keep)],
    )


def pack(path: str, shape_A: float) -> list[TorsionEnsemble]:
    """The ensembles of a shard."""
    with np.load(path) as data:
        f = {key: data[key] for key in data.files}
    out, row = [], 0
    for k, smiles in enumerate(f["smiles"].tolist()):
        here, n = slice(f["minima"][k], f["minima"][k + 1]), int(f["n_atoms"][k])
        end = row + n * (here.stop - here.start)
        relaxed, drawn = (
            f[name][row:end].reshape(-1, n, 3).astype(float) for name in ("R", "R_drawn")
        )
        row = end
        try:
            found = packed(smiles, f["E"][here], relaxed, drawn, shape_A)
        except EquidriftError as error:
            print("left out", smiles, str(error)[:80])
            continue
        if found is not None:
            out.append(found)
    return out


def main(given: list[str] | None = None) -> None:
    """Pack all shards into one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out"), parser.add_argument("shards", nargs="+")
    parser.add_argument("--shape", type=float, default=0.75)
    args = parser.parse_args(given)
    every = [e for shard in args.shards for e in pack(shard, args.shape)]
    EnsembleSet(every).save(args.out)
    print(f"{len(every)} molecules, {sum(len(e.phi) for e in every)} minima")


if __name__ == "__main__":
    main()
