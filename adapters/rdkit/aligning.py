"""RDKit's own alignment of two molecules, and which atoms two molecules share: what our
alignment is measured against.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdFMCS, rdMolAlign

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.geometry import Floats
from equidrift.records import Molecule

MOST_MATCHES = 400  # of a core in a molecule: its symmetries
SECONDS = 10  # for the largest common substructure


def open3daligned(moved: tuple[Molecule, Floats], fixed: tuple[Molecule, Floats]) -> Floats:
    """Positions (n, 3) of the first molecule laid onto the second by Open3DAlign, with
    RDKit's defaults.

    Parameters
    ----------
    moved, fixed : pair of Molecule and (n, 3) array
        Hydrogens and MMFF94's parameters are used.

    References
    ----------
    Tosco, Balle and Shiri, J. Comput. Aided Mol. Des. 2011, 25, 777.
    """
    probe, target = (to_mol(molecule, x[None]) for molecule, x in (moved, fixed))
    with rdBase.BlockLogs():
        rdMolAlign.GetO3A(probe, target).Align()
    return np.asarray(probe.GetConformer().GetPositions(), np.float64)


def common_core(first: Molecule, second: Molecule) -> NDArray[np.int64]:
    """Pairs (p, k, 2) of heavy atoms of the largest common substructure, whole rings
    only, in each of the p ways in which it lies on both.
    """
    mols = [Chem.RemoveHs(to_mol(molecule), sanitize=False) for molecule in (first, second)]
    heavy = [np.flatnonzero(molecule.numbers > 1) for molecule in (first, second)]
    for mol in mols:
        Chem.GetSSSR(mol)
    found = rdFMCS.FindMCS(
        mols,
        timeout=SECONDS,
        ringMatchesRingOnly=True,
        completeRingsOnly=True,
        bondCompare=rdFMCS.BondCompare.CompareAny,
    )
    core = Chem.MolFromSmarts(found.smartsString)
    ways = [
        heavy[k][
            np.array(
                mols[k].GetSubstructMatches(core, uniquify=bool(k), maxMatches=MOST_MATCHES),
                np.int64,
            )
        ]
        for k in (0, 1)
    ]
    pairs = [np.stack([one, other], axis=-1) for one in ways[0] for other in ways[1]]
    return np.array(pairs, np.int64)
