"""Which of several raw conformers is new: torsions folded by symmetry, compared with
those already taken. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from equidrift.geometry import dihedrals
from equidrift.graph import neighbours_of, ring_size, symmetry_classes
from equidrift.records import Molecule

# differences that make a torsion new
CHAIN_DEG = 60.0
RING_DEG = 35.0
HYDROGEN_DEG = 90.0  # of a polar hydrogen
SMALL_RINGS = (3, 4)  # atoms of a ring that has one shape


@dataclass(frozen=True)
class Torsions:
    """Atoms (k, 4) of the torsions that tell conformers apart, their rotational folds
    (k,) and thresholds (k,) in degrees.
    """

    atoms: NDArray[np.int64]
    fold: NDArray[np.int64]
    threshold_deg: NDArray[np.float64]

    def angles_deg(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Torsions (m, k) in degrees of positions_A (m, n_atoms, 3)."""
        return np.degrees(dihedrals(positions_A, self.atoms))

    def is_new(self, angles_deg: NDArray[np.float64], taken_deg: NDArray[np.float64]) -> bool:
        """Whether torsions (k,) differ from each row of `taken_deg` (m, k) by more than
        the threshold in at least one.
        """
        return bool(self.differ(taken_deg, angles_deg).all())

    def differ(
        self, many_deg: NDArray[np.float64], angles_deg: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Which rows (m,) of `many_deg` (m, k) differ from torsions (k,) by more than the
        threshold in at least one.
        """
        period = 360.0 / self.fold
        gap = np.abs(many_deg - angles_deg) % period
        differs = np.minimum(gap, period - gap) > np.minimum(self.threshold_deg, 0.4 * period)
        return np.asarray(differs.any(axis=1))


def count_repeats(molecule: Molecule, positions_A: NDArray[np.float64]) -> int:
    """How many of the conformers (k, n_atoms, 3) differ in no torsion from one before
    them; mirror images count as different.
    """
    kinds = torsions(molecule)
    if not len(kinds.atoms):
        return max(0, len(positions_A) - 1)
    angles_deg = kinds.angles_deg(positions_A)
    new = np.zeros(len(angles_deg), bool)
    for k, row in enumerate(angles_deg):
        new[k] = kinds.is_new(row, angles_deg[:k][new[:k]])
    return int((~new).sum())


@lru_cache(maxsize=1024)
def torsions(molecule: Molecule) -> Torsions:
    """The torsions of a Molecule: one per bond between heavy atoms that can turn or
    pucker; 3-rings and methyl-like rotors are left out.
    """
    neighbours = neighbours_of(molecule.n_atoms, molecule.bonds)
    kind = symmetry_classes(molecule, neighbours)
    triple = molecule.bonds[molecule.bond_orders == 3.0]
    linear = set(
        triple.reshape(-1).tolist()
    )  # a torsion about a bond to a linear centre is undefined
    rows, folds, thresholds = [], [], []
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        sides = [[k for k in neighbours[p] if k != q] for p, q in ((i, j), (j, i))]
        ring = ring_size(neighbours, i, j)
        rigid = order in (1.5, 3.0) or i in linear or j in linear or ring in SMALL_RINGS
        if rigid or not all(
            _tells(molecule, p, side) for p, side in zip((i, j), sides, strict=True)
        ):
            continue
        a, b = (min(side, key=lambda k: (molecule.numbers[k] == 1, kind[k], k)) for side in sides)
        hydrogen = 1 in (molecule.numbers[a], molecule.numbers[b])
        rows.append((a, i, j, b))
        folds.append(1 if ring else int(np.lcm(_fold(kind, sides[0]), _fold(kind, sides[1]))))
        thresholds.append(RING_DEG if ring else HYDROGEN_DEG if hydrogen else CHAIN_DEG)
    return Torsions(
        np.array(rows, np.int64).reshape(-1, 4),
        np.array(folds, np.int64),
        np.array(thresholds, np.float64),
    )


def _tells(molecule: Molecule, atom: int, side: list[int]) -> bool:
    """Whether turning this end changes more than equivalent hydrogens: it holds a heavy
    atom, or is an OH, NH or SH.
    """
    heavy = [k for k in side if molecule.numbers[k] != 1]
    return molecule.numbers[atom] != 1 and (
        bool(heavy) or (0 < len(side) < 3 and molecule.numbers[atom] != 6)
    )


def _fold(kind: NDArray[np.int64], side: list[int]) -> int:
    """2 or 3 if the two or three neighbours of an end are all alike (phenyl,
    tert-butyl, CF3), else 1.
    """
    return len(side) if 2 <= len(side) <= 3 and len({int(kind[k]) for k in side}) == 1 else 1
