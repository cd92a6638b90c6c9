#!/usr/bin/env python3
"""Make pairs of force-field and GFN2-xTB geometries: what the refiner learns from.

    make_relaxation_pairs.py SMILES.smi OUT.npz [--per-mol 2] [--seed 0] [--seconds
    3600] [--fmax 0.01]

Each molecule is embedded (ETKDGv3), relaxed with MMFF94 and then with GFN2-xTB (tblite
through ASE). Written per conformer: the embedded, the MMFF94 and the GFN2-xTB geometry
(`start`, `mmff`, `gfn2`, float32, A) and the GFN2-xTB energies of the last two
(`e_mmff`, `e_gfn2`, eV). `smiles[k]` belongs to conformer k, its atoms are those of
Chem.AddHs(Chem.MolFromSmiles(smiles[k])) and rows `offset[k]:offset[k+1]` of the arrays
are its coordinates. A conformer is dropped when its bonds change on the way. The file
is rewritten every minute; a stopped run keeps what it had. Needs `pip install
equidrift[xtb]`. Hold out the test molecules beforehand (see models/conformers/data.py).
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from ase import Atoms, units
from ase.optimize import BFGS
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem, rdDistGeom
from tblite.ase import TBLite

RDLogger.DisableLog("rdApp.*")


def same_bonds(mol, pos_A):
    """True when the bonds of `mol` are the only pairs closer than 1.3 (bonded) or 1.05
    (others) covalent radii.
    """
    table = Chem.GetPeriodicTable()
    radius = np.array([table.GetRcovalent(a.GetAtomicNum()) for a in mol.GetAtoms()])
    distance = np.linalg.norm(pos_A[:, None] - pos_A[None], axis=-1)
    total = radius[:, None] + radius[None]
    bonded = Chem.GetAdjacencyMatrix(mol).astype(bool)
    free = ~bonded & ~np.eye(len(radius), dtype=bool)
    return not (
        (distance[bonded] > 1.3 * total[bonded]).any()
        or (distance[free] < 1.05 * total[free]).any()
    )


def mmff_hessian_eV_A2(mol, conf_id, floor=0.5, step_A=1e-3):
    """Hessian of MMFF94 by central differences, eigenvalues no smaller than `floor`: a
    start that quarters BFGS's steps.
    """
    field = AllChem.MMFFGetMoleculeForceField(
        mol, AllChem.MMFFGetMoleculeProperties(mol), confId=conf_id
    )

    def gradient(x):
        field.CalcEnergy(
            list(x)
        )  # without it RDKit differentiates with the distances of the previous call
        return np.array(field.CalcGrad(list(x)))

    x = np.array(field.Positions()).ravel()
    rows = [
        (gradient(x + step_A * e) - gradient(x - step_A * e)) / (2 * step_A) for e in np.eye(len(x))
    ]
    value, vector = np.linalg.eigh((np.array(rows) + np.array(rows).T) / 2 * units.kcal / units.mol)
    return (vector * np.maximum(np.abs(value), floor)) @ vector.T


def relax(smiles, n, seed, fmax):
    """Yield (start, mmff, gfn2, e_mmff, e_gfn2) of up to `n` conformers of one
    molecule.
    """
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    options = rdDistGeom.ETKDGv3()
    options.randomSeed, options.useSmallRingTorsions, options.pruneRmsThresh = seed, True, 0.1
    try:
        ids = list(rdDistGeom.EmbedMultipleConfs(mol, n, options))
    except RuntimeError:  # RDKit's minimiser gives up on some strained cages
        return
    starts = [mol.GetConformer(i).GetPositions() for i in ids]
    if not ids or any(
        flag < 0 for flag, _ in AllChem.MMFFOptimizeMoleculeConfs(mol, maxIters=2000)
    ):
        return
    numbers = [a.GetAtomicNum() for a in mol.GetAtoms()]
    charge = Chem.GetFormalCharge(mol)
    for start, i in zip(starts, ids, strict=True):
        mmff = mol.GetConformer(i).GetPositions()
        atoms = Atoms(numbers, mmff)
        atoms.calc = TBLite(method="GFN2-xTB", charge=charge, verbosity=0)
        try:
            e_mmff = atoms.get_potential_energy()
            optimiser = BFGS(atoms, logfile=None, maxstep=0.2)
            optimiser.H0 = mmff_hessian_eV_A2(mol, i)
            done = optimiser.run(fmax=fmax, steps=200)
            if done and same_bonds(mol, atoms.positions):
                yield start, mmff, atoms.get_positions(), e_mmff, atoms.get_potential_energy()
        except Exception as error:  # a failed SCF drops the conformer, and says so
            print("dropped", smiles, repr(error)[:80], file=sys.stderr)


def save(path, rows):
    """Write all pairs, atomically."""
    offset = np.cumsum([0] + [len(r[1]) for r in rows])
    arrays = {
        name: np.concatenate([r[k] for r in rows]).astype(np.float32)
        for k, name in ((1, "start"), (2, "mmff"), (3, "gfn2"))
    }
    np.savez_compressed(
        path + ".tmp.npz",
        smiles=np.array([r[0] for r in rows]),
        offset=offset,
        e_mmff=np.array([r[4] for r in rows]),
        e_gfn2=np.array([r[5] for r in rows]),
        **arrays,
    )
    os.replace(path + ".tmp.npz", path)


def main() -> None:
    """Relax and write, every now and then and at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("smiles", type=Path)
    parser.add_argument("out")
    parser.add_argument("--per-mol", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--fmax", type=float, default=0.01)
    args = parser.parse_args()
    rows, begun, saved = [], time.time(), time.time()
    for k, line in enumerate(args.smiles.read_text(encoding="utf-8").splitlines()):
        if time.time() - begun > args.seconds:
            break
        if line.strip():
            rows += [
                (line.split()[0], *r)
                for r in relax(line.split()[0], args.per_mol, args.seed + k, args.fmax)
            ]
        if rows and time.time() - saved > 60:
            save(args.out, rows)
            saved = time.time()
            print(f"{k + 1} molecules, {len(rows)} conformers, {saved - begun:.0f} s", flush=True)
    if rows:
        save(args.out, rows)
    print(f"{len(rows)} conformers, {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
