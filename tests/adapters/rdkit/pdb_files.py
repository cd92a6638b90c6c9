"""Files of the Protein Data Bank that tests read."""

from __future__ import annotations

from rdkit import Chem

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.records import Molecule


def canonical(molecule: Molecule) -> str:
    return Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(to_mol(molecule))))
