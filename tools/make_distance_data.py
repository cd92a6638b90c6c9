#!/usr/bin/env python3
"""Make MMFF94 conformers for training se3-distance: ETKDGv3 -> MMFF94, exploded
geometries dropped.

    make_distance_data.py SMILES.txt OUT_PREFIX [--per-mol 2] [--shard 2500] [--limit
    15000] [--seconds 1800] [--start 0]
    make_distance_data.py --ensemble qm9_train.npz OUT_PREFIX

The second form rewrites gfn2_conformers/*.npz in the same format.

SMILES.txt holds one SMILES a line; of qm9_130831.npz in its place those of the training
part are taken, in a seeded order. Unspecified stereo is embedded at random, so that
every stereoisomer is seen. Written, one file a shard: z uint8 (atoms,), atom_offset
(m+1,), bonds uint8 (bonds, 2), orders float32 (bonds,), bond_offset (m+1,), conf_offset
(m+1,), coord_offset (confs+1,), R float32 (rows, 3) in A. Finished shards are skipped,
so that the same command again continues.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from equidrift.models.shared.split import held_out

rdBase.DisableLog("rdApp.*")


def conformers(smiles: str, per_mol: int, seed: int) -> tuple[Chem.Mol, list[np.ndarray]] | None:
    """The molecule with hydrogens and its converged MMFF94 conformers, or None."""
    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        return None
    mol = Chem.AddHs(mol)
    if mol.GetNumAtoms() > 250:
        return None
    options = rdDistGeom.ETKDGv3()
    options.randomSeed = seed  # type: ignore[assignment]
    options.useSmallRingTorsions = True  # type: ignore[assignment]
    try:
        ids = list(rdDistGeom.EmbedMultipleConfs(mol, per_mol, options))
        results = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, maxIters=500) if ids else []
    except RuntimeError:  # RDKit's minimiser gives up on some strained cages
        return None
    good = [
        i
        for i, (_, energy) in zip(ids, results, strict=True)
        if np.isfinite(energy) and energy != -1
    ]
    return (
        (mol, [mol.GetConformer(i).GetPositions().astype(np.float32) for i in good])
        if good
        else None
    )


def listed(path: str) -> list[str]:
    """The SMILES of a text file; of an npz those of the training part, shuffled."""
    if not path.endswith(".npz"):
        return Path(path).read_text().split()
    everything = np.load(path)["smiles"].astype(object)
    mols = ((s, Chem.MolFromSmiles(s)) for s in np.random.default_rng(11).permutation(everything))
    return [
        smiles
        for smiles, mol in mols
        if mol is not None and held_out(Chem.MolToSmiles(mol, isomericSmiles=False)) == "train"
    ]


def offset(lengths: list[int] | np.ndarray) -> np.ndarray:
    """Where each block of these lengths begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def write(path: Path, entries: list[tuple[Chem.Mol, list[np.ndarray]]]) -> None:
    """One shard, atomically."""
    z, bonds, orders, R, n_atoms, n_bonds, n_confs = [], [], [], [], [], [], []
    for mol, confs in entries:
        z.append(np.array([a.GetAtomicNum() for a in mol.GetAtoms()], np.uint8))
        pairs = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
        bonds.append(np.array(pairs, np.uint8).reshape(-1, 2))
        orders.append(np.array([b.GetBondTypeAsDouble() for b in mol.GetBonds()], np.float32))
        R += confs
        n_atoms.append(len(z[-1]))
        n_bonds.append(len(pairs))
        n_confs.append(len(confs))
    rows = np.repeat(n_atoms, n_confs)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(
        part,
        z=np.concatenate(z),
        atom_offset=offset(n_atoms),
        bonds=np.concatenate(bonds),
        orders=np.concatenate(orders),
        bond_offset=offset(n_bonds),
        conf_offset=offset(n_confs),
        coord_offset=offset(rows),
        R=np.concatenate(R),
    )
    part.rename(path)


def from_ensemble(source: str, prefix: str) -> None:
    """Re-write a gfn2_conformers file."""
    d = np.load(source)
    entries = []
    for k, smiles in enumerate(d["smiles"]):
        mol = Chem.AddHs(Chem.MolFromSmiles(str(smiles)))
        c = range(d["conf_offset"][k], d["conf_offset"][k + 1])
        entries.append((mol, [d["R"][d["coord_offset"][i] : d["coord_offset"][i + 1]] for i in c]))
    write(Path(f"{prefix}.npz"), entries)


def main() -> None:
    """Write all shards that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("smiles")
    parser.add_argument("prefix")
    parser.add_argument("--ensemble", action="store_true")
    for name, value in (
        ("per-mol", 2),
        ("shard", 2500),
        ("limit", 15000),
        ("seconds", 1800),
        ("start", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    if args.ensemble:
        return from_ensemble(args.smiles, args.prefix)
    began = time.time()
    lines = listed(args.smiles)[args.start : args.start + args.limit]
    for first in range(0, len(lines), args.shard):
        path = Path(f"{args.prefix}_{args.start + first:06d}.npz")
        if path.exists():
            continue
        entries = []
        for k, smiles in enumerate(lines[first : first + args.shard]):
            if time.time() - began > args.seconds:
                return None
            entry = conformers(smiles, args.per_mol, seed=args.start + first + k + 1)
            if entry:
                entries.append(entry)
        write(path, entries)
        print(f"{path}: {len(entries)} molecules, {time.time() - began:.0f} s", flush=True)
    return None


if __name__ == "__main__":
    main()
