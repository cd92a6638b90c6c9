"""Molecular graphs as integer codes of atoms and pairs, and their batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.graph import Graph
from equidrift.models.shared.batches import Batched
from equidrift.records import Molecule

ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)


LEVELS = ("B3LYP/6-31G(2df,p)", "GFN2-xTB", "MMFF94")


MAX_HOPS = 7  # further pairs share one code


# Sizes of the categorical codes; 0 is padding throughout.
ATOM_CODES = (
    len(ELEMENTS) + 1,
    4,
    8,
    6,
    7,
    3,
    4,
)  # element, charge, degree, hydrogens, smallest ring, aromatic, multiple bonds


PAIR_CODES = (6, MAX_HOPS + 2, 7, 4)  # bond, hops, smallest common ring, cis or trans


@dataclass(frozen=True)
class GraphCodes:
    """What the networks know of a graph: atom (n, 7) and pair (n, n, 4) codes, and
    signed tetrahedra (k, 5).
    """

    atom: NDArray[np.uint8]
    pair: NDArray[np.uint8]
    tetrahedral: NDArray[np.int64]

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atom)


@lru_cache(maxsize=4096)
def graph_codes(molecule: Molecule) -> GraphCodes:
    """The codes of a Molecule (cached: molecules are immutable)."""
    return make_codes(
        molecule.numbers,
        molecule.bonds,
        molecule.bond_orders,
        molecule.formal_charges,
        molecule.tetrahedral,
        molecule.double_bonds,
    )


def make_codes(
    numbers: NDArray[np.int64],
    bonds: NDArray[np.int64],
    orders: NDArray[np.float64],
    charges: NDArray[np.int64],
    tetrahedral: NDArray[np.int64],
    double_bonds: NDArray[np.int64],
) -> GraphCodes:
    """The codes of a graph given as arrays (see `Molecule` for their meaning)."""
    n = len(numbers)
    graph = Graph(n, bonds)
    neighbours = graph.neighbours
    hops = np.array([graph.steps_from([i], MAX_HOPS) for i in range(n)], np.int64).reshape(n, n)
    ring = _common_ring(neighbours, bonds)
    order = np.zeros((n, n), np.uint8)
    order_code = {1.0: 1, 2.0: 2, 3.0: 3, 1.5: 4}
    for (i, j), o in zip(bonds.tolist(), orders.tolist(), strict=True):
        order[i, j] = order[j, i] = order_code.get(o, 5)
    facing = np.zeros((n, n), np.uint8)
    for a, _, _, b, cis in double_bonds.tolist():
        facing[a, b] = facing[b, a] = 1 + cis
    element = {z: k + 1 for k, z in enumerate(ELEMENTS)}
    is_h = numbers == 1
    atom = np.zeros((n, len(ATOM_CODES)), np.uint8)
    for i in range(n):
        atom[i] = (
            element[int(numbers[i])],
            2 + np.clip(charges[i], -1, 1),
            1 + min(len(neighbours[i]), 6),
            1 + min(int(is_h[neighbours[i]].sum()), 4),
            ring[i, i],
            1 + int((order[i] == 4).any()),
            1 + min(int((order[i] == 2).sum() + 2 * (order[i] == 3).sum()), 2),
        )
    pair = np.stack([order, hops + 1, ring, facing], axis=-1).astype(np.uint8)
    return GraphCodes(atom, pair, np.asarray(tetrahedral, np.int64).reshape(-1, 5))


def _common_ring(neighbours: list[list[int]], bonds: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Code of the smallest ring that holds both atoms: 0 none, 1 to 5 for 3 to 7
    members, 6 for more.
    """
    n = len(neighbours)
    out = np.zeros((n, n), np.uint8)
    seen: set[frozenset[int]] = set()
    for i, j in bonds.tolist():
        cycle = _shortest_cycle(neighbours, i, j)
        if not cycle or frozenset(cycle) in seen:
            continue
        seen.add(frozenset(cycle))
        code = min(len(cycle), 8) - 2
        index = np.ix_(cycle, cycle)
        out[index] = np.where(out[index] == 0, code, np.minimum(out[index], code))
    return out


