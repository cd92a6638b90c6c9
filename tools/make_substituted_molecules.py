#!/usr/bin/env python3
"""Make a list of drug-like molecules of elements that ZINC lacks, to label for training.

    make_substituted_molecules.py OUT.smi [--zinc FILE] [--each 60] [--pieces]
    [--part train|val] [--seed 0]

A hydrogen of a carbon of a molecule of ZINC's training part is replaced by a group of
Si, P, I, Br, S(VI) or an isocyanide, `--each` times a group. Boron is not among them:
MMFF94, to which the learned energy is a correction, has no types for it. Both the
molecule and what is made of it belong to the part. `--pieces` takes pieces of up to 14
heavy atoms of these molecules instead, which cost a third.
"""

import argparse
import os
import random
from pathlib import Path

from make_element_molecules import pieces, substituted
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem

from equidrift.models.shared.split import held_out

RDLogger.DisableLog("rdApp.*")
GROUPS = (
    *("[Si](C)(C)C", "C[Si](C)(C)C", "O[Si](C)(C)C", "[Si](C)(C)O", "[SiH2]C", "[Si](C)(C)CC"),
    *("P(=O)(OC)OC", "OP(=O)(O)O", "OP(=O)([O-])[O-]", "P(=O)(C)C", "CP(=O)(O)O", "P(C)C"),
    *("P(=O)([O-])O", "OP(=O)(OC)OC", "NP(=O)(N)N", "[P+](C)(C)C"),
    *("I", "I", "I", "CI", "I", "Br", "Br", "CBr"),
    *("S(=O)(=O)C", "S(=O)(=O)N", "S(=O)(=O)F", "NS(=O)(=O)N", "OS(=O)(=O)C", "N=S(C)(C)=O"),
    *("S(=O)(=O)[O-]", "[N+]#[C-]", "C[N+]#[C-]"),
)
MOST_ATOMS = 60


def molecules_of(zinc, rng, part):
    """Mols of a part of ZINC in a seeded order, again and again."""
    lines = [line.split()[0] for line in zinc.read_text().splitlines() if line.strip()]
    while True:
        rng.shuffle(lines)
        for smiles in lines:
            mol = Chem.MolFromSmiles(smiles)
            if mol is not None and is_of(mol, part):
                yield mol


def is_of(mol, part):
    """Whether a molecule is of a part."""
    return held_out(Chem.MolToSmiles(mol, isomericSmiles=False)) == part


def accepted(mol, part):
    """Whether it is small enough, of the part, and MMFF94 has types for it."""
    with_hydrogens = Chem.AddHs(mol)
    small = with_hydrogens.GetNumAtoms() <= MOST_ATOMS
    return small and is_of(mol, part) and AllChem.MMFFHasAllMoleculeParams(with_hydrogens)


def main():
    """Write the list."""
    data = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out")
    parser.add_argument("--zinc", default=str(data / "zinc_smiles" / "zinc_29k.smi"))
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--pieces", action="store_true")
    parser.add_argument("--part", choices=("train", "val"), default="train")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    drawn = pieces if args.pieces else molecules_of
    pool, found, seen = drawn(Path(args.zinc), rng, args.part), [], set()
    for group in GROUPS * args.each:
        for _ in range(40):  # some groups have few molecules that MMFF94 types
            mol = next(pool, None)
            made = None if mol is None else substituted(mol, group, rng)
            smiles = None if made is None else Chem.MolToSmiles(made)
            if smiles is None or smiles in seen or Chem.MolFromSmiles(smiles) is None:
                continue
            if accepted(Chem.MolFromSmiles(smiles), args.part):
                seen.add(smiles)
                found.append(smiles)
                break
    Path(args.out).write_text("".join(f"{smiles}\n" for smiles in found))
    print(f"{len(found)} molecules")


if __name__ == "__main__":
    main()
