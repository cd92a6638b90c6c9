"""Heavy-atom RMSD over all symmetries, by RDKit: which conformers of a molecule are
distinct.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolAlign

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.records import Molecule


def heavy_copy(molecule: Molecule, positions_A: NDArray[np.float64]) -> Chem.Mol:
    """The RDKit Mol without its hydrogens, with one conformer per block of
    positions_A (k, n_atoms, 3).
    """
    mol = to_mol(molecule, positions_A)
    with rdBase.BlockLogs():
        heavy: Chem.Mol = Chem.RemoveHs(mol)
    return heavy


def distinct(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    threshold_A: float,
    order: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Which conformers to keep so that no two are closer than the threshold.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    positions_A : array
        (k, n_atoms, 3).
    threshold_A : float
        Heavy-atom RMSD after the best alignment over all symmetries.
    order : array of int, optional
        In which conformers are considered, None for the given order; the first one is
        always kept.

    Returns
    -------
    (k,) bool.
    """
    heavy = heavy_copy(molecule, positions_A)
    kept: list[int] = []
    for k in range(len(positions_A)) if order is None else order.tolist():
        if all(_rmsd(heavy, k, other) >= threshold_A for other in kept):
            kept.append(k)
    keep = np.zeros(len(positions_A), bool)
    keep[kept] = True
    return keep


def _rmsd(heavy: Chem.Mol, first: int, second: int) -> float:
    return float(rdMolAlign.GetBestRMS(heavy, heavy, prbId=first, refId=second))


def rmsd_matrix(
    molecule: Molecule, first_A: NDArray[np.float64], second_A: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Heavy-atom RMSD in A over all symmetries between every conformer of `first_A` (r,
    n, 3) and of `second_A` (g, n, 3): (r, g).
    """
    heavy = heavy_copy(molecule, np.concatenate([first_A, second_A]))
    r, g = len(first_A), len(second_A)
    return np.array([[_rmsd(heavy, r + k, j) for k in range(g)] for j in range(r)]).reshape(r, g)


def heavy_symmetries(molecule: Molecule, limit: int = 10_000) -> NDArray[np.int64]:
    """Permutations (p, n_atoms) of the heavy atoms that keep the graph, the identity
    among them; hydrogens stay where they are.
    """
    heavy = np.flatnonzero(molecule.numbers > 1)
    mol = Chem.RWMol(to_mol(molecule))
    for k in np.flatnonzero(molecule.numbers == 1)[::-1].tolist():
        mol.RemoveAtom(k)
    plain = mol.GetMol()
    matches = plain.GetSubstructMatches(plain, uniquify=False, maxMatches=limit)
    out = np.tile(np.arange(molecule.n_atoms), (len(matches), 1))
    out[:, heavy] = heavy[np.array(matches, np.int64).reshape(len(matches), len(heavy))]
    return out
