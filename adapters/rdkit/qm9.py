"""QM9's SMILES matched to its geometries by RDKit: bonds, orders and formal charges of
every atom, in the order of the geometry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.checks.geometry import COVALENT_RADII_A, TYPICAL_LENGTHS

LONGEST = 1.35  # bond length over the sum of covalent radii
MAX_MATCHES = 64
Bonds = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int8], str]


def match_geometry(
    smiles: str, numbers: NDArray[np.uint8], positions_A: NDArray[np.float32]
) -> Bonds | None:
    """Bonds of a geometry whose SMILES is known.

    Parameters
    ----------
    smiles : str
        Of the molecule, in any atom order.
    numbers : array of int
        (n,) atomic numbers.
    positions_A : array
        (n, 3) in A.

    Returns ------- (bonds (m, 2), Kekulised orders (m,), aromatic (m,), formal charges
    (n,), SMILES without stereo), or None if the connections that distances tell are
    not those of the SMILES.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None or any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return None
    key = Chem.MolToSmiles(mol, isomericSmiles=False)
    heavy = np.flatnonzero(numbers != 1)
    parent = _parents(numbers, positions_A, heavy)
    if mol.GetNumAtoms() != len(heavy) or parent is None:
        return None
    ratio = _ratios(numbers[heavy], positions_A[heavy])
    pairs = _shortest_pairs(ratio, mol.GetNumBonds())
    found = pairs is not None and _best_match(
        mol, numbers[heavy], np.bincount(parent, minlength=len(heavy)), pairs, ratio
    )
    if not found:
        return None
    place = heavy[list(found)]  # atom of the SMILES -> atom of the geometry
    aromatic = [bond.GetIsAromatic() for bond in mol.GetBonds()]
    Chem.Kekulize(mol, clearAromaticFlags=True)
    ends = [(place[b.GetBeginAtomIdx()], place[b.GetEndAtomIdx()]) for b in mol.GetBonds()]
    ends += list(zip(heavy[parent], np.flatnonzero(numbers == 1), strict=True))
    orders = [int(b.GetBondTypeAsDouble()) for b in mol.GetBonds()] + [1] * len(parent)
    charges = np.zeros(len(numbers), np.int8)
    charges[place] = [atom.GetFormalCharge() for atom in mol.GetAtoms()]
    bonds = np.array(ends, np.uint8).reshape(-1, 2)
    return (
        bonds,
        np.array(orders, np.uint8),
        np.array(aromatic + [False] * len(parent), bool),
        charges,
        key,
    )


def _ratios(numbers: NDArray[np.uint8], x: NDArray[np.float32]) -> NDArray[np.float64]:
    radii = COVALENT_RADII_A[numbers]
    step = (x[:, None] - x[None]).astype(np.float64)
    ratio: NDArray[np.float64] = np.sqrt((step**2).sum(-1)) / (radii[:, None] + radii[None])
    return ratio


def _parents(
    numbers: NDArray[np.uint8], x: NDArray[np.float32], heavy: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """For each hydrogen the nearest heavy atom (its place among them), None if one
    is bonded to nothing.
    """
    radii = COVALENT_RADII_A[numbers]
    hydrogens = np.flatnonzero(numbers == 1)
    if not len(heavy):
        return None
    if not len(hydrogens):
        return np.zeros(0, np.int64)
    ratio = np.linalg.norm(x[hydrogens, None] - x[None, heavy], axis=-1) / (
        radii[hydrogens, None] + radii[None, heavy]
    )
    parent: NDArray[np.int64] = ratio.argmin(1)
    return parent if ratio.min(1).max() < LONGEST else None


def _shortest_pairs(ratio: NDArray[np.float64], count: int) -> list[tuple[int, int]] | None:
    """The `count` shortest pairs of heavy atoms, None if that many are not bonded."""
    i, j = np.triu_indices(len(ratio), 1)
    if count > len(i):
        return None
    order = np.argsort(ratio[i, j])[:count]
    if count and ratio[i[order[-1]], j[order[-1]]] >= LONGEST:
        return None
    return list(zip(i[order].tolist(), j[order].tolist(), strict=True))


def _best_match(
    mol: Chem.Mol,
    numbers: NDArray[np.uint8],
    hydrogens: NDArray[np.int64],
    pairs: list[tuple[int, int]],
    ratio: NDArray[np.float64],
) -> tuple[int, ...] | None:
    """Heavy atom of the geometry for each of the SMILES, by elements, hydrogens and
    connections; of several, where orders fit lengths.
    """
    known = _skeleton(numbers.tolist(), hydrogens.tolist(), pairs)
    atoms = list(mol.GetAtoms())
    ends = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    wanted = _skeleton([a.GetAtomicNum() for a in atoms], [a.GetTotalNumHs() for a in atoms], ends)
    found = known.GetSubstructMatches(wanted, uniquify=False, maxMatches=MAX_MATCHES)
    if len(found) < 2:
        return found[0] if found else None
    lengths = np.array([TYPICAL_LENGTHS[b.GetBondTypeAsDouble()] for b in mol.GetBonds()])
    i, j = np.array(ends).T if ends else (np.zeros(0, int), np.zeros(0, int))
    misfit = [((ratio[np.array(m)[i], np.array(m)[j]] - lengths) ** 2).sum() for m in found]
    best: tuple[int, ...] = found[int(np.argmin(misfit))]
    return best


def _skeleton(numbers: list[int], hydrogens: list[int], pairs: list[tuple[int, int]]) -> Chem.Mol:
    """Heavy atoms with single bonds; the isotope tells how many hydrogens an atom has,
    so that a match respects them.
    """
    rw = Chem.RWMol()
    for z, h in zip(numbers, hydrogens, strict=True):
        atom = Chem.Atom(int(z))
        atom.SetIsotope(int(h) + 1)
        rw.AddAtom(atom)
    for i, j in pairs:
        rw.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    return rw.GetMol()
