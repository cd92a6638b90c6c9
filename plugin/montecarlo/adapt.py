"""Fitting a proposer to the system at hand: a short run explores, the proposer is
fitted to its frames and frozen before production.

While a proposer still changes with the chain's own past, the chain is no Markov chain,
and its samples are not exact. So nothing of this phase counts, and what comes out never
changes again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from equidrift.errors import InputError, UnknownNameError
from equidrift.geometry import Floats
from equidrift.montecarlo.densities import Histogram
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics, trusted
from equidrift.montecarlo.proposals import (
    LocalTorsionProposer,
    histogram_proposer,
    mixture_proposer,
    uniform_proposer,
)
from equidrift.montecarlo.turns import TurnTerms
from equidrift.protocols import Proposer
from equidrift.records import Frozen, Molecule, Proposal
from equidrift.registry import PROPOSERS, resolve
from equidrift.text import counted
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

# (proposer, cycles) -> frames (k, n_atoms, 3) after each cycle, and what became of the proposals
Advance = Callable[[Proposer, int], tuple[Floats, Statistics]]
_TRIAL_SHARE = 0.2  # of the cycles, for choosing among block sizes
LEAST_CYCLES = 80
# share of heat-bath moves accepted above which nothing fitted to frames does better for its cost
GOOD_SURROGATE = 0.5


class Still(Proposer):
    """Proposes nothing: plain dynamics whose torsions are watched."""

    name, exact = "none", True
    tree: TorsionTree

    def __init__(self, tree: TorsionTree) -> None:
        self.tree = tree

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """The same positions."""
        del kT_eV, rng
        return Proposal(positions_A, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"proposer": "none", "tree": self.tree.to_dict()}


class Alternating(Proposer):
    """Several proposers in turn, each drawn with equal odds whatever the state, so that
    the choice cancels in the ratio.
    """

    exact, name = True, "alternating"

    def __init__(self, *proposers: Proposer) -> None:
        self.proposers, self.tree = proposers, proposers[0].tree

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """One proposal of one of them."""
        proposal = self.proposers[rng.integers(len(self.proposers))].propose(
            positions_A, kT_eV=kT_eV, rng=rng
        )
        return Proposal(
            proposal.positions_A, proposal.log_q_ratio
        )  # without log_q: the next may come from another density

    def trusted(self, positions_A: Floats, kT_eV: float) -> Alternating:
        """The same of proposers that are reversible here; see
        `equidrift.montecarlo.metropolis.trusted`.
        """
        return Alternating(*(trusted(proposer, positions_A, kT_eV) for proposer in self.proposers))


@dataclass(frozen=True)
class Adapted:
    """A proposer that will not change any more, and how it was made (plain data)."""

    proposer: Proposer
    report: dict[str, Any]


# What a name of `--proposals` stands for
MEANINGS = {
    "torsion": "heat-bath turns if enough are accepted, else torsions fitted to the adaptive "
    "phase: a table of a Fourier series for one or two torsions (no network is read), a "
    "diffusion on the torus for three, Fourier tables of blocks of two, given the others, for "
    "more",
    "heat-bath": "turns about single bonds and pairs of bonds, drawn from their odds in the "
    "System's own terms; nothing is learned",
    "diffusion": "a diffusion on the torus of blocks of 3 to 6 torsions, fitted to the adaptive "
    "phase and drawn with the exact density of its discretised flow",
    "diffusion-local": "a diffusion on the torus fitted to the adaptive phase, noised to a level "
    "and back",
    "torsions-all": "the trained torsion diffusion of the conformer models, which sees all "
    "distances: all torsions or blocks of them, with the exact density of its sampler; nothing is "
    "fitted",
    "histogram": "a smoothed histogram of up to three torsions",
    "mixture": "a mixture of wrapped normals over all torsions",
    "uniform": "uniform torsions",
    "none": "plain dynamics",
}
FITS_NOTHING = ("uniform", "torsions-all")  # so that no frames are gathered for them
_LARGEST_TABLE = 2  # torsions; more at once are drawn by the diffusion


def described(proposer: Any) -> str:
    """What a proposer is, in words for results and people: its name alone does not say
    whether a diffusion or a table draws.
    """
    if proposer.name != "torsion":
        return MEANINGS.get(proposer.name, str(proposer.name))
    m = proposer.tree.n_torsions
    width = min(proposer.block_size or m, m)
    if getattr(proposer, "kind", "") == "local":
        return "a diffusion on the torus, noised to a level and back"
    if width > _LARGEST_TABLE:
        return f"a diffusion on the torus of {counted(width, 'torsion')} at once"
    given = f" of {m}, given the others" if width < m else ", no network read"
    return f"a Fourier table of {counted(width, 'torsion')}{given}"


@dataclass(frozen=True, eq=False)
class Fit(Frozen):
    """What a proposer is made of; every factory of `equidrift.registry.PROPOSERS` takes
    one.

    Parameters
    ----------
    molecule, tree : Molecule, TorsionTree
        Whose torsions.
    frames_A : (k, n_atoms, 3) array
        Of the adaptive phase, in A; empty if nothing is fitted to them.
    temperature_K : float
        Of the run that the frames are of.
    seed : int
        Of whatever the fit draws.
    block_size : int, optional
        Torsions that one proposal turns; None for all.
    terms : TurnTerms, optional
        Of the System; None if it has none that can be read.
    """

    molecule: Molecule
    tree: TorsionTree
    frames_A: Floats
    temperature_K: float = 300.0
    seed: int = 0
    block_size: int | None = None
    terms: TurnTerms | None = None


Factory = Callable[[Fit], Proposer]


def uniform(fit: Fit) -> Proposer:
    """Uniform torsions."""
    return uniform_proposer(fit.tree, block_size=fit.block_size)


def histogram(fit: Fit) -> Proposer:
    """The smoothed histogram of at most three torsions."""
    return histogram_proposer(fit.tree, fit.frames_A)


def mixture(fit: Fit) -> Proposer:
    """A mixture of wrapped normals over the torsions."""
    frames_A = fit.frames_A
    components = int(np.clip(len(frames_A) // 20, 4, 32))
    return mixture_proposer(fit.tree, frames_A, components=components, block_size=fit.block_size)


def heat_bath(fit: Fit) -> HeatBathProposer:
    """Turns in a surrogate energy, which needs no frames."""
    if fit.terms is None:
        raise InputError(
            "heat-bath proposals need a force field with pair terms that can be read "
            "(NonbondedForce or MMFF94, at most 250 atoms, no "
            "virtual sites), and this System has none; take torsion proposals"
        )
    return HeatBathProposer(fit.tree, fit.terms)


def adapt(
    advance: Advance,
    molecule: Molecule,
    tree: TorsionTree,
    kind: str,
    cycles: int,
    *,
    temperature_K: float,
    seed: int = 0,
    terms: TurnTerms | None = None,
) -> Adapted:
    """Explore with simple moves, fit, run the fitted proposer and fit again, then
    choose how many torsions move at once.

    "torsion" explores with heat-bath turns if there are terms for them, and stays
    with them if at least `GOOD_SURROGATE` of them are accepted: then the surrogate
    is the force field but for what a fit would have to learn first.

    Parameters
    ----------
    advance : callable
        Runs cycles of dynamics and moves with a proposer.
    molecule, tree : Molecule, TorsionTree
        Whose torsions.
    kind : str
        A name of `equidrift.registry.PROPOSERS`, or "none".
    cycles : int
        Of dynamics and moves in all; at least 80, except for "none" and "uniform",
        which need none.
    temperature_K : float
        Of the run.
    seed : int
        Of the fits.
    terms : TurnTerms, optional
        Of the System, for heat-bath turns; None if it has none that can be read.

    Raises
    ------
    UnknownNameError
        For another kind. InputError if there are too few cycles to fit anything, or
        the histogram has too many torsions.
    """
    if kind == "none":
        return Adapted(Still(tree), {"proposer": kind, "cycles": 0})
    factory = _factory(kind, tree, cycles)
    fit = Fit(molecule, tree, np.zeros((0, tree.n_atoms, 3)), temperature_K, seed, terms=terms)
    explorer = Alternating(uniform_proposer(tree, block_size=1), LocalTorsionProposer(tree, 0.6))
    half = (cycles - round(_TRIAL_SHARE * cycles)) // 2
    if kind == "heat-bath" or (kind == "torsion" and terms is not None):
        turns = heat_bath(fit)
        found = _heat_bath(advance, turns, kind, half, BOLTZMANN_EV_PER_K * temperature_K)
        if found is not None:
            return found
        explorer = Alternating(turns, *explorer.proposers)
    if kind in FITS_NOTHING:
        frames = advance(explorer, half)[0][-1:]
    else:
        frames = _explored(advance, lambda x: factory(fit.replace(frames_A=x)), explorer, half)
    trials = _trials(advance, factory, fit.replace(frames_A=frames), cycles - 2 * half)
    best = max(trials, key=lambda trial: trial.score)
    report = {
        "proposer": kind,
        "cycles": cycles,
        "frames": len(frames),
        "block_size": best.block_size,
        "trials": [trial.row() for trial in trials],
        "is": described(best.proposer),
    }
    return Adapted(best.proposer, report)


def _factory(kind: str, tree: TorsionTree, cycles: int) -> Factory:
    """What makes proposers of a kind; refuses what cannot be fitted."""
    if kind not in PROPOSERS:
        raise UnknownNameError("proposer", kind, (*PROPOSERS, "none"))
    if kind != "uniform" and cycles < LEAST_CYCLES:
        raise InputError(
            f"the adaptive phase has {counted(cycles, 'cycle')}, and {LEAST_CYCLES} are "
            "needed to fit a proposer; give it more time"
        )
    if kind == "histogram":
        Histogram.check(len(tree.atoms))
    found: Factory = resolve(PROPOSERS[kind])
    return found


def _explored(
    advance: Advance, make: Callable[[Floats], Proposer], explorer: Alternating, half: int
) -> Floats:
    """Frames to fit to: the later ones of a simple run, and those of a run with a first
    fit to them.
    """
    frames, _ = advance(explorer, half)
    first = make(frames[len(frames) // 4 :])
    more, _ = advance(Alternating(first, *explorer.proposers), half)
    return np.concatenate([frames[len(frames) // 2 :], more])


def _heat_bath(
    advance: Advance, turns: HeatBathProposer, kind: str, cycles: int, kT_eV: float
) -> Adapted | None:
    """Heat-bath turns, if they were asked for by name or a short run accepts enough of
    them; uniform ones if turns are not reversible.
    """
    least = max(1, LEAST_CYCLES // 4)
    frames, statistics = advance(turns, least)
    proposer = trusted(turns, frames[0], kT_eV)
    if kind != "heat-bath" and (
        proposer is not turns or not statistics.acceptance >= GOOD_SURROGATE
    ):
        return None
    _, more = advance(proposer, max(1, cycles - least))
    report = {
        "proposer": kind,
        "chosen": proposer.name,
        "cycles": max(cycles, least + 1),
        "acceptance": more.acceptance,
        "block_size": 1,
    }
    report["is"] = described(proposer)
    if proposer is not turns:
        report["note"] = (
            "heat-bath turns are not reversible in this System; uniform turns with plain "
            "acceptance are used"
        )
    elif turns.unread:
        report["note"] = (
            f"{counted(turns.unread, 'dihedral', 'changes', 'change')} with more than one bond: "
            "no turn reads that, the acceptance does"
        )
    return Adapted(proposer, report)


@dataclass(frozen=True)
class _Trial:
    """A short run with one block size; acceptance None if there was no choice to make."""

    block_size: int | None
    proposer: Proposer
    score: float = 0.0
    acceptance: float | None = None

    def row(self) -> dict[str, Any]:
        """Plain values."""
        row: dict[str, Any] = {"block_size": self.block_size, "score": self.score}
        return row if self.acceptance is None else row | {"acceptance": self.acceptance}


def _trials(advance: Advance, factory: Factory, fit: Fit, cycles: int) -> list[_Trial]:
    """A short run with every block size; the score is the geometric mean over torsions
    of accepted turns, so that none is left behind.
    """
    whole = factory(fit)
    sizes = [size for size in whole.block_sizes if size is None or size < fit.tree.n_torsions]
    if len(sizes) == 1:
        return [_Trial(None, whole)]
    trials = []
    for size in sizes:
        proposer = whole if size is None else factory(fit.replace(block_size=size))
        _, statistics = advance(proposer, max(1, cycles // len(sizes)))
        accepted = float(np.exp(np.log(statistics.turned_accepted + 0.5).mean()))
        score = accepted / max(1, statistics.proposed)
        trials.append(_Trial(size, proposer, score, statistics.acceptance))
    return trials
