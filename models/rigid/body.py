"""A rigid body among other atoms: its pose, and how to put it into another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.rigid import rotations

# a second extent, over the first, below which a body is a line
_LINE = 1e-3


@dataclass(frozen=True, eq=False)
class RigidBody:
    """Atoms that move as one, and what their pose is told from.

    The pose (R, s) is a rotation and a place, both of the body's mean position; bonds,
    angles and torsions stay what they are. It is told from the laboratory, if there are
    no anchors; from the frame of three or more anchors that are not in line, which may
    move (atoms of a pocket, a second molecule); or from one or two anchors, such as an
    ion: then s is where their mean lies in the body's frame, and R is how the two stand
    together.

    Parameters
    ----------
    reference_A : (n_atoms, 3) array
        All positions at one time, which say what R = 1 is.
    atoms : sequence of int
        Of the body: an ion, a solvent molecule, a fragment that no bond ties, a ligand.
    anchors : sequence of int, optional
        None of them of the body.

    Raises
    ------
    InputError
        If atoms are missing, named twice, or in body and anchors.

    Examples
    --------
    >>> import numpy as np
    >>> water_and_ion = np.array([[0, 0, 0.1], [0.8, 0, 0.7], [-0.8, 0, 0.7], [0, 0, -2.3]])
    >>> body = RigidBody(water_and_ion, [0, 1, 2], anchors=[3])
    >>> turn, place_A = body.pose(water_and_ion, np.random.default_rng(0))
    >>> float(round(place_A[2], 1))  # the ion is below the water's mean position
    -2.8
    """

    reference_A: Floats
    atoms: Sequence[int]
    anchors: Sequence[int] = ()

    def __post_init__(self) -> None:
        x = np.asarray(self.reference_A, np.float64)
        body, anchors = (np.asarray(rows, np.int64).ravel() for rows in (self.atoms, self.anchors))
        both = np.concatenate([body, anchors])
        if x.ndim != 2 or x.shape[1] != 3 or not np.isfinite(x).all():
            raise InputError(f"reference_A must be finite, (n_atoms, 3), not of shape {x.shape}")
        if not len(body) or len(np.unique(both)) < len(both):
            raise InputError(
                f"a body needs atoms, each named once in atoms or anchors; got atoms="
                f"{body.tolist()} and anchors={anchors.tolist()}"
            )
        if not 0 <= both.min() <= both.max() < len(x):
            raise InputError(
                f"atoms and anchors must be 0 to {len(x) - 1}, the atoms of reference_A; got "
                f"{both.min()} to {both.max()}"
            )
        for name, value in (("reference_A", x), ("atoms", body), ("anchors", anchors)):
            object.__setattr__(self, name, value)

    @property
    def oriented(self) -> bool:
        """Whether its rotation says anything: not of a single atom, nor if nothing but
        the body's own frame is there to tell it from.
        """
        return len(self.atoms) > 1 and not self.sighted

    @property
    def sighted(self) -> bool:
        """Whether places are those of the anchors, seen from the body."""
        anchors = self.reference_A[self.anchors]
        return len(self.anchors) > 0 and _dimension(anchors) < 2

    @property
    def axis(self) -> Floats | None:
        """Of a linear body, a unit vector (3,) along it at rotation 1; None of others."""
        first = self.reference_A[self.atoms]
        if _dimension(first) != 1:
            return None
        arms = first - first.mean(axis=0)
        longest = arms[np.argmax((arms**2).sum(axis=1))]
        out: Floats = longest / np.linalg.norm(longest)
        return out

    def pose(self, positions_A: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """R (3, 3) and s (3,) in positions (n_atoms, 3).

        The spin of a linear body about its axis is drawn, uniformly: no position tells
        it, and with it the pose is one of three dimensions again.
        """
        x = np.asarray(positions_A, np.float64)
        turn = self._turn(x, rng)
        centre = x[self.atoms].mean(axis=0)
        if self.sighted:
            return turn, turn.T @ (x[self.anchors].mean(axis=0) - centre)
        frame, origin = self._frame(x)
        return frame.T @ turn, frame.T @ (centre - origin)

    def placed(
        self, positions_A: Floats, now: Floats, turns: Floats, places_A: Floats
    ) -> list[Floats]:
        """Positions (n_atoms, 3) with the body in each of k poses.

        Parameters
        ----------
        positions_A : (n_atoms, 3) array
            Where everything stands.
        now : (3, 3) array
            The rotation of the present pose.
        turns, places_A : (k, 3, 3) and (k, 3) array
            New poses.
        """
        x = np.asarray(positions_A, np.float64)
        frame, origin = self._frame(x)
        arms = x[self.atoms] - x[self.atoms].mean(axis=0)
        out = []
        for turn, place in zip(turns, places_A, strict=True):
            if self.sighted:
                centre, by = x[self.anchors].mean(axis=0) - turn @ place, turn @ now.T
            else:
                centre, by = origin + frame @ place, frame @ turn @ now.T @ frame.T
            new = x.copy()
            new[self.atoms] = centre + arms @ by.T
            out.append(new)
        return out

    def _turn(self, x: Floats, rng: np.random.Generator) -> Floats:
        """The rotation (3, 3) of the body against the reference, in the laboratory."""
        arms, first = (y[self.atoms] - y[self.atoms].mean(axis=0) for y in (x, self.reference_A))
        if _dimension(self.reference_A[self.atoms]) == 0:
            return np.eye(3)
        turn = rotations.fitted(first, arms)
        if self.axis is not None:
            turn = turn @ rotations.exp(rng.uniform(-np.pi, np.pi) * self.axis)
        return turn

    def _frame(self, x: Floats) -> tuple[Floats, Floats]:
        """Rotation (3, 3) and origin (3,) of the anchors' frame in the laboratory."""
        if not len(self.anchors) or self.sighted:
            return np.eye(3), np.zeros(3)
        arms, first = (
            y[self.anchors] - y[self.anchors].mean(axis=0) for y in (x, self.reference_A)
        )
        return rotations.fitted(first, arms), x[self.anchors].mean(axis=0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        return {
            "reference_A": self.reference_A.tolist(),
            "atoms": np.asarray(self.atoms).tolist(),
            "anchors": np.asarray(self.anchors).tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, ArrayLike]) -> RigidBody:
        """The body that `to_dict` wrote."""
        return cls(
            np.asarray(data["reference_A"], np.float64),
            np.asarray(data["atoms"], np.int64).tolist(),
            np.asarray(data["anchors"], np.int64).tolist(),
        )


def _dimension(x: Floats) -> int:
    """0 for a point, 1 for a line, 2 for more."""
    sizes = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) if len(x) > 1 else np.zeros(1)
    if not sizes[0] > 0:
        return 0
    return 1 if len(sizes) < 2 or sizes[1] < _LINE * sizes[0] else 2
