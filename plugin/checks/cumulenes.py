"""Cumulated double bonds: which atoms tell whether an allene is twisted and a
butatriene flat. numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equidrift.graph import neighbours_of
from equidrift.records import Molecule

CARBON = 6


def cumulated_bonds(molecule: Molecule) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The ends of every chain of two or more cumulated double bonds that has
    substituents at both.

    Chains within a ring are left out: there the ring decides.

    Returns
    -------
    ends : array of int, shape (k, 4)
        Rows (a, i, j, b): i and j are the ends, a and b a substituent of each.
    planar : array of bool, shape (k,)
        Whether the ends lie in a plane, which they do after an odd number of double
        bonds.
    """
    neighbours = neighbours_of(molecule.n_atoms, molecule.bonds)
    double = neighbours_of(molecule.n_atoms, molecule.bonds[molecule.bond_orders == 2.0])
    middle = {
        k
        for k in range(molecule.n_atoms)
        if molecule.numbers[k] == CARBON and len(double[k]) == len(neighbours[k]) == 2
    }
    rows, planar = [], []
    for first in range(molecule.n_atoms):
        for step in double[first]:
            if first in middle or step not in middle:
                continue
            chain = _chain(first, step, double, middle)
            last = chain[-1]
            sides = [[k for k in neighbours[end] if k not in chain] for end in (first, last)]
            if first < last and all(sides) and not _meet(sides[0], sides[1], chain, neighbours):
                rows.append((sides[0][0], first, last, sides[1][0]))
                planar.append(len(chain) % 2 == 0)
    return np.array(rows, np.int64).reshape(-1, 4), np.array(planar, bool)


def _chain(first: int, step: int, double: list[list[int]], middle: set[int]) -> list[int]:
    """Atoms from `first` along cumulated bonds to the other end."""
    chain = [first, step]
    while chain[-1] in middle:
        onward = [k for k in double[chain[-1]] if k != chain[-2]]
        if not onward or onward[0] in chain:
            break
        chain.append(onward[0])
    return chain


def _meet(left: list[int], right: list[int], chain: list[int], neighbours: list[list[int]]) -> bool:
    """Whether substituents of the two ends are connected without the chain."""
    seen, stack = set(chain), list(left)
    while stack:
        k = stack.pop()
        if k in seen:
            continue
        if k in right:
            return True
        seen.add(k)
        stack.extend(neighbours[k])
    return False
