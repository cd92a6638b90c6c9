"""Torsions of rotatable bonds: which bonds, their angles, and rigid turning about them.
numpy only.

Turning about a bond keeps every bond length, angle, ring and constraint, and its
Jacobian is 1 in Cartesian coordinates, so a Metropolis step in torsions needs no
further factor. The fragment at the centre of the tree stands still, and each bond turns
the side away from it (never more than half of the atoms): the new positions depend on
the new torsions and the frozen rest alone, whatever order or route led there, which is
what reversibility asks for in a box or an external field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError
from equidrift.geometry import Floats, dihedrals, rotated
from equidrift.graph import Graph
from equidrift.records import Molecule


def rotatable_bonds(
    molecule: Molecule, *, amides: bool = False, hydrogens: bool = False
) -> NDArray[np.int64]:
    """Bonds that torsion moves may turn: single, in no ring, with a heavy atom to turn
    on either side.

    Parameters
    ----------
    molecule : Molecule
        The graph; a bond order of 0 (unknown, as in a PDB file) counts as single.
    amides : bool
        Count the C-N bond of amides too; they hardly turn below 600 K.
    hydrogens : bool
        Count bonds that turn hydrogens alone too (methyl, hydroxyl, amine).

    Returns
    -------
    (m, 2) array of int
        Atoms, in the order of the molecule's bonds.
    """
    graph, numbers = Graph(molecule.n_atoms, molecule.bonds), molecule.numbers
    orders = {
        frozenset(pair): order
        for pair, order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True)
    }
    out = []
    for i, j in molecule.bonds.tolist():
        if orders[frozenset((i, j))] not in (0.0, 1.0) or not graph.is_bridge(i, j):
            continue
        ends = ((i, j), (j, i))
        if any(
            not [k for k in graph.neighbours[a] if k != b and (hydrogens or numbers[k] != 1)]
            for a, b in ends
        ):
            continue
        if any(_linear(a, graph, orders, numbers) for a in (i, j)) or (
            not amides and any(_amide(a, b, graph, orders, numbers) for a, b in ends)
        ):
            continue
        out.append((i, j))
    return np.array(out, np.int64).reshape(-1, 2)


def _linear(
    atom: int, graph: Graph, orders: Mapping[frozenset[int], float], numbers: NDArray[np.int64]
) -> bool:
    """An sp centre: its two bonds are on one line, and no torsion is defined there.

    Without bond orders: a carbon with two neighbours.
    """
    around = [orders[frozenset((atom, k))] for k in graph.neighbours[atom]]
    return (
        3.0 in around
        or (around.count(2.0) == 2 and len(around) == 2)
        or (len(around) == 2 and numbers[atom] == 6)
    )


def _amide(
    c: int, n: int, graph: Graph, orders: Mapping[frozenset[int], float], numbers: NDArray[np.int64]
) -> bool:
    """Whether c-n is the C-N bond of X-C(=O)-N or X-C(=S)-N; without bond orders an O
    or S with one neighbour is taken as doubly bound.
    """
    if numbers[c] != 6 or numbers[n] != 7 or len(graph.neighbours[c]) != 3:
        return False
    return any(
        numbers[k] in (8, 16)
        and len(graph.neighbours[k]) == 1
        and orders[frozenset((c, k))] in (0.0, 2.0)
        for k in graph.neighbours[c]
        if k != n
    )


class TorsionTree:
    """The torsions of a set of rotatable bonds, and rigid turning about them.

    Parameters
    ----------
    n_atoms : int
        Of the whole system; atoms that hang on no rotatable bond never move.
    bonds : (b, 2) array_like
        All covalent bonds.
    rotatable : (m, 2) array_like
        The bonds to turn about.
    numbers : (n_atoms,) array of int, optional
        Atomic numbers, to choose the atoms a torsion is measured by; None measures by
        the lowest indices.

    Attributes
    ----------
    atoms : (m, 4) array of int
        The atoms of each torsion; the fourth is on the side that turns.

    Raises
    ------
    InputError
        If a rotatable bond is no bond, is given twice, lies in a ring, or has
        nothing to turn on one side.
    """

    def __init__(
        self, n_atoms: int, bonds: ArrayLike, rotatable: ArrayLike, numbers: ArrayLike | None = None
    ):
        self.n_atoms = int(n_atoms)
        self.bonds = np.asarray(bonds, np.int64).reshape(-1, 2)
        pairs = np.asarray(rotatable, np.int64).reshape(-1, 2)
        weights = np.ones(n_atoms) if numbers is None else np.asarray(numbers, np.float64)
        graph = Graph(n_atoms, self.bonds)
        sides = [_check_rotatable(i, j, graph) for i, j in pairs.tolist()]
        if len({frozenset(pair) for pair in pairs.tolist()}) < len(pairs):
            raise InputError("rotatable names a bond twice; give each once")
        rows, self.moved = [], []
        for (i, j), (at_i, at_j) in zip(pairs.tolist(), sides, strict=True):
            # The centre of the tree lies on the larger side of every bond; of equal
            # sides on that of the lowest index.
            j_turns = (len(at_j), -at_j[0]) < (len(at_i), -at_i[0])
            fixed, turned, moved = (i, j, at_j) if j_turns else (j, i, at_i)
            rows.append(
                (
                    _witness(fixed, turned, graph, weights),
                    fixed,
                    turned,
                    _witness(turned, fixed, graph, weights),
                )
            )
            self.moved.append(np.array([k for k in moved if k != turned], np.int64))
        # Outer bonds turn with inner ones: inner first, so that each axis is where it ends up.
        order = sorted(range(len(rows)), key=lambda k: -len(self.moved[k]))
        self._order = tuple(order)
        self.atoms = np.array(rows, np.int64).reshape(-1, 4)

    @classmethod
    def of(
        cls, molecule: Molecule, rotatable: ArrayLike | None = None, **options: Any
    ) -> TorsionTree:
        """The tree of a molecule; `rotatable` (m, 2) overrides
        `rotatable_bonds(molecule, **options)`.
        """
        chosen = rotatable_bonds(molecule, **options) if rotatable is None else rotatable
        return cls(molecule.n_atoms, molecule.bonds, chosen, molecule.numbers)

    @property
    def n_torsions(self) -> int:
        """Torsions that can be turned."""
        return len(self.atoms)

    def labels(self, names: Sequence[str] | None = None) -> list[str]:
        """One "a-b-c-d" a torsion, of atom indices or of the names given."""
        text = [str(k) for k in range(self.n_atoms)] if names is None else list(names)
        return ["-".join(text[k] for k in row) for row in self.atoms.tolist()]

    def torsions(self, positions_A: ArrayLike) -> Floats:
        """Angles in radians, (..., m) in [-pi, pi], of positions_A (..., n_atoms, 3)."""
        return dihedrals(self._checked(positions_A), self.atoms)

    def set_torsions(self, positions_A: ArrayLike, phi: ArrayLike) -> Floats:
        """Turn rigidly until the torsions are `phi`.

        Parameters
        ----------
        positions_A : (..., n_atoms, 3) array_like
            In A.
        phi : (..., m) array_like
            Torsions in radians; leading axes broadcast against those of the positions.

        Returns
        -------
        (..., n_atoms, 3) array
            A new array.
        """
        x = self._checked(positions_A)
        phi = np.asarray(phi, np.float64)
        if phi.ndim == 0 or phi.shape[-1] != self.n_torsions:
            raise InputError(
                f"phi has shape {phi.shape}, expected (..., {self.n_torsions}): one angle a "
                f"rotatable bond"
            )
        return self.turn(x, phi - dihedrals(x, self.atoms))

    def turn(self, positions_A: ArrayLike, delta: ArrayLike) -> Floats:
        """Turn about each bond by delta (..., m) radians; as `set_torsions` otherwise."""
        x, delta = self._checked(positions_A), np.asarray(delta, np.float64)
        lead = np.broadcast_shapes(x.shape[:-2], delta.shape[:-1])
        x, delta = (
            np.array(np.broadcast_to(x, (*lead, self.n_atoms, 3))),
            np.broadcast_to(delta, (*lead, self.n_torsions)),
        )
        for k in self._order:
            if not np.any(delta[..., k]):
                continue
            moved, (_, fixed, turned, _) = self.moved[k], self.atoms[k]
            origin = x[..., turned, :]
            axis = origin - x[..., fixed, :]
            axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
            x[..., moved, :] = (
                rotated(x[..., moved, :] - origin[..., None, :], axis, delta[..., k])
                + origin[..., None, :]
            )
        return x

    def _checked(self, positions_A: ArrayLike) -> Floats:
        x = np.asarray(positions_A, np.float64)
        if x.ndim < 2 or x.shape[-2:] != (self.n_atoms, 3):
            raise InputError(f"positions_A has shape {x.shape}, expected (..., {self.n_atoms}, 3)")
        return x

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        return {"n_atoms": self.n_atoms, "bonds": self.bonds.tolist(), "atoms": self.atoms.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TorsionTree:
        """The tree that `to_dict` wrote."""
        atoms = np.asarray(data["atoms"], np.int64).reshape(-1, 4)
        tree = cls(data["n_atoms"], data["bonds"], atoms[:, 1:3])
        tree.atoms = atoms  # witnesses were chosen by elements that plain data does not hold
        return tree


def _check_rotatable(i: int, j: int, graph: Graph) -> tuple[list[int], list[int]]:
    """The two sides of a bond, or what is wrong with turning about it."""
    if not (0 <= i < len(graph.neighbours) and j in graph.neighbours[i]):
        raise InputError(f"rotatable names {i}-{j}, which is no bond; give pairs of bonded atoms")
    at_i, at_j = graph.side(i, j), graph.side(j, i)
    if j in at_i:
        raise InputError(
            f"bond {i}-{j} lies in a ring, and turning about it would break the ring; leave "
            f"it out of rotatable"
        )
    if len(at_i) == 1 or len(at_j) == 1:
        raise InputError(f"bond {i}-{j} has nothing to turn on one side; leave it out of rotatable")
    return at_i, at_j


def _witness(atom: int, other: int, graph: Graph, weights: Floats) -> int:
    """The neighbour of `atom` by which its end of a torsion is measured: the heaviest,
    then the largest branch, then the lowest index.
    """
    around: Iterable[int] = (k for k in graph.neighbours[atom] if k != other)
    return max(around, key=lambda k: (weights[k], len(graph.side(k, atom)), -k))
