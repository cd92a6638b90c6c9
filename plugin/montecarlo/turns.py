"""What turning about one bond changes in a force field: its terms, and the energy along
the circle of one bond. numpy only.

Turning about a bond changes a few dihedrals and the distances between the two sides,
and with the axis as z the squared distance of two atoms is a + b cos(angle) + c
sin(angle): one small matrix product gives the distances at every angle, so that dozens
of angles cost what one call of a simulation engine does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, UnknownNameError
from equidrift.frozen import plain_fields
from equidrift.geometry import Floats, cross
from equidrift.montecarlo.surroundings import CLASH_EV, Surroundings, SurroundingTerms
from equidrift.torsions import TorsionTree

FORMS = ("lennard-jones", "mmff")
MMFF_BUFFER_A = 0.05  # added to the distance in MMFF's Coulomb term
# beyond, tables of all pairs grow large, and a turn about a bond in the middle costs more than
# a step of dynamics
MOST_ATOMS = 250
MOST_TURNED = 60  # atoms of such a molecule that a turn may take along
_LEAST_A2 = 0.01  # atoms on top of each other: whatever the energy is then, it is too high
_SHALLOWEST_EV = 1e-12  # a depth that is none
_ON_AXIS_A2 = 1e-6  # an end of a dihedral that lies on the axis: it has no angle
_CLOSEST = np.geomspace(1e-3, 1.0, 400)  # distances over r0 at which MMFF's well is looked up


@dataclass(frozen=True, eq=False)
class TurnTerms:
    """The terms of a force field that turning about bonds changes.

    Parameters
    ----------
    n_atoms : int
        Of the molecule.
    form : str
        "lennard-jones", 4 epsilon ((r0 / r)^12 - (r0 / r)^6) + q / r; or "mmff", the
        buffered 14-7 form and q / (r + 0.05 A).
    pairs : (p, 2) array
        Atoms, each pair once.
    r0_A, epsilon_eV, coulomb_eV_A : (p,) array
        Of each pair, scaling of 1-4 pairs applied.
    torsions : (t, 4) array
        Atoms.
    orders, phases_rad, heights_eV : (t,) array
        Of each torsion: height (1 + cos(order phi - phase)).
    surroundings : SurroundingTerms, optional
        Pair terms with all other particles, if the molecule stands among any.

    Raises
    ------
    InputError
        If lengths or indices do not fit. UnknownNameError for another form.
    """

    n_atoms: int
    form: str
    pairs: NDArray[np.int64]
    r0_A: Floats
    epsilon_eV: Floats
    coulomb_eV_A: Floats
    torsions: NDArray[np.int64]
    orders: NDArray[np.int64]
    phases_rad: Floats
    heights_eV: Floats
    surroundings: SurroundingTerms | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UnknownNameError("form of pair terms", str(self.form), FORMS)
        for index, width, columns in (
            ("pairs", 2, ("r0_A", "epsilon_eV", "coulomb_eV_A")),
            ("torsions", 4, ("orders", "phases_rad", "heights_eV")),
        ):
            atoms = getattr(self, index)
            if (
                atoms.ndim != 2
                or atoms.shape[1] != width
                or (atoms.size and not 0 <= atoms.min() <= atoms.max() < self.n_atoms)
            ):
                raise InputError(
                    f"{index} must be (any, {width}) atoms from 0 to {self.n_atoms - 1}, not "
                    f"of shape {atoms.shape}"
                )
            for column in columns:
                if (
                    getattr(self, column).shape != (len(atoms),)
                    or not np.isfinite(getattr(self, column)).all()
                ):
                    raise InputError(
                        f"{column} must be {len(atoms)} finite numbers, one for each row of {index}"
                    )
        ordered = np.sort(self.pairs, axis=1)
        if len(np.unique(ordered, axis=0)) < len(ordered) or (ordered[:, 0] == ordered[:, 1]).any():
            raise InputError(
                "pairs must be different atoms, each pair once in either order; add up what "
                "acts between the same two atoms"
            )

    def without(self, torsions: NDArray[np.bool_]) -> TurnTerms:
        """The same terms without the chosen torsions (t,)."""
        kept = {
            name: getattr(self, name)[~torsions]
            for name in ("torsions", "orders", "phases_rad", "heights_eV")
        }
        return replace(self, **kept)

    def with_pairs(self, chosen: NDArray[np.bool_]) -> TurnTerms:
        """The same terms with the chosen pairs (p,) alone."""
        kept = {
            name: getattr(self, name)[chosen]
            for name in ("pairs", "r0_A", "epsilon_eV", "coulomb_eV_A")
        }
        return replace(self, **kept)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        plain = plain_fields(self)
        around = plain.pop("surroundings")
        return plain if around is None else plain | {"surroundings": around.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TurnTerms:
        """The terms that `to_dict` wrote."""
        widths, whole = {"pairs": 2, "torsions": 4}, ("pairs", "torsions", "orders")
        around = data.get("surroundings")
        values: dict[str, Any] = {
            "n_atoms": int(data["n_atoms"]),
            "form": data["form"],
            "surroundings": None if around is None else SurroundingTerms.from_dict(around),
        }
        for name in (field.name for field in fields(cls) if field.name not in values):
            array = np.array(data[name], np.int64 if name in whole else np.float64)
            values[name] = array.reshape(-1, widths[name]) if name in widths else array
        return cls(**values)


def one_turn(tree: TorsionTree, torsions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which dihedrals (t, 4) change with at most one bond of the tree, as a cosine of
    the angle turned by.

    Turning about a bond leaves a dihedral alone if none of its atoms turns, or none
    stays, those of the bond itself aside. A dihedral whose two middle atoms are the
    bond has both ends turn with it, or neither, or changes by exactly the angle.
    Anything else fails.
    """
    proved = np.ones(len(torsions), bool)
    for k in range(tree.n_torsions):
        axis = tree.atoms[k, 1:3]
        moved = np.isin(torsions, tree.moved[k])
        still = ~moved & ~np.isin(torsions, axis)
        middle = (np.sort(torsions[:, 1:3], axis=1) == np.sort(axis)).all(axis=1)
        proved &= middle | ~(moved.any(axis=1) & still.any(axis=1))
    return proved