def _shortest_cycle(neighbours: list[list[int]], i: int, j: int) -> list[int]:
    """Atoms of a shortest cycle through the bond i-j, empty where there is none."""
    if len(neighbours[i]) < 2 or len(neighbours[j]) < 2:
        return []
    parent = {i: i}
    queue = deque([i])
    while queue:
        k = queue.popleft()
        for m in neighbours[k]:
            if m in parent or (k == i and m == j):
                continue
            parent[m] = k
            if m == j:
                path = [j]
                while path[-1] != i:
                    path.append(parent[path[-1]])
                return path
            queue.append(m)
    return []


def with_hydrogen_rows(codes: GraphCodes) -> GraphCodes:
    """Codes with a tetrahedron for every centre that carries two or three hydrogens,
    neighbours in index order.

    Like hydrogens can be exchanged, so a hand can be prescribed to their labels: the
    generator then has one answer to give.
    """
    is_h = codes.atom[:, 0] == 1 + ELEMENTS.index(1)
    rows = []
    for centre in range(codes.n_atoms):
        n = np.flatnonzero(codes.pair[centre, :, 0])
        if len(n) == 4 and 2 <= is_h[n].sum() <= 3:
            rows.append((centre, *n.tolist()))
    known = codes.tetrahedral.tolist()
    return GraphCodes(codes.atom, codes.pair, np.array(known + rows, np.int64).reshape(-1, 5))


def exchange_hydrogens(codes: GraphCodes, positions: NDArray[Any]) -> NDArray[Any]:
    """A copy of positions (n, 3) with like hydrogens exchanged so that every
    tetrahedron of `with_hydrogen_rows` is positive.
    """
    x = np.array(positions)
    is_h = codes.atom[:, 0] == 1 + ELEMENTS.index(1)
    for row in codes.tetrahedral.tolist():
        hydrogens = [k for k in row[1:] if is_h[k]]
        a, b, c = (x[row[k]] - x[row[4]] for k in (1, 2, 3))
        if len(hydrogens) >= 2 and np.dot(a, np.cross(b, c)) < 0:
            first, second = hydrogens[:2]
            x[[first, second]] = x[[second, first]]
    return x


@dataclass
class Batch(Batched):
    """Graphs padded to one size: atom (b, n, 7), pair (b, n, n, 4), mask (b, n),
    tetrahedra (b, t, 5) padded by -1.
    """

    atom: Tensor
    pair: Tensor
    mask: Tensor
    tetrahedral: Tensor


def collate(graphs: Sequence[GraphCodes]) -> Batch:
    """Pad graphs to the largest of them."""
    b, n = len(graphs), max(g.n_atoms for g in graphs)
    t = max((len(g.tetrahedral) for g in graphs), default=0)
    atom = np.zeros((b, n, len(ATOM_CODES)), np.uint8)
    pair = np.zeros((b, n, n, len(PAIR_CODES)), np.uint8)
    mask = np.zeros((b, n), bool)
    tetrahedral = np.full((b, t, 5), -1, np.int64)
    for k, g in enumerate(graphs):
        m = g.n_atoms
        atom[k, :m], pair[k, :m, :m], mask[k, :m] = g.atom, g.pair, True
        tetrahedral[k, : len(g.tetrahedral)] = g.tetrahedral
    return Batch(
        torch.from_numpy(atom),
        torch.from_numpy(pair),
        torch.from_numpy(mask),
        torch.from_numpy(tetrahedral),
    )


def like_sized(sizes: Sequence[int], most_pairs: int) -> list[list[int]]:
    """Indices cut into batches of like size: a tenth apart at most, and at most
    `most_pairs` pairs of atoms each.
    """
    out: list[list[int]] = []
    for k in sorted(range(len(sizes)), key=lambda i: (sizes[i], i)):
        if (
            out
            and sizes[k] ** 2 * (len(out[-1]) + 1) <= most_pairs
            and sizes[k] <= 1.1 * sizes[out[-1][0]]
        ):
            out[-1].append(k)
        else:
            out.append([k])
    return out


def pad_positions(positions: Sequence[NDArray[np.floating[Any]]], n: int) -> Tensor:
    """Positions (n_k, 3) padded with zeros to (b, n, 3), float32, each centred on its
    own mean.
    """
    out = np.zeros((len(positions), n, 3), np.float32)
    for k, x in enumerate(positions):
        out[k, : len(x)] = x - x.mean(0)
    return torch.from_numpy(out)
