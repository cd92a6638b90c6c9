#!/usr/bin/env python3
"""Make tests/data/elements.smi: molecules that span every element and charge that the
default claims, none of them among those of the bond table.

    make_element_molecules.py [--zinc FILE] [--out tests/data/elements.smi] [--seed 0]
    [--each N]

Drug-like molecules of ZINC's test part are broken into pieces of up to 14 heavy atoms
(BRICS), and a hydrogen of a carbon of each is replaced by a group of GROUPS: each
element that is claimed, in its usual valences, and charges from -2 to +2. Small
molecules of the elements themselves stand in SMALL. What is in
tools/bond_table_molecules.smi is left out. With `--each N` the pieces take groups of
those elements alone of which fewer than N molecules are there, and SMALL is left out:
the list of `equidrift bench elements`.
"""

import argparse
import os
import random
from collections import Counter
from pathlib import Path

from rdkit import Chem, RDLogger
from rdkit.Chem import BRICS

from equidrift.bench.elements import kinds_of
from equidrift.errors import EquidriftError
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule

RDLogger.DisableLog("rdApp.*")
ROOT = Path(__file__).parents[1]
GROUPS = (
    *("B(O)O", "B1OC(C)(C)C(C)(C)O1", "B(C)C", "[B-](F)(F)F", "B(OC)OC"),
    *("[Si](C)(C)C", "O[Si](C)(C)C", "[SiH2]C", "[Si](C)(C)O", "[Si](OC)(OC)OC"),
    *("P(C)C", "P(=O)(OC)OC", "OP(=O)(O)O", "OP(=O)([O-])[O-]", "P(=O)(C)C", "[P+](C)(C)C"),
    *("P(=O)([O-])O", "P(=S)(OC)OC", "OP(OC)OC", "I", "Br", "Cl", "F", "C(F)(F)F"),
    *("S", "SC", "SSC", "S(=O)C", "S(=O)(=O)C", "S(=O)(=O)N", "S(=O)(=O)[O-]", "S(=O)(=O)F"),
    *("S(=O)(=O)Cl", "[S+](C)C", "SC#N", "N=C=S", "C(=S)N", "N=S(C)(C)=O", "OS(=O)(=O)[O-]"),
    *("[N+](=O)[O-]", "[N+](C)(C)C", "[NH3+]", "N=[N+]=[N-]", "[N+]#[C-]", "C#N", "NN", "ON"),
    *("NO", "N(C)OC", "NCl", "C(=O)[O-]", "C(=O)C(=O)[O-]", "OO", "OC#N", "N=C=O", "C(=O)Cl"),
    *("C=C=C", "C#CC", "C1CC1", "C1(C)N=N1", "C(=N)N", "C(=[NH2+])N", "CC[NH2+]CC[NH3+]"),
)
SMALL = (
    *("BC", "CB(C)C", "OB(O)O", "FB(F)F", "C[BH2]", "C[SiH3]", "Cl[Si](Cl)(Cl)Cl", "F[SiH3]"),
    *("CP(C)C", "FP(F)F", "O=P(Cl)(Cl)Cl", "[O-][N+](=O)O", "CI", "ClI", "BrI", "FC(F)(F)I"),
    *("F", "Cl", "Br", "I", "O", "N", "S", "C", "[OH-]", "[NH4+]", "[OH3+]", "C#[O+]", "[C-]#N"),
    *("O=S(=O)=O", "FS(F)(F)(F)(F)F", "CS(=O)(=O)O", "O=C=O", "S=C=S", "O=C=S", "N#N", "OO"),
)
WANTED = 360
RARE = ("B", "F", "Si", "P", "S", "Cl", "Br", "I", "S(VI)", "isocyanide")
CUT_SULFONYL = Chem.MolFromSmarts("[S;H1]=O")  # a tautomer that nobody has


