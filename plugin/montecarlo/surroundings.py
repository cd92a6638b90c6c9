"""What stands round turned atoms: pair terms with the solvent within a cutoff. numpy only.

A turn about a bond takes each turned atom along a circle, and only particles that come
within the cutoff of a circle count: the cost of a turn is linear in its neighbours,
whatever the size of the box. The energy is one function of the positions: every image
of every particle within the cutoff is summed, and lists of neighbours only leave out
what is zero. So turns drawn from it are reversible while the surroundings stand still.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.frozen import plain_fields
from equidrift.geometry import Floats
from equidrift.units import COULOMB_EV_A_PER_E2

# how far the atoms may move before the list of what is near them is made anew
SKIN_A = 4.0
# repulsion of a pair at most: thousands of kT, so never drawn, and small enough that rounding
# does not tell the two ends of a turn past a clash apart
CLASH_EV = 100.0
_LEAST_A2 = 0.01  # atoms on top of each other: whatever the energy is then, it is too high


@dataclass(frozen=True, eq=False)
class SurroundingTerms:
    """Pair terms between the turned molecule and all other particles of a System.

    Lennard-Jones parameters are mixed by the rule of Lorentz and Berthelot; charges
    interact by q q' (1 / r + k r^2 - c), the reaction field of a dielectric beyond the
    cutoff, or by q q' / r if there is none.

    Parameters
    ----------
    kinds : (k, 3) array
        sigma (A), epsilon (eV) and charge (e) of each kind of particle.
    own : (n,) array of int
        Kind of each atom of the molecule.
    others : (e,) array of int
        Particles of the System round it that are read.
    kind_of_others : (e,) array of int
        Their kinds.
    cutoff_A : float, optional
        None: every particle interacts with the molecule, and there is no box.
    switch_A : float, optional
        Where Lennard-Jones terms begin to be switched off.
    dielectric : float, optional
        Constant of the reaction field; None for plain charges.
    unlisted : bool
        Whether pairs within the molecule, those of `excepted` aside, are read here
        too: for molecules too large for tables of pairs.
    excepted : (p, 2) array of int
        Pairs of atoms of the molecule with terms of their own.

    Raises
    ------
    InputError
        If lengths or indices do not fit, or a distance is not positive.
    """

    kinds: Floats
    own: NDArray[np.int64]
    others: NDArray[np.int64]
    kind_of_others: NDArray[np.int64]
    cutoff_A: float | None = None
    switch_A: float | None = None
    dielectric: float | None = None
    unlisted: bool = False
    excepted: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    def __post_init__(self) -> None:
        pairs = np.asarray(self.excepted, np.int64).reshape(-1, 2)
        object.__setattr__(self, "excepted", pairs)
        if self.kinds.ndim != 2 or self.kinds.shape[1] != 3 or not np.isfinite(self.kinds).all():
            raise InputError(f"kinds must be finite, (k, 3), not of shape {self.kinds.shape}")
        named = np.concatenate([self.own, self.kind_of_others])
        if named.size and not 0 <= named.min() <= named.max() < len(self.kinds):
            raise InputError(f"kinds of particles must be 0 to {len(self.kinds) - 1}")
        if self.others.shape != self.kind_of_others.shape:
            raise InputError("others and kind_of_others must be of the same length")
        if pairs.size and not 0 <= pairs.min() <= pairs.max() < len(self.own):
            raise InputError(f"excepted pairs must be atoms 0 to {len(self.own) - 1}")
        for name in ("cutoff_A", "switch_A", "dielectric"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be positive and finite or None, not {value}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        plain = plain_fields(self)
        plain.pop("table", None)  # what is computed from the others
        return plain

    @cached_property
    def table(self) -> NDArray[np.bool_]:
        """(n, n) whether two atoms of the molecule have terms of their own."""
        found = np.zeros((len(self.own), len(self.own)), bool)
        first, second = self.excepted.T
        found[first, second] = found[second, first] = True
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SurroundingTerms:
        """The terms that `to_dict` wrote."""
        whole = ("own", "others", "kind_of_others", "excepted")
        values: dict[str, Any] = {column.name: data[column.name] for column in fields(cls)}
        for name in whole:
            values[name] = np.array(values[name], np.int64)
        values["kinds"] = np.array(values["kinds"], np.float64).reshape(-1, 3)
        return cls(**values)

    def energies(self, d2: Floats, one: NDArray[np.int64], other: NDArray[np.int64]) -> Floats:
        """(k,) sums over pairs in eV.

        Parameters
        ----------
        d2 : (k, p) array
            Squared distances in A^2, of p pairs at k angles.
        one, other : (p,) array of int
            Kinds of their particles.
        """
        d2 = np.maximum(d2, _LEAST_A2)
        a, b = self.kinds[one], self.kinds[other]
        inside = 1.0 if self.cutoff_A is None else (d2 < self.cutoff_A**2).astype(np.float64)
        products = COULOMB_EV_A_PER_E2 * a[:, 2] * b[:, 2]
        potential = 1 / np.sqrt(d2)
        if self.dielectric is not None and self.cutoff_A is not None:
            curvature, level = reaction_field(self.dielectric, self.cutoff_A)
            potential += curvature * d2 - level
        energy: Floats = (potential * inside) @ products
        epsilon = 4 * np.sqrt(a[:, 1] * b[:, 1])
        deep = np.flatnonzero(epsilon)
        x6 = ((0.5 * (a[deep, 0] + b[deep, 0])) ** 2 / d2[:, deep]) ** 3
        x6 = np.minimum(x6, np.sqrt(CLASH_EV / epsilon[deep]))
        well = x6 * x6 - x6
        if self.cutoff_A is not None:
            well *= (d2[:, deep] < self.cutoff_A**2) * self._switched(d2[:, deep])
        energy += well @ epsilon[deep]
        return energy

    def _switched(self, d2: Floats) -> Floats | float:
        """OpenMM's switching function: 1 - 10 x^3 + 15 x^4 - 6 x^5."""
        if self.switch_A is None or self.cutoff_A is None:
            return 1.0
        x = np.clip((np.sqrt(d2) - self.switch_A) / (self.cutoff_A - self.switch_A), 0, 1)
        return 1 - x**3 * (10 - 15 * x + 6 * x * x)


