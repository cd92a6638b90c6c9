"""Heat bath of single torsions in a surrogate energy, judged by the host's own: what
turning changes, for many angles at once. numpy only.

A proposal is a series of turns, each drawn with odds exp(-U* / kT) among two dozen
angles of one bond (`equidrift.montecarlo.turns`).

Every turn (about one bond, or now and then two together) is a reversible kernel of
exp(-U* / kT), and so is a series of them drawn at random; a proposal x -> x' thus has
log q(x | x') - log q(x' | x) = (U*(x') - U*(x)) / kT, and the host accepts with min(1,
exp(-(dU - dU*) / kT)) (delayed acceptance: Christen and Fox, J. Comput. Graph. Stat.
2005, 14, 795). U* decides the speed alone; if it holds every term that torsions
change, nothing is ever rejected.

For this U* must be one function of the positions, whichever bond turns. A dihedral over
four atoms bonded in a row changes with its middle bond alone; one over other atoms may
change with several bonds, and a turn that knew it only in part would draw from odds
that differ from the odds of the way back. So a dihedral is read only if `one_turn`
proves from its atoms and the tree that no other bond changes it; all others are left to
the acceptance by the full energy. `irreversibility_kT` measures what is left of such
faults.

In a solvent the terms hold the pairs of the molecule with all other particles too
(`equidrift.montecarlo.surroundings`): these stand still while the molecule is turned, so
U* is still one function of what turns. Turns then cost less than an energy of the whole
box, and a proposal takes two for each torsion, up to `TURNS_IN_SOLVENT`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.proposals import check_turns, uniform_proposer
from equidrift.montecarlo.surroundings import Surroundings
from equidrift.montecarlo.turns import (
    MOST_ATOMS,
    MOST_TURNED,
    Turn,
    TurnAmong,
    TurnTerms,
    one_turn,
)
from equidrift.protocols import CautiousProposer, Proposer, SurroundedProposer
from equidrift.records import Proposal
from equidrift.text import counted
from equidrift.torsions import TorsionTree

POINTS = 12
# share of turns about two bonds together: they cost a dozen times as much, and are the
# only way between some basins
PAIRS = 0.05
# turns of a proposal at most, which costs an energy of the whole box besides
TURNS_IN_SOLVENT = 8
# odds of the same states from both ends of a turn may differ by so much: rounding is below 1e-8
REVERSIBLE_KT = 1e-4
MOST_PROBED = 200  # pairs of bonds in that test
_PROBES_RAD = np.array([0.0, 0.7, 2.3, 4.1])  # angles of each bond in the reversibility test


def _drawn(energy_eV: Floats, kT_eV: float, rng: np.random.Generator) -> int:
    """An index drawn with odds exp(-U / kT); 0, which is to stay, if an energy is
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
    for part, angle in zip(energy, outer, strict=True):
        way = first.turn(x, axis, angle)
        found, across = second.energies(way, np.append(0.0, inner))
        rows.append(part + found[1:] - found[0])
    return np.stack(rows), second.turn(way, across, inner[-1])


def _difference(here: Floats, there: Floats) -> float:
    """How far two tables of energies of the same states differ, up to a constant and
    relative to energies beyond 1 eV; infinite if they are finite from one end alone.
    """
    finite = {bool(np.isfinite(table).all()) for table in (here, there)}
    if finite != {True}:
        return np.inf if True in finite else 0.0  # nothing turns if an energy is not finite
    here, there = here - here.ravel()[0], there - there.ravel()[0]
    scale = 1 + np.abs(here)  # clashing atoms have energies whose rounding alone is large
    return float((np.abs(here - there) / scale).max())


def _turned(tree: TorsionTree) -> list[int]:
    """Which torsions are turned: all of them, but for large molecules."""
    every = list(range(tree.n_torsions))
    if tree.n_atoms <= MOST_ATOMS:
        return every
    return [k for k in every if len(tree.moved[k]) <= MOST_TURNED] or every