def pieces(zinc, rng, part="test"):
    """Pieces of molecules of a part, as Mols without dummy atoms."""
    seen = set()
    lines = zinc.read_text().splitlines()
    rng.shuffle(lines)
    for line in lines:
        mol = Chem.MolFromSmiles(line.split()[0]) if line.strip() else None
        if mol is None or held_out(Chem.MolToSmiles(mol, isomericSmiles=False)) != part:
            continue
        for text in sorted(BRICS.BRICSDecompose(mol)):
            whole = Chem.MolFromSmiles(text)
            bare = Chem.ReplaceSubstructs(
                whole, Chem.MolFromSmarts("[#0]"), Chem.MolFromSmiles("[H]"), replaceAll=True
            )[0]
            try:
                bare = Chem.RemoveHs(bare)
            except ValueError:
                continue
            smiles = Chem.MolToSmiles(bare)
            odd = bare.HasSubstructMatch(CUT_SULFONYL) or "." in smiles
            if 3 <= bare.GetNumHeavyAtoms() <= 14 and not odd and smiles not in seen:
                seen.add(smiles)
                piece = Chem.MolFromSmiles(smiles)
                Chem.RemoveStereochemistry(piece)  # of a bridge cut in two, it may be impossible
                yield piece


def substituted(mol, group, rng):
    """The molecule with a hydrogen of one of its carbons replaced, None if it has none."""
    carbons = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 6 and a.GetTotalNumHs()]
    if not carbons:
        return None
    added = Chem.MolFromSmiles(group)
    both = Chem.RWMol(Chem.CombineMols(mol, added))
    both.AddBond(rng.choice(carbons), mol.GetNumAtoms(), Chem.BondType.SINGLE)
    made = Chem.Mol(both)
    for atom in made.GetAtoms():
        atom.SetAtomMapNum(0)
    try:
        Chem.SanitizeMol(made)
    except ValueError:
        return None
    return None if any(atom.GetNumRadicalElectrons() for atom in made.GetAtoms()) else made


def all_of(zinc, known, rng):
    """The list of the tests: SMALL, and a group after the other on a piece each."""
    found = [smiles for smiles in SMALL if Chem.CanonSmiles(smiles) not in known]
    taken, k = set(map(Chem.CanonSmiles, found)) | known, 0
    for mol in pieces(zinc, rng):
        if len(found) == WANTED:
            break
        made = substituted(mol, GROUPS[k % len(GROUPS)], rng)
        smiles = None if made is None else Chem.MolToSmiles(made)
        if smiles is None or smiles in taken or Chem.MolFromSmiles(smiles) is None:
            continue
        taken.add(smiles)
        found.append(smiles)
        k += 1
    return found


def each_of(zinc, known, rng, wanted):
    """`wanted` molecules of each element, of S(VI) and isocyanides."""
    groups = {kind: [] for kind in RARE}
    for group in GROUPS:
        for kind in set(kinds_of(Molecule.from_smiles(group))) & set(RARE):
            groups[kind].append(group)
    counts, found, taken = Counter(), [], set(known)
    for mol in pieces(zinc, rng):
        short = [kind for kind in RARE if counts[kind] < wanted]
        if not short:
            break
        kind = min(short, key=counts.__getitem__)
        made = substituted(mol, groups[kind][counts[kind] % len(groups[kind])], rng)
        smiles = None if made is None else Chem.MolToSmiles(made)
        if smiles is None or smiles in taken:
            continue
        try:
            counts.update(kinds_of(Molecule.from_smiles(smiles)))
        except EquidriftError:
            continue
        taken.add(smiles)
        found.append(smiles)
    return found


def main():
    """Write the list."""
    data = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zinc", default=str(data / "zinc_smiles" / "zinc_29k.smi"))
    parser.add_argument("--out", default=str(ROOT / "tests" / "data" / "elements.smi"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, help="molecules of each element")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    table = (ROOT / "tools" / "bond_table_molecules.smi").read_text().split()
    known = {Chem.CanonSmiles(smiles) for smiles in table}
    if args.each is None:
        found = all_of(Path(args.zinc), known, rng)
    else:
        found = each_of(Path(args.zinc), known, rng, args.each)
    Path(args.out).write_text("".join(f"{smiles}\n" for smiles in found))


if __name__ == "__main__":
    main()
