"""Heat bath of single torsions in a surrogate energy, judged by the host's own: what
turning changes, for many angles at once. numpy only.

Turning about a bond changes a few dihedrals and the distances between the two sides,
and with the axis as z the squared distance of two atoms is a + b cos(angle) + c
sin(angle): one small matrix product gives the distances at every angle, so that dozens
of angles cost what one call of a simulation engine does. A proposal is a series of
turns, each drawn with odds exp(-U* / kT) among two dozen angles.

Every turn (about one bond, or now and then two together) is a reversible kernel of
exp(-U* / kT), and so is a series of them drawn at random; a proposal x -> x' thus has
log q(x | x') - log q(x' | x) = (U*(x') - U*(x)) / kT, and the host accepts with min(1,
exp(-(dU - dU*) / kT)) (delayed acceptance: Christen and Fox, J. Comput. Graph. Stat.
2005, 14, 795). U* decides the speed alone; where it holds every term that torsions
change, nothing is ever rejected.

For this U* must be one function of the positions, whichever bond turns. A dihedral over
four atoms bonded in a row changes with its middle bond alone; one over other atoms may
change with several bonds, and a turn that knew it only in part would draw from odds
that differ from the odds of the way back. So a dihedral is read only if `one_turn`
proves from its atoms and the tree that no other bond changes it; all others are left to
the acceptance by the full energy. `irreversibility_kT` measures what is left of such
faults.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, UnknownNameError
from equidrift.geometry import Floats
from equidrift.montecarlo.proposals import check_turns, uniform_proposer
from equidrift.protocols import CautiousProposer, Proposer
from equidrift.records import Proposal
from equidrift.torsions import TorsionTree

FORMS = ("lennard-jones", "mmff")
MMFF_BUFFER_A = 0.05  # added to the distance in MMFF's Coulomb term
POINTS = 12
# share of turns about two bonds together: they cost a dozen times as much, and are the
# only way between some basins
PAIRS = 0.05
# odds of the same states from both ends of a turn may differ by so much: rounding is below 1e-8
REVERSIBLE_KT = 1e-4
_PROBES_RAD = np.array([0.0, 0.7, 2.3, 4.1])  # angles of each bond in the reversibility test
MOST_ATOMS = (
    250  # beyond, the tables of pairs grow large, and a turn costs more than a step of dynamics
)
_LEAST_A2 = 0.01  # atoms on top of each other: whatever the energy is then, it is too high


@dataclass(frozen=True, eq=False)
class TurnTerms:
    """The terms of a force field that turning about bonds changes.

    Parameters
    ----------
    n_atoms : of the molecule.
    form : "lennard-jones", 4 epsilon ((r0 / r)^12 - (r0 / r)^6) + q / r; or "mmff", the
        buffered 14-7 form and q / (r + 0.05 A).
    pairs : (p, 2) atoms, each pair once; r0_A, epsilon_eV, coulomb_eV_A : (p,) of each,
        scaling of 1-4 pairs applied.
    torsions : (t, 4) atoms; orders (t,), phases_rad (t,), heights_eV (t,) : height (1 +
        cos(order phi - phase)).

    Raises
    ------
    InputError
        where lengths or indices do not fit. UnknownNameError for another form.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TurnTerms:
        """The terms that `to_dict` wrote."""
        widths, whole = {"pairs": 2, "torsions": 4}, ("pairs", "torsions", "orders")
        values: dict[str, Any] = {"n_atoms": int(data["n_atoms"]), "form": data["form"]}
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


