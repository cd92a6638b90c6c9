#!/usr/bin/env python3
"""Make drug-size molecules with conformers: what `model: joint-drug` of `equidrift
train molecules` learns from.

    make_drug_molecules.py OUT.npz [--zinc FILE] [--draws 3] [--window 15]
    [--molecules N] [--seconds 3000] [--seed 0]

Molecules come from a file of SMILES, in a seeded order, each in its neutral form. Those
of the training and of the validation part (`held_out` of `models/shared/split.py`, of
the SMILES as given) are made; one whose neutral form belongs to another part is passed
over. Each is embedded `--draws` times by ETKDGv3 and relaxed with MMFF94; kept are
distinct minima at most `--window` kcal/mol above the lowest, whose geometry has the
stereo of the SMILES. Counted and dropped are molecules with a kind of atom that the
alphabet `drug` of the joint model has not, with more than 40 heavy atoms, and those
that MMFF94 does not type.

Shards OUT-000.npz, OUT-001.npz, ... are written every two minutes; the same command
goes on after the last of them. At its end a command joins all shards into OUT.npz, a
`DrugSet` of `models/molecules/joint/drugs.py`, so that a training can begin with what
there is. A molecule takes about .3 s on one core.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from make_torsion_ensembles import EMBED_S, ITERATIONS, distinct, key_of
from rdkit import Chem, RDLogger

from equidrift.adapters.rdkit.druglike import mol_values, neutral_smiles
from equidrift.adapters.rdkit.etkdg import ETKDG, mmff_relax
from equidrift.adapters.rdkit.validity import kekulised
from equidrift.checks.geometry import check_geometry
from equidrift.errors import EquidriftError
from equidrift.models.molecules.data import SPLITS
from equidrift.models.molecules.joint.alphabet import DRUG_TOKENS
from equidrift.models.molecules.joint.data import tokens_of
from equidrift.models.molecules.joint.drugs import DrugSet
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV

RDLogger.DisableLog("rdApp.*")
SHARD_S = 120.0
PARTS = ("train", "val")
JOINED = {  # how the arrays of shards become one: offsets go on where the shard before ended
    "offset": "kinds",
    "bond_offset": "bonds",
    "first": "energies_kcal",
}


def candidates(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(neutral SMILES, part) in a seeded order; repeats of a neutral form are left out."""
    lines = [line.split()[0] for line in Path(args.zinc).read_text().splitlines() if line.strip()]
    seen: set[str] = set()
    for smiles in np.random.default_rng((args.seed, 17)).permutation(np.array(lines, object)):
        part, neutral = held_out(key_of(smiles)), neutral_smiles(smiles)
        if neutral and neutral not in seen and part in PARTS and held_out(key_of(neutral)) == part:
            seen.add(neutral)
            yield neutral, part


def conformers(molecule: Molecule, args: argparse.Namespace, seed: int) -> tuple[Any, Any]:
    """(energies (k,) in kcal/mol, positions (k, n, 3)) of distinct minima, lowest first.

    Raises `EquidriftError` where MMFF94 or the embedding cannot do it.
    """
    drawn = ETKDG(timeout_s=EMBED_S).sample(molecule, seed + np.arange(args.draws))
    drawn = drawn[np.isfinite(drawn).all(axis=(1, 2))]
    relaxed, energies = mmff_relax(molecule, drawn, ITERATIONS)
    sound = np.isfinite(energies) & (check_geometry(molecule, relaxed) == "")
    relaxed, energies = relaxed[sound], energies[sound] * KCAL_MOL_PER_EV
    kept = distinct(molecule, energies, relaxed)
    low = [k for k in kept if energies[k] <= energies[kept[0]] + args.window]
    return energies[low] - energies[low[:1]], relaxed[low]


def entry(smiles: str, part: str, args: argparse.Namespace, seed: int) -> dict[str, Any] | str:
    """The arrays of a molecule, or why there are none."""
    molecule = Molecule.from_smiles(smiles)
    flat = kekulised(molecule)
    graph = (flat.numbers, flat.formal_charges, flat.bonds, flat.bond_orders)
    tokens = tokens_of(*graph, DRUG_TOKENS)
    if tokens is None:
        return "atom that the alphabet has not"
    types, bonds, heavy = tokens
    if len(heavy) > DRUG_TOKENS.most_heavy:
        return "too many heavy atoms"
    try:
        energies, positions = conformers(molecule, args, seed)
    except EquidriftError:
        return "no conformer"
    if not len(energies):
        return "no conformer"
    ends = np.argwhere(np.triu(bonds))
    values = mol_values(Chem.MolFromSmiles(smiles))
    return {
        "kinds": np.array(DRUG_TOKENS.types, np.int8)[types],
        "bonds": ends.astype(np.uint8),
        "bond_orders": bonds[tuple(ends.T)].astype(np.uint8),
        "smiles": np.array([smiles]),
        "split": np.array([SPLITS.index(part)], np.uint8),
        "props": np.array([[values[name] for name in DRUG_TOKENS.properties]], np.float32),
        "positions_A": positions[:, heavy].reshape(-1, 3).astype(np.float32),
        "energies_kcal": energies.astype(np.float32),
    }


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The arrays of several molecules or shards as one."""
    names = set(DrugSet.__dataclass_fields__) - set(JOINED)
    out = {name: np.concatenate([part[name] for part in parts]) for name in names}
    for ends, of in JOINED.items():
        counts = [np.diff(part[ends]) if ends in part else [len(part[of])] for part in parts]
        out[ends] = np.cumsum(np.concatenate([[0], *counts])).astype(np.int64)
    return out


def save(path: Path, **arrays: Any) -> None:
    """Write a file, a temporary one first."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, path)


def shards_of(out: Path) -> list[Path]:
    """The shards that there are, in order."""
    return sorted(out.parent.glob(out.stem + "-???.npz"))


def pack(out: Path) -> None:
    """Join the shards into the one file."""
    parts = []
    for path in shards_of(out):
        with np.load(path) as data:
            parts.append({name: data[name] for name in DrugSet.__dataclass_fields__})
    if parts:
        save(out, **joined(parts))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    data = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--zinc", default=str(data / "zinc_smiles" / "zinc_29k.smi"))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--window", type=float, default=15.0, help="kcal/mol above the lowest")
    parser.add_argument("--molecules", type=int, default=1_000_000, help="candidates in all")
    parser.add_argument("--seconds", type=float, default=1e9, help="of this call")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    """Make molecules until the list or the time is over, a shard every two minutes."""
    args = arguments(given)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    begun = saved = time.time()
    shards = shards_of(args.out)
    done = int(np.load(shards[-1])["next"]) if shards else 0
    first, shard, made, dropped = done, len(shards), [], Counter[str]()

    def write() -> None:
        save(args.out.with_name(f"{args.out.stem}-{shard:03d}.npz"), **joined(made), next=done)
        told = ", ".join(f"{count} {why}" for why, count in sorted(dropped.items())) or "none"
        print(f"{done} candidates done, {time.time() - begun:.0f} s, dropped: {told}", flush=True)

    try:
        for index, (smiles, part) in enumerate(candidates(args)):
            if index < first:
                continue
            if index >= args.molecules or time.time() - begun > args.seconds:
                break
            found = entry(smiles, part, args, args.seed + 1000 * index)
            done = index + 1
            if isinstance(found, str):
                dropped[found] += 1
            else:
                made.append(found)
            if made and time.time() - saved > SHARD_S:
                write()
                shard, made, saved = shard + 1, [], time.time()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    if made:
        write()
    pack(args.out)


if __name__ == "__main__":
    main()