class HeatBathProposer(CautiousProposer, SurroundedProposer):
    """Turns about bonds drawn at random, each from the surrogate's own odds among `2
    points` angles.

    The angles are those `points` equal turns make of the present one, and the same
    shifted by a random step to either side: from any of them the other ones are found
    with the same odds, which is what makes the choice reversible.

    Parameters
    ----------
    tree : TorsionTree
        The torsions. Of a molecule of more than `MOST_ATOMS` atoms only bonds that take
        up to `MOST_TURNED` atoms along are turned; dynamics moves the others.
    terms : TurnTerms
        The surrogate energy; the closer to the host's, the more is accepted. Dihedrals
        that `one_turn` does not prove are left out.
    turns : int, optional
        Of one proposal; None takes as many as there are torsions, or if the terms have
        surroundings two for each, and up to `TURNS_IN_SOLVENT`.
    points : int
        Equal turns of a circle.
    pairs : float
        Share of turns about two bonds together, `points` angles of the first times `2
        points` of the second.

    Attributes
    ----------
    unread : int
        Dihedrals of the terms that were left out, to be judged by the acceptance alone.
    circles : list of Turn
        The energy along the circle of each bond.

    Raises
    ------
    InputError
        If there is nothing to turn, counts are too small, or the terms are for
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
                f"the terms are for {counted(terms.n_atoms, 'atom')}, the torsions for "
                f"{tree.n_atoms}; "
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
        usual = tree.n_torsions
        if terms.surroundings is not None:
            usual = min(TURNS_IN_SOLVENT, 2 * tree.n_torsions)
        self.turns = usual if turns is None else turns
        self.circles = [Turn(tree, k, self.terms) for k in _turned(tree)]

    def among(self, everything_A: Floats, box_A: Floats | None) -> HeatBathProposer:
        """See `equidrift.protocols.SurroundedProposer`."""
        if self.terms.surroundings is None:
            return self
        around = Surroundings(self.terms.surroundings, everything_A, box_A)
        there = copy.copy(self)
        there.circles = [TurnAmong(circle, around) for circle in self.circles]
        return there

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """One proposal from one state (n_atoms, 3)."""
        x, change, m = np.array(positions_A, np.float64), 0.0, len(self.circles)
        for _ in range(self.turns):
            if m > 1 and rng.random() < self.pairs:
                first, second = rng.choice(m, 2, replace=False)
                x, part = self._double(x, self.circles[first], self.circles[second], kT_eV, rng)
            else:
                x, part = self._single(x, self.circles[rng.integers(m)], kT_eV, rng)
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
        energy = np.stack(
            [here + part - part[0] for here, (part, _) in zip(outer, inner, strict=True)]
        )
        k, j = divmod(_drawn(energy.ravel(), kT_eV, rng), len(angles))
        return second.turn(ways[k], inner[k][1], angles[j]), float(energy[k, j] - energy[0, 0])

    def irreversibility_kT(self, positions_A: Floats, kT_eV: float) -> float:
        """How far the odds of the same states, seen from both ends of a turn about one
        or two bonds, differ at most; 0 is reversible.

        Every bond, and if pairs are turned every pair of bonds (some, if there are more
        than `MOST_PROBED`), is turned from positions_A (n_atoms, 3) to the last of a few
        angles, and the energies of all angles are compared with those seen from there.
        An energy that is no function of the positions alone fails.
        """
        angles, worst = _PROBES_RAD, 0.0
        for circle in self.circles:
            here, axis = circle.energies(positions_A, angles)
            end = circle.turn(positions_A, axis, angles[-1])
            there, _ = circle.energies(end, angles - angles[-1])
            worst = max(worst, _difference(here, there))
        pairs = list(combinations(self.circles, 2)) if self.pairs else []
        for first, second in pairs[:: 1 + len(pairs) // MOST_PROBED]:
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
