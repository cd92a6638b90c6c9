"""What tests of the way into OpenMM start from."""

from __future__ import annotations

import openmm
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from equidrift.adapters.rdkit.molecule import from_mol
from equidrift.records import Ensemble

REFERENCE = openmm.Platform.getPlatform("Reference")


def embedded(smiles: str, n: int = 2) -> Ensemble:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    ids = rdDistGeom.EmbedMultipleConfs(mol, n, randomSeed=11)
    return Ensemble(from_mol(mol, smiles=smiles), [mol.GetConformer(k).GetPositions() for k in ids])
