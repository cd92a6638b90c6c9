"""What every move must keep in a host: bonds, constraints, frozen atoms, whole molecules,
and the weight that rigid constraints add.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.protocols import (
    Proposer,
)

# hosts hold constraints to a relative 1e-5 or so; a Cartesian move breaks them by far more
CONSTRAINT_TOLERANCE_A = 1e-4
STILL_A = 1e-6
METRIC_CHANGE = 1e-6  # of log sqrt(det Z) that counts as one


def check_bonds(proposer: Proposer, bonds: ArrayLike, n_atoms: int) -> None:
    """Refuse to turn about what the host's own topology does not know as a bond outside
    rings.

    Parameters
    ----------
    bonds : (b, 2) array
        Bonds of the host; if it knows none the proposer's own are trusted.

    Raises
    ------
    InputError
        which names the bond: the proposer may have been made of another graph (a
        disulfide bridge or a link that is missing there).
    """
    from equidrift.graph import Graph

    tree, pairs = proposer.tree, np.asarray(bonds, np.int64).reshape(-1, 2)
    if tree is None or not len(pairs):
        return
    graph = Graph(n_atoms, pairs)
    for i, j in tree.atoms[:, 1:3].tolist():
        if j not in graph.neighbours[i]:
            raise InputError(
                f"the proposer turns about {i}-{j}, which is no bond of this topology; make "
                f"it of these atoms in this order"
            )
        if not graph.is_bridge(i, j):
            raise InputError(
                f"the proposer turns about bond {i}-{j}, which lies in a ring of this "
                f"topology; leave it out of its rotatable bonds"
            )


@dataclass(frozen=True, eq=False)
class MoveCheck:
    """What every move must keep: shape, atoms held fixed, constrained distances.

    Called with (old, new) positions in A.

    Parameters
    ----------
    n_atoms : int
        Of the positions a move gets and gives.
    constraints : (c, 2) array
        Pairs whose distance the host holds fixed.
    frozen : (f,) array
        Atoms the host holds fixed.
    """

    n_atoms: int
    constraints: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    frozen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __call__(self, old: Floats, new: Floats) -> None:
        """Refuse a move that changes what must stay; raises `InputError`."""
        if np.shape(new) != (self.n_atoms, 3):
            raise InputError(
                f"the proposer returned positions of shape {np.shape(new)}, expected "
                f"({self.n_atoms}, 3); make it of this molecule"
            )
        if not np.isfinite(new).all():
            return  # rejected by its energy
        if len(self.constraints):
            change = np.abs(_distances(new, self.constraints) - _distances(old, self.constraints))
            if change.max() > CONSTRAINT_TOLERANCE_A:
                i, j = self.constraints[change.argmax()]
                raise InputError(
                    f"the proposer changes the constrained distance of atoms {i} and {j} by "
                    f"{change.max():.3g} A, and projecting it "
                    "back would break detailed balance; use a torsion proposer, or a System "
                    "with constraints=None, rigidWater=False"
                )
        if len(self.frozen) and np.abs(new[self.frozen] - old[self.frozen]).max() > STILL_A:
            raise InputError(
                "the proposer moves atoms that are held fixed (mass 0 or FixAtoms); leave "
                "out the bonds that turn them"
            )


def _distances(x: Floats, pairs: NDArray[np.int64]) -> Floats:
    out: Floats = np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)
    return out


class ConstraintMetric:
    """-log sqrt(det Z), Z = J M^-1 J^T of the constraints: what rigid constraints add
    to U / kT if a torsion changes it.

    Constrained dynamics samples exp(-U / kT) sqrt(det Z) in internal coordinates
    (Fixman, PNAS 1974, 71, 3050). Z couples constraints that share an atom through the
    angle between them. Turning about a bond keeps the angles between bonds, so for
    constrained bonds nothing changes and this is skipped; if angles are constrained
    too (HAngles), a torsion about a neighbouring bond changes det Z.

    Parameters
    ----------
    pairs : (c, 2) array
        Constrained pairs.
    masses : (n,) array
        In any unit.
    """

    def __init__(self, pairs: NDArray[np.int64], masses: Floats) -> None:
        self.pairs, self.varies, self._prepared = pairs, False, False
        self.inverse = 1 / np.where(masses > 0, masses, np.inf)

    def prepare(self, proposer: Proposer, positions_A: Floats) -> None:
        """Find out once whether the proposer's torsions change det Z."""
        tree = proposer.tree
        if self._prepared or tree is None or not len(self.pairs):
            return
        self._prepared = True
        turns = np.random.default_rng(0).uniform(-np.pi, np.pi, (4, tree.n_torsions))
        values = [self._value(x) for x in (positions_A, *tree.turn(positions_A, turns))]
        self.varies = float(np.ptp(values)) > METRIC_CHANGE

    def __call__(self, positions_A: Floats) -> float:
        """What is added to U / kT at positions (n_atoms, 3)."""
        return self._value(positions_A) if self.varies else 0.0

    def _value(self, x: Floats) -> float:
        i, j = self.pairs.T
        direction = x[i] - x[j]
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        rows = np.arange(len(i))
        jacobian = np.zeros((len(i), len(x), 3))
        jacobian[rows, i] = direction
        jacobian[rows, j] = -direction
        z = np.einsum("cax,a,dax->cd", jacobian, self.inverse, jacobian, optimize=True)
        return -0.5 * float(np.linalg.slogdet(z)[1])


