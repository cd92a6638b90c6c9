"""The distances that atoms of a molecule can have."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.geometry import GeometryCheck
from equidrift.records import Molecule


@lru_cache(maxsize=256)
def graph_bounds(molecule: Molecule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bounds (n, n) in A of the distances in any valid geometry: bonds
    and clashes of `GeometryCheck`, and triangles.
    """
    check, n = GeometryCheck(molecule), molecule.n_atoms
    i, j = molecule.bonds.T
    lower, upper = np.zeros((n, n)), np.full((n, n), np.inf)
    np.fill_diagonal(upper, 0.0)
    lower[check.first, check.second] = lower[check.second, check.first] = np.sqrt(check.clash_sq)
    lower[i, j] = lower[j, i] = check.shortest_A
    upper[i, j] = upper[j, i] = check.longest_A
    return smoothed(lower, upper)


def smoothed(
    lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance bounds made as tight as triangles make them (Floyd's shortest paths;
    Crippen and Havel 1988, chapter 5).
    """
    lower, upper = lower.copy(), upper.copy()
    for k in range(len(upper)):
        np.minimum(upper, upper[:, k, None] + upper[None, k], out=upper)
    for k in range(len(upper)):
        np.maximum(
            lower,
            np.maximum(lower[:, k, None] - upper[None, k], lower[None, k] - upper[:, k, None]),
            out=lower,
        )
    np.fill_diagonal(lower, 0.0)
    return lower, upper
