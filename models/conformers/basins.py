"""Whether two geometries of a molecule lie in one basin: no torsion differs by more
than a barrier's width.

The RMSD of all atoms, which decided before, drops the pairs that teach most: a small
change of one torsion in the middle of a drug-size molecule moves its ends by more than
an angstrom.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equidrift.geometry import dihedrals, wrap
from equidrift.models.shared.graph_codes import ELEMENTS, GraphCodes

SAME_BASIN_DEG = 60.0  # half the distance of the minima of a threefold torsion
STRAIGHT_DEG = 20.0  # a torsion at a bond angle nearer to 180 degrees is none
HYDROGEN, CARBON = 1 + ELEMENTS.index(1), 1 + ELEMENTS.index(6)  # codes of the elements


def basin_torsions(codes: GraphCodes) -> NDArray[np.int64]:
    """Atoms (t, 4) of the torsions that tell basins apart: all of them, but for those
    that end in a hydrogen of carbon, whose turns make the same conformer again.
    """
    element, bonded = codes.atom[:, 0], codes.pair[..., 0] > 0
    ends = [
        [a for a in np.flatnonzero(row) if element[a] != HYDROGEN or element[p] != CARBON]
        for p, row in enumerate(bonded)
    ]
    rows = [
        (a, p, q, b)
        for p, q in zip(*np.nonzero(np.triu(bonded)), strict=True)
        for a in ends[p]
        for b in ends[q]
        if a not in (q, b) and b != p
    ]
    return np.array(rows, np.int64).reshape(-1, 4)


def same_basin(
    torsions: NDArray[np.int64], first_A: NDArray[np.float64], second_A: NDArray[np.float64]
) -> bool:
    """Whether no torsion differs by `SAME_BASIN_DEG` or more.

    Parameters
    ----------
    torsions : (t, 4)
        Atoms, of `basin_torsions`.
    first_A, second_A : (n_atoms, 3)
        The geometries, in any pose.
    """
    turned = np.degrees(np.abs(wrap(dihedrals(first_A, torsions) - dihedrals(second_A, torsions))))
    straight = _straight(torsions, first_A) | _straight(torsions, second_A)
    return not bool((turned[~straight] >= SAME_BASIN_DEG).any())


def _straight(torsions: NDArray[np.int64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Torsions (t,) with a bond angle next to 180 degrees."""
    steps = np.diff(np.asarray(x, np.float64)[torsions], axis=1)  # (t, 3, 3)
    steps /= np.linalg.norm(steps, axis=-1, keepdims=True)
    cosines = np.stack([(steps[:, k] * steps[:, k + 1]).sum(-1) for k in (0, 1)], axis=1)
    out: NDArray[np.bool_] = (cosines > np.cos(np.radians(STRAIGHT_DEG))).any(axis=1)
    return out
