"""What a leap sees of a molecule and its present conformation, torsion by torsion.

Everything is made of elements, bonds, distances, dihedral angles and energies, so that a turned or
shifted conformation looks the same, and the mirror image has all angles reversed: that
tells enantiomers apart without labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from equidrift.geometry import dihedrals
from equidrift.graph import Graph
from equidrift.models.trajectories.leap.scan import TorsionScan
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree

Array = NDArray[np.float64]

ELEMENTS = (1, 6, 7, 8, 9, 16, 17)  # told apart; all others are of one kind
KINDS = len(ELEMENTS) + 1
FARTHEST = 6  # bonds between the axes of two torsions; more count as that
CENTRES_A = np.linspace(1.5, 8.5, 8)  # of the Gaussians that a distance is told by
WIDTH_A = 1.0
FIXED = 4 * KINDS + 7  # numbers that tell a torsion whatever the conformation
OFFSETS = 2 * KINDS * 2  # and those of the other substituents
NODE, PAIR = FIXED + OFFSETS, FARTHEST + 1 + len(CENTRES_A)


@dataclass(frozen=True, eq=False)
class Substituents:
    """The further substituents s of the axis atoms of m torsions.

    Attributes
    ----------
    atoms : ndarray, shape (s, 4)
        The quadruple that gives the dihedral angle of each one about the same axis.
    place : ndarray, shape (s,)
        Its torsion, times two, and one more on the side that turns.
    kind : ndarray, shape (s, KINDS)
        Its element.
    """

    atoms: NDArray[np.int64]
    place: NDArray[np.int64]
    kind: Array

    @classmethod
    def of(cls, tree: TorsionTree, graph: Graph, kinds: Array) -> Substituents:
        """Of a molecule's torsions, its graph and its atoms' elements (n, KINDS)."""
        others, place = [], []
        for t, (i, j, k, m) in enumerate(tree.atoms.tolist()):
            for a in graph.neighbours[j]:
                if a not in (i, k):
                    others.append((a, j, k, m))
                    place.append(2 * t)
            for d in graph.neighbours[k]:
                if d not in (j, m):
                    others.append((i, j, k, d))
                    place.append(2 * t + 1)
        quads = np.array(others, np.int64).reshape(-1, 4)
        sides = np.array(place, np.int64)
        return cls(quads, sides, kinds[np.where(sides % 2 == 0, quads[:, 0], quads[:, 3])])


@dataclass(frozen=True, eq=False)
class TorsionTable:
    """The torsions of a molecule.

    Attributes
    ----------
    molecule : Molecule
    tree : TorsionTree
        The m bonds that torsion moves turn, and the atoms that turn with each one.
    fixed : ndarray, shape (m, FIXED)
        What no conformation changes.
    others : Substituents
        Of the torsions' axis atoms.
    path : ndarray, shape (m, m, FARTHEST + 1)
        Bonds between the axes of two torsions.
    """

    molecule: Molecule
    tree: TorsionTree
    fixed: Array
    others: Substituents
    path: Array

    @classmethod
    def of(cls, molecule: Molecule) -> TorsionTable:
        """Of the bonds that torsion moves turn; there may be none."""
        tree = TorsionTree.of(molecule)
        graph, kinds = Graph(molecule.n_atoms, molecule.bonds), element_kinds(molecule)
        fixed = _fixed(molecule, tree, graph, kinds)
        others = Substituents.of(tree, graph, kinds)
        return cls(molecule, tree, fixed, others, _paths(tree, graph))

    @property
    def count(self) -> int:
        """Torsions."""
        return self.tree.n_torsions

    @cached_property
    def scan(self) -> TorsionScan:
        """Energies along their circles, with the errors of `TorsionScan.of`."""
        return TorsionScan.of(self.molecule, self.tree)

    def node(self, x: Array) -> Array:
        """What tells each torsion (b, m, NODE) in conformations (b, n, 3)."""
        b, m, others = len(x), self.count, self.others
        own = dihedrals(x, self.tree.atoms)
        offset = dihedrals(x, others.atoms) - own[:, others.place // 2]
        turns = np.stack([np.cos(offset), np.sin(offset)], -1)  # (b, s, 2)
        side = np.eye(2 * m)[others.place]  # (s, 2 m)
        told = np.einsum("bst,sp,sk->bptk", turns, side, others.kind, optimize=True)
        fixed = np.broadcast_to(self.fixed, (b, m, FIXED))
        return np.concatenate([fixed, told.reshape(b, m, OFFSETS)], -1)

    def pair(self, x: Array) -> Array:
        """What tells each pair of torsions (b, m, m, PAIR): bonds between, and the distance
        of the axes' middles.
        """
        axis = self.tree.atoms[:, 1:3]
        middle = x[:, axis].mean(2)
        apart = np.linalg.norm(middle[:, :, None] - middle[:, None], axis=-1)
        near = np.exp(-0.5 * ((apart[..., None] - CENTRES_A) / WIDTH_A) ** 2)
        path = np.broadcast_to(self.path, (len(x), *self.path.shape))
        return np.concatenate([path, near], -1)


def element_kinds(molecule: Molecule) -> Array:
    """The element of each atom (n, KINDS), one of them 1."""
    numbers = molecule.numbers.tolist()
    place = [ELEMENTS.index(z) if z in ELEMENTS else len(ELEMENTS) for z in numbers]
    return np.eye(KINDS)[place]


def _fixed(molecule: Molecule, tree: TorsionTree, graph: Graph, kinds: Array) -> Array:
    """(m, FIXED): elements of the four atoms; of the axis atoms their neighbours, and
    whether a double bond or a ring is there; the share of the atoms that turns.
    """
    double, ring = np.zeros(molecule.n_atoms), np.zeros(molecule.n_atoms)
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        double[[i, j]] += order > 1.0
        ring[[i, j]] += not graph.is_bridge(i, j)
    rows = []
    for t, atoms in enumerate(tree.atoms.tolist()):
        ends = [
            (len(graph.neighbours[k]) / 4, float(double[k] > 0), float(ring[k] > 0))
            for k in atoms[1:3]
        ]
        turned = (1 + len(tree.moved[t])) / molecule.n_atoms
        rows.append(np.concatenate([kinds[atoms].ravel(), *ends, [turned]]))
    return np.array(rows).reshape(-1, FIXED)


def _paths(tree: TorsionTree, graph: Graph) -> Array:
    """(m, m, FARTHEST + 1): bonds between the nearest atoms of two axes, one of them 1."""
    m = tree.n_torsions
    steps = np.array([graph.steps_from(axis, FARTHEST) for axis in tree.atoms[:, 1:3].tolist()])
    apart = np.zeros((m, m), int)
    for k, (j, i) in enumerate(tree.atoms[:, 1:3].tolist()):
        apart[:, k] = np.minimum(steps[:, j], steps[:, i])
    return np.eye(FARTHEST + 1)[np.minimum(apart, FARTHEST)]