def closest_A2(form: str, r0_A: Floats, epsilon_eV: Floats) -> Floats:
    """(p,) squared distances below which pairs are read as if they stood there: where the
    repulsion of each is `CLASH_EV`, and never closer than .1 A.

    Of two turns together the second may lead out of a clash that the first leads into.
    The energies of both are added up, and with a repulsion that grows as r^-12 their
    rounding alone would be more than kT.
    """
    depths = CLASH_EV / np.maximum(epsilon_eV, _SHALLOWEST_EV)
    if form == "lennard-jones":
        near = ((1 + np.sqrt(1 + depths)) / 2) ** (-1 / 6)
    else:
        wells = (1.07 / (_CLOSEST + 0.07)) ** 7 * (1.12 / (_CLOSEST**7 + 0.12) - 2)
        near = np.interp(depths, wells[::-1], _CLOSEST[::-1])
    out: Floats = np.maximum((near * r0_A) ** 2, _LEAST_A2)
    return out


class Turn:
    """The energy along the circle of one bond.

    Parameters
    ----------
    tree, k : TorsionTree, int
        Which bond of which tree.
    terms : TurnTerms
        See `TurnTerms`.
    """

    def __init__(self, tree: TorsionTree, k: int, terms: TurnTerms) -> None:
        self.fixed, self.turned = (int(atom) for atom in tree.atoms[k, 1:3])
        self.moved = tree.moved[k]
        self.still = np.setdiff1d(
            np.arange(tree.n_atoms), np.append(self.moved, (self.fixed, self.turned))
        )
        place = np.full(tree.n_atoms, -1)
        place[self.still], place[self.moved] = (
            np.arange(len(self.still)),
            np.arange(len(self.moved)),
        )
        inside = np.zeros(tree.n_atoms, bool)
        inside[self.moved] = True
        axis = np.isin(terms.pairs, (self.fixed, self.turned)).any(axis=1)
        across = ~axis & (inside[terms.pairs[:, 0]] != inside[terms.pairs[:, 1]])
        ends = np.where(
            inside[terms.pairs[across, :1]], terms.pairs[across, ::-1], terms.pairs[across]
        )
        cell = place[ends[:, 0]] * len(self.moved) + place[ends[:, 1]]
        self.cells, order = np.unique(cell, return_index=True)
        self.all_cells = len(self.cells) == len(self.still) * len(self.moved)
        self.form = terms.form
        self.r0 = terms.r0_A[across][order]
        self.per_r02, self.epsilon, self.coulomb = (
            1 / self.r0**2,
            terms.epsilon_eV[across][order],
            terms.coulomb_eV_A[across][order],
        )
        self.least_A2 = closest_A2(self.form, self.r0, self.epsilon)
        self._dihedrals(terms, place, inside)

    def _dihedrals(
        self, terms: TurnTerms, place: NDArray[np.int64], inside: NDArray[np.bool_]
    ) -> None:
        """Cosine terms about this bond, the still end first; a dihedral read backwards
        is the same, impropers have both ends on a side.
        """
        about = (np.sort(terms.torsions[:, 1:3], axis=1) == np.sort((self.fixed, self.turned))).all(
            axis=1
        )
        ours = np.flatnonzero(
            about & (inside[terms.torsions[:, 0]] != inside[terms.torsions[:, 3]])
        )
        rows = np.where(
            terms.torsions[ours, 1:2] == self.fixed,
            terms.torsions[ours],
            terms.torsions[ours, ::-1],
        )
        self.ends = place[rows[:, 0]] * len(self.moved) + place[rows[:, 3]]
        self.orders, self.factors = (
            terms.orders[ours],
            terms.heights_eV[ours] * np.exp(-1j * terms.phases_rad[ours]),
        )

    def energies(self, positions_A: Floats, angles_rad: Floats) -> tuple[Floats, Floats]:
        """U* (k,) in eV, up to a constant, at each angle turned by; and the unit axis
        (3,).
        """
        origin = positions_A[self.turned]
        axis = origin - positions_A[self.fixed]
        axis = axis / np.sqrt(axis @ axis)
        parts = _circles(positions_A[self.still] - origin, positions_A[self.moved] - origin, axis)
        waves = np.exp(1j * angles_rad)
        harmonics = _harmonics(waves)
        energy = self._pairs(
            np.maximum(
                harmonics @ (parts if self.all_cells else parts[:, self.cells]), self.least_A2
            )
        )
        if len(self.ends):
            # turning by t makes the angle between an end and the other t - arg(cosine +
            # i sine): a dihedral of that value
            start = parts[1, self.ends] - 1j * parts[2, self.ends]
            length = np.abs(start)
            start /= np.where(length > _ON_AXIS_A2, length, np.inf)
            for order in np.unique(self.orders):
                chosen = self.orders == order
                energy += (
                    waves**order * (self.factors[chosen] * start[chosen] ** order).sum()
                ).real
        return energy, axis

    def among(
        self, surroundings: Surroundings, positions_A: Floats, axis: Floats, angles_rad: Floats
    ) -> Floats:
        """(k,) energies in eV of the turned atoms with what stands round them, at each
        angle turned by about the axis that `energies` gave.
        """
        terms, origin = surroundings.terms, positions_A[self.turned]
        moved = positions_A[self.moved] - origin
        near_A, kinds = surroundings.near(positions_A)
        apart = np.zeros((0, len(self.moved)), bool)
        if terms.unlisted:
            near_A = np.concatenate([positions_A[self.still], near_A])
            kinds = np.concatenate([terms.own[self.still], kinds])
            apart = terms.table[np.ix_(self.still, self.moved)]
        near_A = near_A - origin
        if terms.cutoff_A is not None:  # of what no turned atom comes near nothing is worked out
            reach_A = terms.cutoff_A + np.sqrt(np.square(moved).sum(axis=1).max(initial=0.0))
            close = np.square(near_A).sum(axis=1) < reach_A**2
            near_A, kinds, apart = near_A[close], kinds[close], apart[close[: len(apart)]]
        parts = _circles(near_A, moved, axis)
        counted = np.ones((len(near_A), len(moved)), bool)
        counted[: len(apart)] = ~apart
        if terms.cutoff_A is not None:
            nearest2 = parts[0] - 2 * np.hypot(parts[1], parts[2])
            counted &= nearest2.reshape(counted.shape) < terms.cutoff_A**2
        cells = np.flatnonzero(counted)
        d2 = _harmonics(np.exp(1j * angles_rad)) @ parts[:, cells]
        rows, columns = np.divmod(cells, len(moved))
        return terms.energies(d2, kinds[rows], terms.own[self.moved[columns]])

    def _pairs(self, d2: Floats) -> Floats:
        """(k,) sums over pairs of squared distances (k, p)."""
        if self.form == "lennard-jones":
            inverse = 1 / d2
            x6 = (inverse / self.per_r02) ** 3
            lj: Floats = (x6 * x6 - x6) @ (4 * self.epsilon) + np.sqrt(inverse) @ self.coulomb
            return lj
        d2 *= self.per_r02
        x = np.sqrt(d2)
        x7 = d2 * d2
        x7 *= d2
        x7 *= x
        buffer = 1.07 / (x + 0.07)
        b7 = buffer * buffer
        b7 *= b7 * b7
        b7 *= buffer
        x7 += 0.12
        np.divide(1.12, x7, out=x7)
        x7 -= 2
        x7 *= b7
        x *= self.r0
        x += MMFF_BUFFER_A
        np.divide(1.0, x, out=x)
        out: Floats = x7 @ self.epsilon + x @ self.coulomb
        return out

    def turn(self, positions_A: Floats, axis: Floats, angle_rad: float) -> Floats:
        """New positions, turned by an angle about the axis that `energies` gave."""
        x, cosine, sine = positions_A.copy(), np.cos(angle_rad), np.sin(angle_rad)
        arms = x[self.moved] - x[self.turned]
        across = cross(axis, arms)
        x[self.moved] = (
            x[self.turned]
            + arms * cosine
            + across * sine
            + (arms @ axis * (1 - cosine))[:, None] * axis
        )
        return x


