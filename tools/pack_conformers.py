#!/usr/bin/env python3
"""Pack conformers of several sources into the training file of `equidrift train
conformers`.

    pack_conformers.py OUT.npz [--pairs PAIRS.npz ...] [--ensembles GFN2.npz ...] [--qm9
    qm9_130831.npz --first 0 --count 40000]

--pairs: files of make_relaxation_pairs.py. --ensembles: files of
make_gfn2_conformers.py; their MMFF94 starts are made here. --qm9: B3LYP geometries;
atoms are matched to the SMILES by connectivity, and the MMFF94 starts are made here.
Stereo is read from the geometry. Held-out molecules are left out
(equidrift.models.shared.split.held_out), whatever the file says; --split val packs
those of the validation part instead. The format is that of `ConformerSet`.
"""

import argparse
import time

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import rdForceFieldHelpers

from equidrift.adapters.rdkit.molecule import from_mol
from equidrift.models.conformers.data import ConformerSet
from equidrift.models.shared.graph_codes import LEVELS
from equidrift.models.shared.split import held_out

RDLogger.DisableLog("rdApp.*")
B3LYP, GFN2 = 0, 1


def with_conformer(mol, pos_A):
    """A copy of `mol` with one conformer and the stereo that the conformer has."""
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.asarray(pos_A, np.float64))
    mol.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(mol)
    return mol


def split_of(mol):
    """The part that a molecule belongs to."""
    return held_out(Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False))


def mmff_start(mol):
    """MMFF94 minimum next to the Mol's conformer, or None if it cannot be had."""
    work = Chem.Mol(mol)
    if rdForceFieldHelpers.MMFFOptimizeMolecule(work, maxIters=1000) < 0:
        return None
    return work.GetConformer().GetPositions()


def near(a, b, limit_A):
    """Whether no interatomic distance differs by over `limit_A`: the same basin."""
    first, second = (np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (a, b))
    return np.abs(first - second).max() < limit_A


def from_pairs(path, split):
    """(Mol, level, starts, target) of each pair of make_relaxation_pairs.py."""
    data = dict(np.load(path))
    for k, smiles in enumerate(data["smiles"]):
        mol = Chem.AddHs(Chem.MolFromSmiles(str(smiles)))
        if split_of(mol) == split:
            rows = slice(data["offset"][k], data["offset"][k + 1])
            yield (
                with_conformer(mol, data["gfn2"][rows]),
                GFN2,
                [data["mmff"][rows], data["start"][rows]],
                data["gfn2"][rows],
            )


def from_ensembles(path, split):
    """The same of the conformers of make_gfn2_conformers.py."""
    data = dict(np.load(path))
    for k, smiles in enumerate(data["smiles"]):
        mol = Chem.AddHs(Chem.MolFromSmiles(str(smiles)))
        if split_of(mol) != split:
            continue
        for c in range(data["conf_offset"][k], data["conf_offset"][k + 1]):
            target = data["R"][data["coord_offset"][c] : data["coord_offset"][c + 1]]
            placed = with_conformer(mol, target)
            start = mmff_start(placed)
            if start is not None and near(start, target, 1.0):
                yield placed, GFN2, [start], target


def from_qm9(path, split, first, count):
    """The same of QM9's B3LYP geometries, in a fixed random order."""
    data = dict(np.load(path))
    order = np.random.default_rng(0).permutation(len(data["smiles"]))[first : first + count]
    for k in order:
        rows = slice(data["offset"][k], data["offset"][k + 1])
        mol = matched(str(data["smiles"][k]), data["z"][rows], data["R"][rows])
        if mol is None or split_of(mol) != split:
            continue
        start, target = mmff_start(mol), mol.GetConformer().GetPositions()
        if start is not None and near(start, target, 1.0):
            yield mol, B3LYP, [start], target


def matched(smiles, numbers, pos_A):
    """The SMILES's Mol with the geometry of `pos_A`, whose atoms come in another order;
    None if they do not fit.
    """
    mol = Chem.MolFromSmiles(smiles)
    mol = mol and Chem.AddHs(mol)
    if mol is None or mol.GetNumAtoms() != len(numbers):
        return None
    table = Chem.GetPeriodicTable()
    radius = np.array([table.GetRcovalent(int(z)) for z in numbers])
    ratio = np.linalg.norm(pos_A[:, None] - pos_A[None], axis=-1) / (radius[:, None] + radius[None])
    for factor in (1.3, 1.2, 1.25, 1.15, 1.35):
        pairs = np.argwhere(np.triu(ratio < factor, 1))
        if len(pairs) == mol.GetNumBonds():
            break
    else:
        return None
    bare = Chem.RWMol()
    for z in numbers:
        bare.AddAtom(Chem.Atom(int(z)))
    for i, j in pairs.tolist():
        bare.AddBond(i, j, Chem.BondType.SINGLE)
    query = Chem.RWMol()
    for atom in mol.GetAtoms():
        query.AddAtom(Chem.Atom(atom.GetAtomicNum()))
    for bond in mol.GetBonds():
        query.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), Chem.BondType.SINGLE)
    found = bare.GetMol().GetSubstructMatch(query.GetMol())
    return with_conformer(mol, pos_A[list(found)]) if found else None


def main() -> None:
    """Pack all sources into one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out"), parser.add_argument("--pairs", nargs="*", default=[])
    parser.add_argument("--ensembles", nargs="*", default=[]), parser.add_argument("--qm9")
    (
        parser.add_argument("--first", type=int, default=0),
        parser.add_argument("--count", type=int, default=40000),
    )
    parser.add_argument("--split", default="train", choices=["train", "val"])
    args = parser.parse_args()
    begun, packed = time.time(), ConformerSet.empty()
    sources = [from_pairs(p, args.split) for p in args.pairs] + [
        from_ensembles(p, args.split) for p in args.ensembles
    ]
    if args.qm9:
        sources.append(from_qm9(args.qm9, args.split, args.first, args.count))
    for source in sources:
        for mol, level, starts, target in source:
            packed.add(from_mol(mol), LEVELS[level], target, starts)
            if len(packed) % 5000 == 0:
                print(f"{len(packed)} conformers, {time.time() - begun:.0f} s", flush=True)
    packed.save(args.out)
    print(f"{len(packed)} conformers, {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
