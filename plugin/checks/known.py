"""What is known of one molecule beforehand: atoms held at given coordinates, and
distances within bounds. What cannot be is refused here: models then only see what a
geometry can satisfy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.bounds import graph_bounds, smoothed
from equidrift.checks.core_fit import problems
from equidrift.errors import InputError
from equidrift.geometry import superposed
from equidrift.records import Molecule
from equidrift.text import counted

HELD_A = 1e-3  # by how much a held atom may be off
TOLERANCE_A = 0.1  # by how much a sample may miss a distance bound
PLANAR_A = 0.05  # by how much atoms of a plane may be off it
MOVED = "held atoms moved"
RESTRAINT = "distance restraint"
MAX_LISTED = 4  # problems that a message names


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one molecule: k atoms held in their places, r bounded distances.

    Raises `InputError` if no geometry of the molecule can satisfy it; the message names
    the atoms.
    """

    molecule: Molecule
    # (k,) indices of the held atoms, and (k, 3) where they are held
    atoms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    positions_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    # (r, 2) atoms whose distance lies within the bounds (r,)
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    lower_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    upper_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    tolerance_A: float = TOLERANCE_A  # by how much a valid sample may miss a bound
    note: str = ""  # what a user should know about the match of the core, or empty

    def __post_init__(self) -> None:
        n = self.molecule.n_atoms
        for label, index in (("fix", self.atoms), ("restrain", self.pairs)):
            if index.size and not (index.min() >= 0 and index.max() < n):
                raise InputError(
                    f"{label} names atom {_outside(index, n)}, but {self.molecule!r} has atoms 0 "
                    f"to {n - 1}"
                )
        if len(np.unique(self.atoms)) != len(self.atoms):
            raise InputError("fix names an atom twice; give each atom one position")
        if n and len(self.atoms) == n:
            raise InputError(
                f"fix holds all {counted(n, 'atom')} of {self.molecule!r}, so nothing "
                "is left to sample; "
                "leave out what may move"
            )
        wrong = problems(self.molecule, self.atoms, self.positions_A)
        if wrong:
            raise InputError(
                f"the fixed coordinates do not fit {self.molecule!r}: {_listed(wrong)}"
            )
        self.bounds_A()  # refuses what contradicts

    @property
    def held(self) -> NDArray[np.bool_]:
        """(n_atoms,) which atoms are held."""
        mask = np.zeros(self.molecule.n_atoms, bool)
        mask[self.atoms] = True
        return mask

    def placed(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """positions_A (..., n_atoms, 3), each conformer superposed on the held atoms,
        and these exactly where they belong.
        """
        moved = np.array(positions_A, np.float64)
        if not len(self.atoms):
            return moved
        for x in moved.reshape(-1, *moved.shape[-2:]):
            if np.isfinite(x).all():
                x[:] = superposed(x, x[self.atoms], self.positions_A)
        moved[..., self.atoms, :] = self.positions_A
        return moved

    def mirrored(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The mirror image (n_atoms, 3) of a placed conformer that keeps the held
        atoms, None if they lie in no plane.
        """
        if not len(self.atoms):
            return positions_A * [1.0, 1.0, -1.0]
        centre = self.positions_A.mean(0)
        normal = np.linalg.svd(self.positions_A - centre)[2][-1]
        if np.abs((self.positions_A - centre) @ normal).max() > PLANAR_A:
            return None
        image: NDArray[np.float64] = positions_A - 2.0 * np.outer(
            (positions_A - centre) @ normal, normal
        )
        return self.placed(image)

    def violation_A(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much each conformer of positions_A (k, n_atoms, 3) misses each bound:
        (k, r).
        """
        d = np.linalg.norm(
            positions_A[:, self.pairs[:, 0]] - positions_A[:, self.pairs[:, 1]], axis=-1
        )
        missed: NDArray[np.float64] = np.maximum(
            np.maximum(self.lower_A - d, d - self.upper_A), 0.0
        )
        return missed

    def reasons(
        self, positions_A: NDArray[np.float64], reasons: NDArray[np.str_]
    ) -> NDArray[np.str_]:
        """`reasons` (k,) of a geometry check, with what else is wrong with conformers
        that passed it.
        """
        out = reasons.copy()
        off = (
            np.abs(positions_A[:, self.atoms] - self.positions_A).max((1, 2), initial=0.0) > HELD_A
        )
        missed = self.violation_A(positions_A).max(1, initial=0.0) > self.tolerance_A
        out[(out == "") & off] = MOVED
        out[(out == "") & missed] = RESTRAINT
        return out

    def scores(self, positions_A: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """What is reported of each sample: how many restraints it satisfies, and by how
        much it misses the worst.
        """
        if not len(self.pairs):
            return {}
        missed = self.violation_A(positions_A)
        return {
            "restraints_satisfied": (missed <= HELD_A).sum(1).astype(np.float64),
            "restraint_violation_A": missed.max(1),
        }

    def describe(self) -> dict[str, Any]:
        """What a sample's provenance says."""
        parts: dict[str, Any] = {"fixed_atoms": self.atoms.tolist()} if len(self.atoms) else {}
        if self.note:
            parts["fix_note"] = self.note
        return parts | ({"restraints": len(self.pairs)} if len(self.pairs) else {})

    def bounds_A(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bounds (n, n) of all distances that bonds, held atoms and
        restraints leave, smoothed by triangles.
        """
        lower, upper = graph_bounds(self.molecule)
        i, j = (self.atoms[k] for k in np.triu_indices(len(self.atoms), 1))
        first, second = np.triu_indices(len(self.atoms), 1)
        d = np.linalg.norm(self.positions_A[first] - self.positions_A[second], axis=-1)
        far = np.flatnonzero(d > upper[i, j] + HELD_A)
        if len(far):
            k = far[0]
            raise InputError(
                f"the fixed coordinates do not fit {self.molecule!r}: atoms {i[k]} and {j[k]} are "
                f"{d[k]:.2f} A apart, but the bonds "
                f"between them reach {upper[i[k], j[k]]:.2f} A at most; check which atoms the core "
                "is matched to"
            )
        lower, upper = lower.copy(), upper.copy()
        lower[i, j] = lower[j, i] = d - HELD_A
        upper[i, j] = upper[j, i] = d + HELD_A
        bounds = self.lower_A.tolist(), self.upper_A.tolist()
        for (a, b), low, high in zip(self.pairs.tolist(), *bounds, strict=True):
            lower[a, b] = lower[b, a] = max(lower[a, b], low)
            upper[a, b] = upper[b, a] = min(upper[a, b], high)
        lower, upper = smoothed(lower, upper)
        slack = np.triu(upper - lower, 1)
        if slack.min(initial=0.0) < -2 * HELD_A:
            self._contradiction(lower, upper)
        return lower, upper

    def _contradiction(self, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> None:
        """Name the restraint that is hardest hit, or the pair of atoms if none is."""
        gap = (lower - upper)[self.pairs[:, 0], self.pairs[:, 1]]
        if len(gap) and gap.max() > 0:
            k = int(gap.argmax())
            a, b = self.pairs[k].tolist()
            wanted = f"{self.lower_A[k]:g} to {self.upper_A[k]:g} A"
            left = (
                f"at most {upper[a, b]:.2f} A"
                if upper[a, b] < self.lower_A[k]
                else f"at least {lower[a, b]:.2f} A"
            )
            raise InputError(
                f"the distance restraints contradict each other or the molecule: atoms {a} and {b} "
                f"of {self.molecule!r} are to be {wanted} "
                f"apart, but bonds, fixed atoms and the other restraints leave {left}. Widen this "
                "restraint or another, or remove it"
            )
        a, b = np.unravel_index(np.argmax(lower - upper), lower.shape)
        raise InputError(
            f"fixed atoms and restraints leave no distance to atoms {a} and {b} of "
            f"{self.molecule!r}: at least {lower[a, b]:.2f} A and at "
            f"most {upper[a, b]:.2f} A. Widen the restraints, or hold fewer atoms"
        )


def _outside(index: NDArray[np.int64], n: int) -> int:
    return int(index[(index < 0) | (index >= n)].reshape(-1)[0])


def _listed(wrong: Sequence[str]) -> str:
    more = f" and {len(wrong) - MAX_LISTED} more" if len(wrong) > MAX_LISTED else ""
    return "; ".join(wrong[:MAX_LISTED]) + more