class Turn:
    """The energy along the circle of one bond.

    Parameters
    ----------
    tree, k : which bond of which tree.
    terms : see `TurnTerms`.
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
        still, moved = positions_A[self.still] - origin, positions_A[self.moved] - origin
        z, w = still @ axis, moved @ axis
        still, moved = still - z[:, None] * axis, moved - w[:, None] * axis
        ahead = np.stack(
            [axis[i] * moved[:, j] - axis[j] * moved[:, i] for i, j in ((1, 2), (2, 0), (0, 1))],
            axis=1,
        )
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
        waves = np.exp(1j * angles_rad)
        harmonics = np.stack([np.ones(len(waves)), -2 * waves.real, -2 * waves.imag], axis=1)
        energy = self._pairs(
            np.maximum(harmonics @ (parts if self.all_cells else parts[:, self.cells]), _LEAST_A2)
        )
        if len(self.ends):
            # turning by t makes the angle between an end and the other t - arg(cosine +
            # i sine): a dihedral of that value
            start = parts[1, self.ends] - 1j * parts[2, self.ends]
            start /= np.abs(start)
            for order in np.unique(self.orders):
                chosen = self.orders == order
                energy += (
                    waves**order * (self.factors[chosen] * start[chosen] ** order).sum()
                ).real
        return energy, axis

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
        across = np.stack(
            [axis[i] * arms[:, j] - axis[j] * arms[:, i] for i, j in ((1, 2), (2, 0), (0, 1))],
            axis=1,
        )
        x[self.moved] = (
            x[self.turned]
            + arms * cosine
            + across * sine
            + (arms @ axis * (1 - cosine))[:, None] * axis
        )
        return x


def _drawn(energy_eV: Floats, kT_eV: float, rng: np.random.Generator) -> int:
    """An index drawn with odds exp(-U / kT); 0, which is to stay, where an energy is
    not finite.
    """
    number = rng.random()
    if not np.isfinite(energy_eV).all():
        return 0
    total = np.cumsum(np.exp((energy_eV.min() - energy_eV) / kT_eV))
    return min(int(np.searchsorted(total, number * total[-1], side="right")), len(energy_eV) - 1)


def _grid(
    x: Floats, first: Turn, second: Turn, outer: Floats, inner: Floats
) -> tuple[Floats, Floats]:
    """U* (k, j) of all angles of two bonds, and the positions at the last of them."""
    energy, axis = first.energies(x, outer)
    rows = []
    for part, angle in zip(energy, outer):
        way = first.turn(x, axis, angle)
        found, across = second.energies(way, np.append(0.0, inner))
        rows.append(part + found[1:] - found[0])
    return np.stack(rows), second.turn(way, across, inner[-1])


def _difference(here: Floats, there: Floats) -> float:
    """How far two tables of energies of the same states differ, up to a constant and
    relative to energies beyond 1 eV.
    """
    least = min(here.min(), there.min())
    if not np.isfinite(least):
        return 0.0  # nothing turns where an energy is not finite
    here, there = here - here.ravel()[0], there - there.ravel()[0]
    scale = 1 + np.abs(here)  # clashing atoms have energies whose rounding alone is large
    return float((np.abs(here - there) / scale).max())


class HeatBathProposer(CautiousProposer):
    """Turns about bonds drawn at random, each from the surrogate's own odds among `2
    points` angles.

    The angles are those `points` equal turns make of the present one, and the same
    shifted by a random step to either side: from any of them the other ones are found
    with the same odds, which is what makes the choice reversible.

    Parameters
    ----------
    tree : the torsions.
    terms : the surrogate energy; the closer to the host's, the more is accepted.
        Dihedrals that `one_turn` does not prove are left out.
    turns : of one proposal; None takes as many as there are torsions.
    points : equal turns of a circle.
    pairs : share of turns about two bonds together, `points` angles of the first times
        `2 points` of the second.

    Attributes
    ----------
    unread : dihedrals of the terms that were left out, to be judged by the acceptance
        alone.

    Raises
    ------
    InputError
        where there is nothing to turn, counts are too small, or the terms are for
        another number of atoms.
    """

    exact = True
    name = "heat-bath"
    tree: TorsionTree

    def __init__(
        self,
        tree: TorsionTree,
        terms: TurnTerms,
        *,
        turns: int | None = None,
        points: int = POINTS,
        pairs: float = PAIRS,
    ) -> None:
        check_turns(tree)
        if terms.n_atoms != tree.n_atoms:
            raise InputError(
                f"the terms are for {terms.n_atoms} atoms, the torsions for {tree.n_atoms}; "
                f"make both of one molecule"
            )
        if points < 2 or (turns is not None and turns < 1):
            raise InputError(
                f"turns must be at least 1 and points at least 2, not {turns} and {points}"
            )
        if not 0 <= pairs <= 1:
            raise InputError(f"pairs must be a share from 0 to 1, not {pairs}")
        unread = ~one_turn(tree, terms.torsions)
        self.unread = int(unread.sum())
        self.tree, self.terms, self.points, self.pairs = (
            tree,
            terms.without(unread),
            points,
            float(pairs),
        )
        self.turns = tree.n_torsions if turns is None else turns
        self._circles = [Turn(tree, k, self.terms) for k in range(tree.n_torsions)]

    @property
    def moved_bonds(self) -> list[str]:
        """A label a torsion, for acceptance statistics."""
        return self.tree.labels()

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """One proposal from one state (n_atoms, 3)."""
        x, change, m = np.array(positions_A, np.float64), 0.0, len(self._circles)
        for _ in range(self.turns):
            if m > 1 and rng.random() < self.pairs:
                first, second = rng.choice(m, 2, replace=False)
                x, part = self._double(x, self._circles[first], self._circles[second], kT_eV, rng)
            else:
                x, part = self._single(x, self._circles[rng.integers(m)], kT_eV, rng)
            change += part
        return Proposal(x, change / kT_eV, {"kind": "heat-bath"})

    def _angles(self, rng: np.random.Generator) -> Floats:
        step = 2 * np.pi / self.points
        equal = step * np.arange(self.points)
        shift = step * rng.random() * (1 if rng.random() < 0.5 else -1)
        return np.concatenate([equal, equal + shift])

    def _single(
        self, x: Floats, circle: Turn, kT_eV: float, rng: np.random.Generator
    ) -> tuple[Floats, float]:
        """New positions, and the change of U* in eV."""
        angles = self._angles(rng)
        energy, axis = circle.energies(x, angles)
        k = _drawn(energy, kT_eV, rng)
        return (circle.turn(x, axis, angles[k]), float(energy[k] - energy[0])) if k else (x, 0.0)

    def _double(
        self, x: Floats, first: Turn, second: Turn, kT_eV: float, rng: np.random.Generator
    ) -> tuple[Floats, float]:
        """The same of two bonds together."""
        angles = self._angles(rng)
        outer, axis = first.energies(x, angles[: self.points])
        ways = [first.turn(x, axis, angle) for angle in angles[: self.points]]
        inner = [second.energies(way, angles) for way in ways]
        energy = np.stack([here + part - part[0] for here, (part, _) in zip(outer, inner)])
        k, j = divmod(_drawn(energy.ravel(), kT_eV, rng), len(angles))
        return second.turn(ways[k], inner[k][1], angles[j]), float(energy[k, j] - energy[0, 0])

    def irreversibility_kT(self, positions_A: Floats, kT_eV: float) -> float:
        """How far the odds of the same states, seen from both ends of a turn about one
        or two bonds, differ at most; 0 is reversible.

        Every bond, and every pair of bonds, is turned from positions_A (n_atoms, 3) to
        the last of a few angles, and the energies of all angles are compared with those
        seen from there. An energy that is no function of the positions alone fails.
        """
        angles = _PROBES_RAD
        worst = 0.0
        for i, first in enumerate(self._circles):
            here, axis = first.energies(positions_A, angles)
            there, _ = first.energies(
                first.turn(positions_A, axis, angles[-1]), angles - angles[-1]
            )
            worst = max(worst, _difference(here, there))
            for second in self._circles[i + 1 :]:
                here, end = _grid(positions_A, first, second, angles, angles)
                there, _ = _grid(end, first, second, angles - angles[-1], angles - angles[-1])
                worst = max(worst, _difference(here, there))
        return worst / kT_eV

    def trusted(self, positions_A: Floats, kT_eV: float) -> Proposer:
        """Return the proposer, or if its turns are not reversible here uniform turns, with a
        warning: what hosts call before the first move.
        """
        found = self.irreversibility_kT(positions_A, kT_eV)
        if found <= REVERSIBLE_KT:
            return self
        warnings.warn(
            f"heat-bath turns are not reversible here (the odds of the same states differ by "
            f"{found:.3g} kT between the two ends of a "
            "turn), so uniform turns with plain acceptance by the full energy are used "
            "instead: exact, but less is accepted",
            stacklevel=2,
        )
        return uniform_proposer(self.tree, block_size=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `equidrift.montecarlo.proposals.proposer_from_dict` is the
        inverse.
        """
        data = {
            "tree": self.tree.to_dict(),
            "terms": self.terms.to_dict(),
            "turns": self.turns,
            "points": self.points,
        }
        data["pairs"] = self.pairs
        return {"proposer": "heat-bath", **data}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HeatBathProposer:
        """The proposer that `to_dict` wrote."""
        tree, terms = TorsionTree.from_dict(data["tree"]), TurnTerms.from_dict(data["terms"])
        return cls(tree, terms, turns=data["turns"], points=data["points"], pairs=data["pairs"])
