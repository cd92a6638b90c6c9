#!/usr/bin/env python3
"""Make the table of GFN2-xTB bond lengths that the geometry checks and the default
chain use.

    make_bond_table.py [--molecules tools/bond_table_molecules.smi] [--out
    plugin/checks/bond_lengths.json]

Each small molecule is embedded, relaxed with MMFF94 or UFF, and then with GFN2-xTB
(tblite through ASE). Each of its bonds is one reference of its environment: the two
elements, the neighbours each has, and the bond order. The table holds the shortest and
the longest reference of each environment, and the SMILES they come from. Needs
`equidrift[xtb]`.
"""

from __future__ import annotations

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.optimize import BFGS
from rdkit import Chem, RDLogger
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from tblite.ase import TBLite

RDLogger.DisableLog("rdApp.*")
SEED = 7
FMAX_EV_A = 0.02
STEPS = 300
TORN_A = 2.9  # a bond longer than this has broken on the way: the reference is dropped


def embedded(mol: Chem.Mol) -> np.ndarray | None:
    """Coordinates (n_atoms, 3) from RDKit and its force fields, None if it cannot
    embed.
    """
    if mol.GetNumAtoms() == 2:
        return np.array([[0.0, 0.0, 0.0], [1.4, 0.0, 0.0]])
    options = rdDistGeom.ETKDGv3()
    options.randomSeed = SEED
    if rdDistGeom.EmbedMolecule(mol, options) < 0:
        options.useRandomCoords = True
        if rdDistGeom.EmbedMolecule(mol, options) < 0:
            return None
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=500)
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        rdForceFieldHelpers.UFFOptimizeMolecule(mol, maxIters=500)
    return mol.GetConformer().GetPositions()


def relaxed(mol: Chem.Mol, positions_A: np.ndarray) -> np.ndarray | None:
    """The GFN2-xTB minimum (n_atoms, 3), None if it does not converge."""
    atoms = Atoms([atom.GetAtomicNum() for atom in mol.GetAtoms()], positions_A)
    atoms.calc = TBLite(method="GFN2-xTB", charge=Chem.GetFormalCharge(mol), verbosity=0)
    try:
        converged = BFGS(atoms, logfile=None, maxstep=0.2).run(fmax=FMAX_EV_A, steps=STEPS)
    except Exception as error:
        print("dropped", Chem.MolToSmiles(mol), repr(error)[:80])
        return None
    return atoms.positions if converged else None


def environment(bond: Chem.Bond) -> str:
    """`Z1.neighbours-Z2.neighbours-order`, the lower pair first."""
    ends = sorted(
        (atom.GetAtomicNum(), atom.GetDegree()) for atom in (bond.GetBeginAtom(), bond.GetEndAtom())
    )
    return (
        "-".join(f"{z}.{neighbours}" for z, neighbours in ends) + f"-{bond.GetBondTypeAsDouble():g}"
    )


def main() -> None:
    """Read the SMILES, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--molecules", default="tools/bond_table_molecules.smi")
    parser.add_argument("--out", default="plugin/checks/bond_lengths.json")
    args = parser.parse_args()
    lengths: dict[str, list[float]] = {}
    used = []
    for smiles in Path(args.molecules).read_text().split():
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        start = embedded(mol)
        found = None if start is None else relaxed(mol, start)
        if found is None:
            print("no reference from", smiles, flush=True)
            continue
        used.append(smiles)
        for bond in mol.GetBonds():
            length = float(
                np.linalg.norm(found[bond.GetBeginAtomIdx()] - found[bond.GetEndAtomIdx()])
            )
            if length < TORN_A:
                lengths.setdefault(environment(bond), []).append(length)
    table = {key: [round(min(row), 3), round(max(row), 3)] for key, row in sorted(lengths.items())}
    provenance = {
        "made_by": "tools/make_bond_table.py",
        "method": f"GFN2-xTB by tblite {version('tblite')}, largest force {FMAX_EV_A} eV/A",
        "key": "atomic number.neighbours of both ends, and the bond order (1.5 aromatic)",
        "value": "shortest and longest bond of the molecules, A",
        "molecules": len(used),
    }
    rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items())
    Path(args.out).write_text(
        f'{{"provenance": {json.dumps(provenance)},\n "bonds_A": {{\n{rows}\n }}}}\n'
    )
    print(f"{len(used)} molecules, {len(table)} environments")


if __name__ == "__main__":
    main()