class TurnAmong(Turn):
    """The energy along the circle of one bond, with what stands round the molecule.

    Parameters
    ----------
    turn : Turn
        Of the molecule's own terms.
    surroundings : Surroundings
        What stands round it.
    """

    def __init__(self, turn: Turn, surroundings: Surroundings) -> None:
        self.__dict__.update(vars(turn))
        self.surroundings = surroundings

    def energies(self, positions_A: Floats, angles_rad: Floats) -> tuple[Floats, Floats]:
        """See `Turn.energies`."""
        energy, axis = super().energies(positions_A, angles_rad)
        return energy + self.among(self.surroundings, positions_A, axis, angles_rad), axis


def _circles(still: Floats, moved: Floats, axis: Floats) -> Floats:
    """(3, s m) a, b and c of the squared distances a - 2 (b cos(angle) + c sin(angle))
    between still (s, 3) and turned (m, 3) atoms, both from a point of the axis.
    """
    z, w = still @ axis, moved @ axis
    still, moved = still - z[:, None] * axis, moved - w[:, None] * axis
    ahead = cross(axis, moved)
    cosine, sine = still @ moved.T, still @ ahead.T
    parts = np.empty((3, cosine.size))
    constant = (
        (np.einsum("ij,ij->i", still, still) + z * z)[:, None]
        + np.einsum("ij,ij->i", moved, moved)
        + w * w
    )
    parts[0], parts[1], parts[2] = (
        (constant - 2 * z[:, None] * w).ravel(),
        cosine.ravel(),
        sine.ravel(),
    )
    return parts


def _harmonics(waves: NDArray[np.complex128]) -> Floats:
    """(k, 3) factors of the parts of `_circles` at k angles."""
    return np.stack([np.ones(len(waves)), -2 * waves.real, -2 * waves.imag], axis=1)
