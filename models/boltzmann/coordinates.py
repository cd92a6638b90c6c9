"""Cartesian coordinates <-> rigid motion and internal coordinates along the bonds, with
the closed-form Jacobian.

Atom i hangs on a bonded atom a, at a distance b, an angle theta (i-a-b) and a torsion
phi (i-a-b-c); c is a neighbour of b for the first atom on a ("proper"), or that first
atom for its siblings, whose torsion is then their phase relative to it about a-b
("improper"). With the first atom at r and the frame of the first three atoms as the
rotation,

    dx (3N) = dr dOmega prod_i b_i^2 prod_i sin(theta_i) db dtheta dphi            (1)

with |SO(3)| = 8 pi^2 (Go and Scheraga, Macromolecules 1976, 9, 535, doi:10.1021/ma60052a001).
A density of the internal coordinates and a uniform orientation make a density of the
Cartesian ones *per unit volume of the translation*, invariant under rotation and
translation: log p(x) = log p(b, theta, phi) - log of (1). Mirror images differ by the
signs of all torsions, so handedness is whatever the density of the torsions says it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.graph import Graph

LOG_ROTATIONS = math.log(8 * math.pi**2)
LEAST_ATOMS = 3


def wrapped(angle: Tensor) -> Tensor:
    """Angles brought to [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


class ZMatrix:
    """The tree of internal coordinates of a molecule.

    Parameters
    ----------
    rows : array_like, shape (n, 4)
        Atoms i, a, b, c in the order they are placed; -1 where there is none (the first
        three rows).
    rotors : array_like, shape (r, 3)
        Equivalent atoms on one atom (the hydrogens of a methyl), the proper one first;
        any may be none.

    Attributes ---------- bonds (n-1, 2), angles (n-2, 3), torsions (n-3, 4): atoms of
    each coordinate, in the order of the rows.
    """

    def __init__(self, rows: ArrayLike, rotors: ArrayLike = ()):
        self.rows = np.asarray(rows, np.int64).reshape(-1, 4)
        self.rotors = np.asarray(rotors, np.int64).reshape(-1, 3)
        self.n_atoms = len(self.rows)
        self.bonds, self.angles, self.torsions = self.rows[1:, :2], self.rows[2:, :3], self.rows[3:]
        level = {int(i): 0 for i in self.rows[:3, 0]}
        for i, a, b, c in self.torsions.tolist():
            level[i] = 1 + max(level[a], level[b], level[c])
        depth = np.array([level[i] for i in self.torsions[:, 0].tolist()], np.int64)
        self._levels = [
            np.flatnonzero(depth == k) for k in range(1, depth.max(initial=0) + 1)
        ]  # rows placed at once

    @classmethod
    def of(cls, n_atoms: int, bonds: ArrayLike, numbers: ArrayLike) -> ZMatrix:
        """A tree that starts in the middle of the molecule and places heavy atoms and
        large branches first.

        Raises
        ------
        InputError
            for fewer than three atoms, several fragments, or bonds that name other
            atoms.
        """
        graph, z = _checked(n_atoms, bonds, numbers)
        inner = [len(found) > 1 for found in graph.neighbours]
        hops = [sum(_hops(graph, i)) for i in range(n_atoms)]
        first = min(range(n_atoms), key=lambda i: (not inner[i], z[i] == 1, hops[i]))
        rows = _rows(graph, z, inner, first)
        return cls(rows, _rotors(rows, graph, z))

    def to_internal(self, positions_A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bond lengths (..., n-1) in A, angles (..., n-2) in (0, pi) and torsions (...,
        n-3) in [-pi, pi] of (..., n, 3).
        """
        i, a = (positions_A[..., column, :] for column in self.bonds.T)
        lengths = (i - a).norm(dim=-1)
        i, a, b = (positions_A[..., column, :] for column in self.angles.T)
        left, right = i - a, b - a
        angles = torch.atan2(torch.linalg.cross(left, right).norm(dim=-1), (left * right).sum(-1))
        i, a, b, c = (positions_A[..., column, :] for column in self.torsions.T)
        axis = b - a
        left, right = torch.linalg.cross(a - i, axis), torch.linalg.cross(axis, c - b)
        sine = (torch.linalg.cross(left, right) * axis).sum(-1) / axis.norm(dim=-1)
        return lengths, angles, torch.atan2(sine, (left * right).sum(-1))

    def to_cartesian(
        self,
        lengths: Tensor,
        angles: Tensor,
        torsions: Tensor,
        frame: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Positions (..., n, 3) in A.

        Parameters
        ----------
        frame : tuple or None
            (origin (..., 3), axes (..., 3, 3)) of the first three atoms as `frame_of`
            returns; None puts the first atom at the origin, the second along x and the
            third in the xy plane.
        """
        origin, axes = (
            (lengths.new_zeros(3), torch.eye(3, dtype=lengths.dtype, device=lengths.device))
            if frame is None
            else frame
        )
        place: list[Tensor | None] = [None] * self.n_atoms
        first, second, third = self.rows[:3, 0].tolist()
        place[first] = origin.expand(*lengths.shape[:-1], 3)
        x, y = axes[..., 0, :], axes[..., 1, :]
        place[second] = origin + lengths[..., :1] * x
        corner, towards = (
            (place[second], -1.0) if self.rows[2, 1] == second else (place[first], 1.0)
        )
        theta = angles[..., :1]
        place[third] = corner + lengths[..., 1:2] * (towards * theta.cos() * x + theta.sin() * y)
        for level in self._levels:
            i, a, b, c = self.torsions[level].T
            at_a, at_b, at_c = (
                torch.stack([place[k] for k in group.tolist()], dim=-2) for group in (a, b, c)
            )
            new = _placed(
                at_a,
                at_b,
                at_c,
                lengths[..., level + 2],
                angles[..., level + 1],
                torsions[..., level],
            )
            for k, atom in enumerate(i.tolist()):
                place[atom] = new[..., k, :]
        return torch.stack([p for p in place if p is not None], dim=-2)

    def frame_of(self, positions_A: Tensor) -> tuple[Tensor, Tensor]:
        """Place (..., 3) of the first atom and axes (..., 3, 3), rows x y z, of the
        first three.
        """
        a, b, c = (positions_A[..., k, :] for k in self.rows[:3, 0].tolist())
        x = (b - a) / (b - a).norm(dim=-1, keepdim=True)
        y = c - b
        y = y - (y * x).sum(-1, keepdim=True) * x
        y = y / y.norm(dim=-1, keepdim=True)
        return a, torch.stack([x, y, torch.linalg.cross(x, y)], dim=-2)

    def log_volume(self, lengths: Tensor, angles: Tensor) -> Tensor:
        """(...) log of dx / (dr db dtheta dphi): equation (1) with the rotations
        integrated.
        """
        return 2 * lengths.log().sum(-1) + angles.sin().log().sum(-1) + LOG_ROTATIONS

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `ZMatrix(**data)` is the inverse."""
        return {"rows": self.rows.tolist(), "rotors": self.rotors.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ZMatrix:
        """The tree that `to_dict` wrote."""
        return cls(data["rows"], data["rotors"])


def _hops(graph: Graph, start: int) -> list[int]:
    """Bonds from `start` to every atom, -1 where there is no way."""
    hops, queue = {start: 0}, [start]
    while queue:
        i = queue.pop(0)
        for k in graph.neighbours[i]:
            if k not in hops:
                hops[k] = hops[i] + 1
                queue.append(k)
    return [hops.get(k, -1) for k in range(len(graph.neighbours))]


def _checked(n_atoms: int, bonds: ArrayLike, numbers: ArrayLike) -> tuple[Graph, NDArray[np.int64]]:
    """The graph and the atomic numbers (n,) of one bonded molecule."""
    pairs, z = np.asarray(bonds, np.int64).reshape(-1, 2), np.asarray(numbers, np.int64)
    if n_atoms < LEAST_ATOMS or len(z) != n_atoms:
        raise InputError(
            "internal coordinates need three atoms or more, each with its number; got "
            f"{n_atoms} atoms, {len(z)} numbers"
        )
    if len(pairs) and not 0 <= pairs.min() <= pairs.max() < n_atoms:
        raise InputError(
            f"bonds name atoms up to {pairs.max()}, but there are {n_atoms}: give 0 to "
            f"{n_atoms - 1}"
        )
    graph = Graph(n_atoms, pairs)
    if min(_hops(graph, 0)) < 0:
        raise InputError(
            "the bonds leave the molecule in several fragments; give one bonded molecule, all "
            "its bonds included"
        )
    return graph, z


def _rows(
    graph: Graph, z: NDArray[np.int64], inner: list[bool], first: int
) -> list[tuple[int, int, int, int]]:
    """(atom, and the three that it is placed by) of all atoms, `first` the first; -1 is
    none. Inner atoms, heavy atoms and large branches come before others.
    """

    def ranked(i: int) -> list[int]:
        return sorted(
            graph.neighbours[i],
            key=lambda k: (not inner[k], -int(z[k]), -len(graph.side(k, i)), k),
        )

    second, *others = ranked(first)
    beyond = [k for k in ranked(second) if k != first]
    third, parent = (beyond[0], second) if beyond else (others[0], first)
    angle = third, parent, second if parent == first else first, -1
    rows = [(first, -1, -1, -1), (second, first, -1, -1), angle]
    placed, queue = {first, second, third}, [first, second, third]
    # what the first atom on each refers to
    frame = {first: (second, third), second: (first, third), third: angle[1:3]}
    eldest = {parent: third}
    while queue:
        a = queue.pop(0)
        for i in ranked(a):
            if i in placed:
                continue
            b, c = frame[a][0], eldest.get(a, frame[a][1])
            rows.append((i, a, b, c))
            eldest.setdefault(a, i)
            frame[i] = (a, b)
            placed.add(i)
            queue.append(i)
    return rows


def _rotors(
    rows: list[tuple[int, int, int, int]], graph: Graph, z: NDArray[np.int64]
) -> list[list[int]]:
    """Triples of like end atoms on an atom with one other neighbour: turning them by a
    third is a relabelling.
    """
    out = []
    for a in range(len(z)):
        ends = [
            i
            for i, parent, _, c in rows
            if parent == a and c >= 0 and len(graph.neighbours[i]) == 1
        ]
        if len(ends) == 3 and len(graph.neighbours[a]) == 4 and len(set(z[ends].tolist())) == 1:
            out.append(ends)
    return out


def _placed(
    a: Tensor, b: Tensor, c: Tensor, length: Tensor, angle: Tensor, torsion: Tensor
) -> Tensor:
    """The atom at `length` from a, `angle` to b and `torsion` about a-b to c."""
    axis = (b - a) / (b - a).norm(dim=-1, keepdim=True)
    normal = torch.linalg.cross(c - b, axis)
    normal = normal / normal.norm(dim=-1, keepdim=True)
    across = torch.linalg.cross(axis, normal)  # from the axis towards c
    ring = torsion.cos()[..., None] * across + torsion.sin()[..., None] * normal
    out: Tensor = a + length[..., None] * (
        angle.cos()[..., None] * axis + angle.sin()[..., None] * ring
    )
    return out
