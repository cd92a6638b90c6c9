"""MMFF94's pair terms between two molecules, as tables."""

from __future__ import annotations

import numpy as np
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.force_fields import rdForceFieldHelpers
from equidrift.adapters.rdkit.mmff import parameters
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.geometry import Floats
from equidrift.records import Molecule
from equidrift.units import COULOMB_EV_A_PER_E2, KCAL_MOL_PER_EV

# Parameters of a pair hang on the types of its atoms alone, so a pair of each two types is asked
# for, not every pair of atoms.


def interaction(one: Molecule, other: Molecule) -> tuple[Floats, Floats, Floats]:
    """R* (A), epsilon (eV) and the product of the charges (eV A), each (n, m), of every
    atom of `one` with every atom of `other`.

    Raises
    ------
    MoleculeError
        If MMFF94 has no parameters for one of them.
    """
    mols = [to_mol(molecule) for molecule in (one, other)]
    n = one.n_atoms
    both = Chem.CombineMols(*mols)
    Chem.SanitizeMol(both)
    first, second = (parameters(mol) for mol in mols)
    with rdBase.BlockLogs():
        found = rdForceFieldHelpers.MMFFGetMoleculeProperties(both)
    kinds, rows = np.unique(first.types, return_index=True)
    others, columns = np.unique(second.types, return_index=True)
    table = np.array(
        [[found.GetMMFFVdWParams(int(i), int(n + j))[2:4] for j in columns] for i in rows]
    )
    picked = table[np.searchsorted(kinds, first.types)][:, np.searchsorted(others, second.types)]
    products = np.outer(first.charges_e, second.charges_e) * COULOMB_EV_A_PER_E2
    return picked[..., 0], picked[..., 1] / KCAL_MOL_PER_EV, products
