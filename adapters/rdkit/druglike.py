"""What a chemist asks of a drug-size molecule, of its graph alone, and the neutral form
of a molecule that was drawn as a salt or at a pH.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import QED, Crippen, Descriptors, rdMolDescriptors
from rdkit.Chem.MolStandardize import rdMolStandardize

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.records import Molecule


def sa_score(mol: Chem.Mol) -> float:
    """Synthetic accessibility, 1 (easy) to 10 (hard).

    References
    ----------
    Ertl and Schuffenhauer, J. Cheminf. 2009, 1, 8, doi:10.1186/1758-2946-1-8; the
    authors' own code in RDKit's Contrib.
    """
    from rdkit.Contrib.SA_Score import sascorer  # reads a table of fragments, half a second

    return float(sascorer.calculateScore(mol))


def mol_values(mol: Chem.Mol) -> dict[str, float]:
    """Properties of a sanitised Mol, hydrogens explicit or not.

    Returns
    -------
    dict of str to float
        MW, the average molecular weight in g/mol; QED, 0 to 1 (Bickerton 2012); SA, 1
        (easy to make) to 10 (Ertl 2009); TPSA in A^2 (Ertl 2000, N and O); logP
        (Wildman and Crippen 1999).
    """
    mol = Chem.RemoveHs(mol)
    return {
        "MW": float(Descriptors.MolWt(mol)),  # type: ignore[attr-defined]
        "QED": float(QED.qed(mol)),  # type: ignore[no-untyped-call]
        "SA": sa_score(mol),
        "TPSA": float(rdMolDescriptors.CalcTPSA(mol)),
        "logP": float(Crippen.MolLogP(mol)),  # type: ignore[attr-defined]
    }


def graph_values(
    systems: Sequence[tuple[Molecule, NDArray[np.float64]]],
) -> dict[str, NDArray[np.float64]]:
    """The judge `rdkit`: `mol_values` of each (molecule, positions_A), exact, as columns."""
    rows = [mol_values(to_mol(molecule)) for molecule, _ in systems]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def neutral_smiles(smiles: str) -> str:
    """The SMILES of the neutral form, stereo kept; empty for a SMILES that cannot be
    read, of several pieces, of radicals, or whose charge no proton can balance.

    Charges that balance each other without a proton, as in a nitro group, stay.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None or "." in smiles or Descriptors.NumRadicalElectrons(mol):  # type: ignore
            return ""
        mol = rdMolStandardize.Uncharger().uncharge(mol)
    return Chem.MolToSmiles(mol) if Chem.GetFormalCharge(mol) == 0 else ""


def flat_smiles(smiles: str) -> str:
    """The SMILES without stereo, by which molecules are held out; empty for one that
    cannot be read.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    return "" if mol is None else Chem.MolToSmiles(mol, isomericSmiles=False)