def reaction_field(dielectric: float, cutoff_A: float) -> tuple[float, float]:
    """k and c of 1 / r + k r^2 - c (Tironi et al., J. Chem. Phys. 1995, 102, 5451)."""
    curvature = (dielectric - 1) / (2 * dielectric + 1) / cutoff_A**3
    return curvature, 3 * dielectric / (2 * dielectric + 1) / cutoff_A


class Surroundings:
    """The surroundings of a molecule where they stand.

    Parameters
    ----------
    terms : SurroundingTerms
        Their pair terms.
    everything_A : (n_particles, 3) array
        Positions of all particles of the System.
    box_A : (3, 3) array, optional
        Rows are the vectors of the periodic box.
    """

    def __init__(
        self, terms: SurroundingTerms, everything_A: Floats, box_A: Floats | None = None
    ) -> None:
        self.terms, self.box_A = terms, box_A
        self.places_A = np.asarray(everything_A, np.float64)[terms.others]
        # of the sphere of atoms that the list is good for
        self._centre_A, self._radius_A = np.zeros(3), -1.0
        self._near_A, self._kinds = np.zeros((0, 3)), np.zeros(0, np.int64)

    def near(self, positions_A: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Positions (m, 3) and kinds (m,) of all particles and images that may be within
        the cutoff of the molecule at positions (n_atoms, 3).
        """
        if self.terms.cutoff_A is None:
            return self.places_A, self.terms.kind_of_others
        if (
            self._radius_A < 0
            or np.square(positions_A - self._centre_A).sum(axis=1).max() > self._radius_A**2
        ):
            self._centre_A = positions_A.mean(axis=0)
            reach2 = np.square(positions_A - self._centre_A).sum(axis=1).max()
            self._radius_A = math.sqrt(reach2) + SKIN_A
            found = within(
                self.places_A, self.box_A, self._centre_A, self._radius_A + self.terms.cutoff_A
            )
            self._near_A, rows = found
            self._kinds = self.terms.kind_of_others[rows]
        return self._near_A, self._kinds


def within(
    places_A: Floats, box_A: Floats | None, centre_A: Floats, radius_A: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Positions (m, 3) of particles and their periodic images within a radius of a
    centre, and which particles (m,) they are.

    Parameters
    ----------
    places_A : (e, 3) array
        One image of each particle.
    box_A : (3, 3) array, optional
        Rows are the box vectors; None for no box.
    """
    from_centre = places_A - centre_A
    if box_A is None:
        rows = np.flatnonzero(np.square(from_centre).sum(axis=1) < radius_A**2)
        return places_A[rows], rows
    inverse = np.linalg.inv(box_A)
    image = from_centre @ inverse
    image -= np.floor(image + 0.5)
    rows = np.arange(len(image))
    # a fraction of f lies f / |column of the inverse| from its plane; what lies too far along
    # one of them is left out before the next
    for axis, most in enumerate(radius_A * np.linalg.norm(inverse, axis=0)):
        furthest = int(np.floor(most + 0.5))  # fractions are at most half a box
        shifts = np.arange(-furthest, furthest + 1)
        at = image[:, axis] + shifts[:, None]
        steps, kept = np.nonzero(np.abs(at) <= most)
        image, rows = image[kept], rows[kept]
        image[:, axis] = at[steps, kept]
    places = image @ box_A
    inside = np.square(places).sum(axis=1) < radius_A**2
    return places[inside] + centre_A, rows[inside]
