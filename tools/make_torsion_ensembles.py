#!/usr/bin/env python3
"""Make MMFF94 ensembles of many molecules: what the torsion diffusion with all
distances in view learns from.

    make_torsion_ensembles.py OUT [--part train|val|test] [--zinc FILE] [--qm9 FILE]
    [--qm9-share 0.25] [--leave-out FILE.npz ...] [--draws 8] [--draws-per-torsion 2]
    [--keep 32] [--window 8] [--molecules N] [--seconds 3000] [--seed 0]

Molecules come from a file of SMILES and from QM9, `--qm9-share` of them, of the part
asked for (`held_out` of `models/shared/split.py`), with 1 to 12 rotatable bonds and at
most 70 atoms. Those of the files `--leave-out` (an array `smiles`) are passed over: by
default the references of drug-size molecules, which stay fit for evaluation. Each
molecule is drawn `--draws` times and `--draws-per-torsion` times more per rotatable
bond by ETKDGv3 and relaxed with MMFF94. Kept are the `--keep` lowest distinct minima at
most `--window` kcal/mol above the lowest, each with the draw it came from: a sampler
turns the bonds of such a draw.

Written are shards OUT-000.npz, OUT-001.npz, ..., one every two minutes; the same
command goes on after the last of them. Each holds, for m molecules with k minima in
all:
  smiles (m,)         atoms are those of `Molecule.from_smiles(smiles)`
  n_atoms (m,)        of each molecule
  minima (m + 1,)     minima[i]:minima[i + 1] are those of molecule i, lowest energy first
  drawn (m,)          minima found, those that were not kept included
  E (k,)              MMFF94 energy above the molecule's lowest, kcal/mol, float32
  R, R_drawn (rows, 3)  relaxed and as drawn, in A, float32; n_atoms rows per minimum
  seconds (m,)        processor time, s
  next                number of candidates that are done, those before this shard included
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from rdkit import Chem, RDLogger

from equidrift.adapters.rdkit.etkdg import ETKDG, mmff_relax
from equidrift.checks.geometry import check_geometry, check_supported
from equidrift.errors import EquidriftError
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from equidrift.units import KCAL_MOL_PER_EV

RDLogger.DisableLog("rdApp.*")
SHARD_S = 120.0
MOST_TORSIONS, MOST_ATOMS = 12, 70
ITERATIONS = 200  # of MMFF94's minimiser: .05 kcal/mol from its end, median of 120 conformers
EMBED_S = 20.0  # for the draws of one molecule, macrocycles and cages included
SAME_KCAL, SAME_A = 0.02, 0.1  # minima that agree in energy and in all sorted heavy distances


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The minima of one molecule, lowest first: energies (k,), positions (k, n, 3)
    relaxed and as drawn.
    """

    smiles: str
    energies_kcal: np.ndarray
    relaxed_A: np.ndarray
    drawn_A: np.ndarray
    n_drawn: int
    seconds: float


def key_of(smiles: str) -> str:
    """What `held_out` is asked for; empty for a SMILES that RDKit cannot read."""
    mol = Chem.MolFromSmiles(smiles)
    return "" if mol is None else Chem.MolToSmiles(mol, isomericSmiles=False)


def candidates(args: argparse.Namespace) -> Iterator[str]:
    """SMILES of the part, in a seeded order, QM9's mixed in by their share."""
    rng = np.random.default_rng((args.seed, 11))
    left_out = {
        key_of(str(smiles)) for path in args.leave_out for smiles in np.load(path)["smiles"]
    }
    zinc = [line.split()[0] for line in Path(args.zinc).read_text().splitlines() if line.strip()]
    sources = [iter(rng.permutation(np.array(zinc, object)))]
    if args.qm9_share > 0:
        sources.append(iter(rng.permutation(np.load(args.qm9)["smiles"].astype(object))))
    while True:
        source = sources[int(rng.random() < args.qm9_share)]
        for smiles in source:
            key = key_of(smiles)
            if key and key not in left_out and held_out(key) == args.part:
                yield smiles
                break
        else:
            return


def tree_of(molecule: Molecule) -> TorsionTree | None:
    """The rotatable bonds; None for a molecule that is not taken."""
    if molecule.n_atoms > MOST_ATOMS or not set(molecule.numbers.tolist()) <= set(ELEMENTS):
        return None
    tree = TorsionTree.of(molecule)
    return tree if 1 <= tree.n_torsions <= MOST_TORSIONS else None


def distinct(molecule: Molecule, energies_kcal: np.ndarray, positions_A: np.ndarray) -> list[int]:
    """Indices of minima that differ, lowest first. Mirror images count as one, since
    the model gives both the same density.
    """
    heavy = np.flatnonzero(molecule.numbers != 1)
    i, j = np.triu_indices(len(heavy), 1)
    x = positions_A[:, heavy]
    lengths = np.sort(np.linalg.norm(x[:, i] - x[:, j], axis=-1), axis=1)
    out: list[int] = []
    for k in np.argsort(energies_kcal, kind="stable").tolist():
        near = [other for other in out if energies_kcal[k] - energies_kcal[other] < SAME_KCAL]
        if all(np.abs(lengths[k] - lengths[other]).max() > SAME_A for other in near):
            out.append(k)
    return out


