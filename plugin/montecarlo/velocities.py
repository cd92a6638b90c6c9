"""Velocities that are carried along with an accepted move.

Integrators of the leapfrog kind hold velocities half a step behind the positions: in a
stiff bond the two are correlated, by half a step of its force. Velocities that are drawn
anew after a move lose that correlation, and the bond is heated: 7 % for w dt = .5. Turned
along with the atoms they keep it, whatever the step is.

The map (x, v) -> (x', Q v), Q a rotation per atom with Q(x', x) = Q(x, x')^-1, keeps
volume and kinetic energy, so moves that are reversible in the positions stay so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.geometry import Floats
from equidrift.graph import Graph

# a second singular value, over the first, below which a shell of atoms is a line
_LINE = 1e-4


class Shells:
    """Each atom and what is bonded to it: what a turn about any bond leaves rigid.

    A terminal atom takes the shell of the atom that it hangs on. Then both ends of a
    bond turn it alike, and constrained bonds keep their velocity.

    Parameters
    ----------
    n_atoms : int
        Of the positions.
    bonds : (b, 2) array
        Atoms.
    """

    def __init__(self, n_atoms: int, bonds: ArrayLike) -> None:
        graph = Graph(n_atoms, np.asarray(bonds, np.int64).reshape(-1, 2))
        centres = [_centre(k, graph.neighbours) for k in range(n_atoms)]
        self.shells = {k: [k, *sorted(graph.neighbours[k])] for k in sorted(set(centres))}
        self.centres = np.array(centres, np.int64)

    def keep(self, pairs: ArrayLike) -> bool:
        """Whether pairs (p, 2) whose distance a host constrains keep their velocity."""
        return all(
            {i, j} <= set(self.shells[centre])
            for i, j in np.asarray(pairs, np.int64).reshape(-1, 2).tolist()
            for centre in self.centres[[i, j]].tolist()
        )

    def carried(self, old_A: Floats, new_A: Floats, velocities: Floats) -> Floats:
        """Velocities (n_atoms, 3), each turned as the shell of its atom was between the
        positions `old_A` and `new_A` (n_atoms, 3).
        """
        turns = np.empty((len(old_A), 3, 3))
        for centre, shell in self.shells.items():
            turns[centre] = _turn(old_A[shell] - old_A[centre], new_A[shell] - new_A[centre])
        out: Floats = np.einsum("kij,kj->ki", turns[self.centres], velocities)
        return out


def _centre(atom: int, neighbours: Sequence[Sequence[int]]) -> int:
    """The atom whose shell an atom turns with."""
    around = list(neighbours[atom])
    return around[0] if len(around) == 1 and len(neighbours[around[0]]) > 1 else atom


def _turn(old_A: Floats, new_A: Floats) -> NDArray[np.float64]:
    """The rotation (3, 3) that brings arms `old_A` (k, 3) onto `new_A` best (Kabsch);
    arms on one line take the shortest.
    """
    u, size, v = np.linalg.svd(new_A.T @ old_A)
    if not size[0] > 0:
        return np.eye(3)
    if size[1] < _LINE * size[0]:
        return _shortest(old_A, new_A)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return np.asarray(u @ v)


def _shortest(old_A: Floats, new_A: Floats) -> NDArray[np.float64]:
    """The smallest rotation that brings the longest arm onto its new direction."""
    longest = int(np.argmax(np.linalg.norm(old_A, axis=1)))
    a, b = (arms[longest] / np.linalg.norm(arms[longest]) for arms in (old_A, new_A))
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < _LINE - 1:  # turned back: any axis across the line turns it so
        across = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
        across /= np.linalg.norm(across)
        half: Floats = 2 * np.outer(across, across) - np.eye(3)
        return half
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    shortest: Floats = np.eye(3) + skew + skew @ skew / (1 + cosine)
    return shortest
