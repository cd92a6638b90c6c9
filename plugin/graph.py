"""Facts about a molecular graph: neighbours, rings, fragments, symmetry classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.records import Molecule


def neighbours_of(n_atoms: int, bonds: ArrayLike) -> list[list[int]]:
    """The atoms bonded to each atom, in the order of the bonds (m, 2)."""
    neighbours: list[list[int]] = [[] for _ in range(n_atoms)]
    for i, j in np.asarray(bonds, np.int64).reshape(-1, 2).tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    return neighbours


def heavy_atoms(molecule: Molecule) -> NDArray[np.int64]:
    """Indices of the heavy atoms; of all if there is none."""
    heavy = np.flatnonzero(molecule.numbers > 1)
    return heavy if len(heavy) else np.arange(molecule.n_atoms)


class Graph:
    """Neighbours and bridges of a list of bonds."""

    def __init__(self, n_atoms: int, bonds: NDArray[np.int64]):
        self.neighbours = neighbours_of(n_atoms, bonds)

    def side(self, start: int, other: int) -> list[int]:
        """Atoms that hang on `start` once the bond to `other` is cut, `start` included;
        all of a ring bond's component.
        """
        seen, stack = {start}, [start]
        while stack:
            i = stack.pop()
            for j in self.neighbours[i]:
                if j not in seen and not (i == start and j == other):
                    seen.add(j)
                    stack.append(j)
        return sorted(seen)

    def is_bridge(self, i: int, j: int) -> bool:
        """Whether the bond is in no ring."""
        return j not in self.side(i, j)

    def steps_from(self, start: Sequence[int], most: int) -> list[int]:
        """Bonds from the nearest of some atoms to every atom; `most` where there are more,
        or no way.
        """
        found = [most] * len(self.neighbours)
        for atom in start:
            found[atom] = 0
        queue = list(start)
        for atom in queue:  # grows while it is walked
            for other in self.neighbours[atom]:
                if found[other] > found[atom] + 1:
                    found[other] = found[atom] + 1
                    queue.append(other)
        return found


def walks(molecule: Molecule) -> list[list[tuple[int, int]]]:
    """(atom, bonded atom before it or -1) of each fragment, along the bonds."""
    neighbours = neighbours_of(molecule.n_atoms, molecule.bonds)
    seen: set[int] = set()
    fragments = []
    for root in range(molecule.n_atoms):
        if root in seen:
            continue
        seen.add(root)
        fragment = [(root, -1)]
        for atom, _ in fragment:  # grows while it is walked
            fresh = [other for other in neighbours[atom] if other not in seen]
            seen.update(fresh)
            fragment += [(other, atom) for other in fresh]
        fragments.append(fragment)
    return fragments


def fragments(molecule: Molecule) -> NDArray[np.int64]:
    """The number of the connected part each atom is in, (n_atoms,), from 0."""
    part = np.arange(molecule.n_atoms)
    for _ in range(molecule.n_atoms):
        before = part.copy()
        for i, j in molecule.bonds.tolist():
            part[i] = part[j] = min(part[i], part[j])
        if np.array_equal(part, before):
            break
    numbers: NDArray[np.int64] = np.unique(part, return_inverse=True)[1]
    return numbers


def symmetry_classes(molecule: Molecule, neighbours: list[list[int]]) -> NDArray[np.int64]:
    """Topological classes of atoms by repeated hashing of their surroundings (Morgan,
    Weisfeiler-Lehman).
    """
    order = {
        tuple(sorted(pair)): o
        for pair, o in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True)
    }
    kind = np.unique(
        np.stack([molecule.numbers, molecule.formal_charges], 1), axis=0, return_inverse=True
    )[1].reshape(-1)
    for _ in range(molecule.n_atoms):
        labels = [
            (
                int(kind[i]),
                *sorted((int(kind[j]), order[min(i, j), max(i, j)]) for j in neighbours[i]),
            )
            for i in range(molecule.n_atoms)
        ]
        index = {label: k for k, label in enumerate(sorted(set(labels)))}
        refined = np.array([index[label] for label in labels])
        if len(index) == len(np.unique(kind)):
            return refined
        kind = refined
    return kind


def ring_size(neighbours: list[list[int]], i: int, j: int) -> int:
    """Atoms of the smallest ring that the bond lies in, 0 for none."""
    reached, front, size = {i}, {i}, 1
    while front and j not in reached:
        around = {b for a in front for b in neighbours[a] if {a, b} != {i, j}}
        front, size = around - reached, size + 1
        reached |= front
    return size if j in reached else 0
