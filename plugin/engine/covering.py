"""The choice of conformers that stand for all low ones: each sample takes the candidate
that most of the others, the low ones above all, lie nearest to. numpy only.

The lowest ones alone would lie close together, and an energy with errors does not know
which of them is the lowest.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from equidrift.engine.candidates import Pool, Positions, offered
from equidrift.engine.diversity import torsions
from equidrift.geometry import rmsd_pairs
from equidrift.graph import heavy_atoms, neighbours_of
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.units import KCAL_MOL_PER_EV

# Chosen on 18 molecules of ZINC's validation part: a spread of .5 kcal/mol takes what is near to
# the lowest alone, 3 too much that is high; of the distance, its root and its square the root; new
# ones first within 3 to 6 kcal/mol are level, and without a limit worse.
SPREAD_EV = 1.5 / KCAL_MOL_PER_EV  # candidates weigh exp(-energy / SPREAD_EV)
NEW_WITHIN_EV = 5.0 / KCAL_MOL_PER_EV  # of the lowest: there new torsions come first
MOST_SYMMETRIES = 16  # renumberings that a distance is the least over
LISTED = 2000  # symmetries that are looked at for these
SAME = 0.1  # root of A: what lies within .01 A of a conformer that is taken is the same
TIE = 1e-6  # gains that differ by less are the same, as those of mirror images are; the lower wins


def pick_covering(
    molecule: Molecule, pool: Pool, count: int, *, mirror: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For the first sample the lowest candidate, for each that follows the one that takes
    most off the weighted sum of the roots of the distances between every candidate and the
    nearest conformer taken: one with new torsions if any within 5 kcal/mol of the lowest
    has them. Where none takes anything off, the lowest that is left. Takes and returns
    what `pick_lowest` does.
    """
    owner, sign = offered(pool, mirror=mirror)
    apart = np.sqrt(distances_A(molecule, pool.positions_A[owner[sign > 0]], mirror=mirror))
    ranks, slot, kinds = pool.ranks_eV[owner], pool.slot[owner], torsions(molecule)
    angles_deg = sign[:, None] * kinds.angles_deg(pool.positions_A[owner])
    near, rows, chosen = np.full(len(owner), np.inf), np.full(count, -1), np.ones(count)
    free, new = np.ones(len(owner), bool), np.ones(len(owner), bool)
    for k in range(count):
        there = np.flatnonzero(slot <= k)  # in the order of their ranks
        left = there[free[there]]
        if not len(left):
            continue
        above_eV = ranks - ranks[there[0]]
        low = left[new[left] & (above_eV[left] < NEW_WITHIN_EV)]
        left = low if len(low) else left
        pick = left[0]
        if np.isfinite(near[pick]):  # not the first
            nearer = np.maximum(near[there, None] - apart[np.ix_(there, left)], 0.0)
            gains = np.exp(-above_eV[there] / SPREAD_EV) @ nearer
            gains[near[left] < SAME] = 0.0
            if gains.max() > 0:
                pick = left[np.flatnonzero(gains >= gains.max() * (1 - TIE))[0]]
        rows[k], chosen[k], free[pick] = owner[pick], sign[pick], False
        near = np.minimum(near, apart[:, pick])
        new &= kinds.differ(angles_deg, angles_deg[pick])
    return rows, chosen


def distances_A(molecule: Molecule, positions_A: Positions, *, mirror: bool) -> NDArray[np.float64]:
    """RMSD of heavy atoms between conformers after superposition, the least over the
    symmetries of the graph.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    positions_A : (c, n_atoms, 3)
        The conformers.
    mirror : bool
        Whether their mirror images are conformers, too: each follows its own.

    Returns
    -------
    (c, c) or (2 * c, 2 * c) array
        In A.
    """
    groups, orders = symmetries_of(molecule)
    x = np.stack([positions_A[:, group].mean(axis=1) for group in groups], axis=1)
    same = rmsd_pairs(x, x, orders)
    if not mirror:
        return same
    other = rmsd_pairs(x, x * [1.0, 1.0, -1.0], orders)
    both = np.stack([np.stack([same, other], -1), np.stack([other, same], -1)], 1)
    return both.reshape(2 * len(x), 2 * len(x))


@lru_cache(maxsize=256)
def symmetries_of(molecule: Molecule) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """What stands for each heavy atom, and the renumberings of these.

    Returns
    -------
    groups : list of array of int
        For each heavy atom the atoms whose centre stands for it: itself, or the end
        atoms of one element on one neighbour, which change places at a turn.
    orders : (p, heavy) array of int
        Renumberings that keep the graph, the identity first, at most `MOST_SYMMETRIES`.
    """
    heavy = heavy_atoms(molecule)
    neighbours = neighbours_of(molecule.n_atoms, molecule.bonds)
    kinds: list[tuple[int, int]] = []  # the same of end atoms that change places
    for atom in heavy.tolist():
        around = [other for other in neighbours[atom] if molecule.numbers[other] > 1]
        kinds.append((around[0], int(molecule.numbers[atom])) if len(around) == 1 else (atom, 0))
    groups = [heavy[[other == kind for other in kinds]] for kind in kinds]
    stands = np.array([group[0] for group in groups])
    place = np.full(molecule.n_atoms, -1)
    place[heavy] = np.arange(len(heavy))
    found = host_function("rdkit", "heavy_symmetries")(molecule, limit=LISTED)
    orders = place[stands[np.concatenate([np.arange(len(heavy))[None], place[found[:, heavy]]])]]
    _, first = np.unique(orders, axis=0, return_index=True)
    return groups, orders[np.sort(first)[:MOST_SYMMETRIES]]