def check_whole(positions_A: Floats, bonds: NDArray[np.int64], box_A: Floats) -> None:
    """Refuse a periodic molecule that is split across the box: rigid turning needs its
    atoms side by side.

    Parameters
    ----------
    positions_A : (n, 3) array
        Atoms.
    bonds : (b, 2) array
        Pairs of atoms.
    box_A : (3, 3) array
        Rows are the box vectors.

    Raises
    ------
    InputError
        which names a bond that spans the box.
    """
    if not len(bonds):
        return
    lengths = _distances(positions_A, bonds)
    if lengths.max() > _narrowest_A(box_A) / 2:
        i, j = bonds[lengths.argmax()]
        raise InputError(
            f"atoms {i} and {j} are bonded but {lengths.max():.1f} A apart: the molecule is "
            f"split across the periodic box; make it whole "
            "first (read positions with enforcePeriodicBox=False, or shift its atoms by box "
            "vectors)"
        )


def made_whole(positions_A: Floats, bonds: NDArray[np.int64], box_A: Floats) -> Floats:
    """Positions (n, 3) with molecules that are split across the box put together by box
    vectors; those given, if none is.

    Parameters
    ----------
    positions_A, bonds, box_A : arrays
        See `check_whole`, whose errors are raised where no box vectors help.
    """
    from equidrift.graph import Graph

    if not len(bonds) or _distances(positions_A, bonds).max() <= _narrowest_A(box_A) / 2:
        return positions_A
    x, inverse = positions_A.copy(), np.linalg.inv(box_A)
    neighbours, seen = Graph(len(x), bonds).neighbours, np.zeros(len(x), bool)
    for root in range(len(x)):
        todo = [] if seen[root] else [root]
        seen[root] = True
        while todo:
            here = todo.pop()
            for k in neighbours[here]:
                if not seen[k]:
                    x[k] -= np.rint((x[k] - x[here]) @ inverse) @ box_A
                    seen[k] = True
                    todo.append(k)
    check_whole(x, bonds, box_A)
    return x


def _narrowest_A(box_A: Floats) -> float:
    """The least distance between opposite faces of a box."""
    volume = abs(float(np.linalg.det(box_A)))
    if volume == 0:
        raise InputError("the box has no volume; give three box vectors, or none at all")
    across = np.cross(np.roll(box_A, -1, 0), np.roll(box_A, -2, 0))
    return float((volume / np.linalg.norm(across, axis=1)).min())