def ensemble(smiles: str, args: argparse.Namespace, seed: int) -> Ensemble | None:
    """The minima of a molecule; None where it is not taken, or nothing could be made.

    Raises `EquidriftError` where MMFF94 or the embedding cannot do it.
    """
    begun = time.process_time()
    molecule = Molecule.from_smiles(smiles)
    check_supported(molecule, max_atoms=MOST_ATOMS)
    tree = tree_of(molecule)
    if tree is None:
        return None
    count = args.draws + args.draws_per_torsion * tree.n_torsions
    drawn = ETKDG(timeout_s=EMBED_S).sample(molecule, seed + np.arange(count))
    drawn = drawn[np.isfinite(drawn).all(axis=(1, 2))]
    relaxed, energies = mmff_relax(molecule, drawn, ITERATIONS)
    sound = np.isfinite(energies) & (check_geometry(molecule, relaxed) == "")
    if not sound.any():
        return None
    drawn, relaxed = drawn[sound], relaxed[sound]
    energies = (energies[sound] - energies[sound].min()) * KCAL_MOL_PER_EV
    found = distinct(molecule, energies, relaxed)
    kept = [k for k in found if energies[k] <= args.window][: args.keep]
    took = time.process_time() - begun
    return Ensemble(smiles, energies[kept], relaxed[kept], drawn[kept], len(found), took)


def save(path: Path, rows: list[Ensemble], done: int) -> None:
    """Write one shard, a temporary file first."""

    def flat(positions_A: list[np.ndarray]) -> np.ndarray:
        centred = [x - x.mean(axis=1, keepdims=True) for x in positions_A]
        return np.concatenate([x.reshape(-1, 3) for x in centred]).astype(np.float32)

    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        smiles=np.array([r.smiles for r in rows]),
        n_atoms=np.array([r.relaxed_A.shape[1] for r in rows], np.int32),
        minima=np.cumsum([0] + [len(r.energies_kcal) for r in rows]).astype(np.int64),
        drawn=np.array([r.n_drawn for r in rows], np.int32),
        E=np.concatenate([r.energies_kcal for r in rows]).astype(np.float32),
        R=flat([r.relaxed_A for r in rows]),
        R_drawn=flat([r.drawn_A for r in rows]),
        seconds=np.array([r.seconds for r in rows], np.float32),
        next=np.array(done),
    )
    os.replace(temporary, path)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    data = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out")
    parser.add_argument("--part", choices=["train", "val", "test"], default="train")
    parser.add_argument("--zinc", default=str(data / "zinc_smiles" / "zinc_29k.smi"))
    parser.add_argument("--qm9", default=str(data / "qm9_130831.npz"))
    parser.add_argument("--qm9-share", type=float, default=0.25)
    parser.add_argument(
        "--leave-out", nargs="*", default=[str(data / "gfn2_conformers" / "zinc_train.npz")]
    )
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--draws-per-torsion", type=int, default=2)
    parser.add_argument("--keep", type=int, default=32)
    parser.add_argument("--window", type=float, default=8.0, help="kcal/mol above the lowest")
    parser.add_argument("--molecules", type=int, default=1_000_000, help="candidates in all")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(given)


def made(smiles: str, args: argparse.Namespace, index: int) -> Ensemble | None:
    """`ensemble`; a molecule that fails is dropped, and named."""
    try:
        return ensemble(smiles, args, args.seed + 1000 * index)
    except EquidriftError as error:
        print("dropped", smiles, str(error)[:90], flush=True)
        return None


def main(given: list[str] | None = None) -> None:
    """Make ensembles until the list or the time is over, a shard every two minutes."""
    args = arguments(given)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    begun = saved = time.time()
    shards = sorted(Path(args.out).parent.glob(Path(args.out).name + "-???.npz"))
    first = done = int(np.load(shards[-1])["next"]) if shards else 0
    shard, rows, molecules = len(shards), [], 0
    try:
        for index, smiles in enumerate(candidates(args)):
            if index < first:
                continue
            if index >= args.molecules or time.time() - begun > args.seconds:
                break
            found = made(smiles, args, index)
            done = index + 1
            if found is not None:
                rows.append(found)
                molecules += 1
            if rows and time.time() - saved > SHARD_S:
                save(Path(f"{args.out}-{shard:03d}.npz"), rows, done)
                print(f"{done} done, {molecules} kept, {time.time() - begun:.0f} s", flush=True)
                shard, rows, saved = shard + 1, [], time.time()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    if rows:
        save(Path(f"{args.out}-{shard:03d}.npz"), rows, done)
    print(f"{done} done, {molecules} kept in this run, {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
