"""Metropolis-Hastings with learned proposals: acceptance, what is refused, and the
record of what happened. Every host uses this.

A move from x to x' is accepted with probability min(1, exp(-(U(x') - U(x)) / kT + log
q(x | x') - log q(x' | x))), which leaves exp(-U / kT) unchanged whatever the proposer
is (Hastings, Biometrika 1970, 57, 97). Energies that are not finite reject the move.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InexactProposalError, InputError
from equidrift.protocols import (
    BatchedProposer,
    CautiousProposer,
    IndependentProposer,
    Proposer,
    as_proposer,
)
from equidrift.records import Proposal
from equidrift.text import counted

TURNED_RAD = math.pi / 3  # a torsion that turns further has left its well

Floats = NDArray[np.float64]
Energy = Callable[[Floats], float]
Check = Callable[[Floats, Floats], None]


def accept(delta_u_over_kT: float, log_q_ratio: float, rng: np.random.Generator) -> bool:
    """Whether a move is accepted; one uniform number is drawn whatever comes, so that
    the stream does not depend on the energies.

    Parameters
    ----------
    delta_u_over_kT : float
        (U(x') - U(x)) / kT; NaN or infinite rejects.
    log_q_ratio : float
        log q(x | x') - log q(x' | x).
    """
    threshold = math.log1p(-rng.random())  # log of a number in (0, 1]
    exponent = log_q_ratio - delta_u_over_kT
    return math.isfinite(delta_u_over_kT) and not math.isnan(exponent) and threshold < exponent


@dataclass
class Statistics:
    """What became of the proposals of one chain.

    Parameters
    ----------
    labels : sequence of str
        Names of the torsions, empty if the proposer has none.
    proposed, accepted : int
        Moves.
    not_finite : int
        Moves rejected because their energy was NaN or infinite, or could not be
        computed.
    turned, turned_accepted : (m,) array
        Moves that turned torsion k by more than 60 degrees, and those of them that were
        accepted.
    energy_sum_kT, work_sum_kT : float
        Sums over finite moves of |dU| / kT, and over accepted ones of dU / kT.
    seconds : dict
        Wall time of "proposals", "energies" and whatever the host adds ("dynamics").
    """

    labels: tuple[str, ...] = ()
    proposed: int = 0
    accepted: int = 0
    not_finite: int = 0
    turned: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    turned_accepted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    energy_sum_kT: float = 0.0
    work_sum_kT: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labels = tuple(self.labels)
        for name in ("turned", "turned_accepted"):
            counts = np.array(getattr(self, name), np.int64)
            setattr(self, name, counts if len(counts) else np.zeros(len(self.labels), np.int64))

    @classmethod
    def of(cls, proposer: Proposer) -> Statistics:
        """An empty record for a proposer."""
        tree = as_proposer(proposer).tree
        return cls(labels=tuple(tree.labels()) if tree is not None else ())

    @property
    def acceptance(self) -> float:
        """Share of the moves accepted; NaN before the first."""
        return self.accepted / self.proposed if self.proposed else math.nan

    def by_torsion(self) -> dict[str, float | None]:
        """Share of the moves that turned a torsion by more than 60 degrees which were
        accepted; None if none did.
        """
        counts = zip(self.labels, self.turned_accepted.tolist(), self.turned.tolist(), strict=True)
        return {label: yes / moves if moves else None for label, yes, moves in counts}

    def record(self, accepted: bool, delta_kT: float, turned: NDArray[np.bool_] | None) -> None:
        """Count one move."""
        self.proposed += 1
        self.accepted += accepted
        if math.isfinite(delta_kT):
            self.energy_sum_kT += abs(delta_kT)
            self.work_sum_kT += delta_kT if accepted else 0.0
        else:
            self.not_finite += 1
        if turned is not None and len(self.labels):
            self.turned += turned
            self.turned_accepted += turned & accepted

    def spent(self, what: str, seconds: float) -> None:
        """Add wall time."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `Statistics(**data)` is the inverse."""
        return {
            "labels": list(self.labels),
            "proposed": self.proposed,
            "accepted": self.accepted,
            "not_finite": self.not_finite,
            "turned": self.turned.tolist(),
            "turned_accepted": self.turned_accepted.tolist(),
            "energy_sum_kT": self.energy_sum_kT,
            "work_sum_kT": self.work_sum_kT,
            "seconds": dict(self.seconds),
        }


def check_proposer(proposer: object, n_atoms: int | None = None) -> Proposer:
    """The proposer with the defaults of what it leaves out; refuses what an exact
    sampler cannot use.

    Raises
    ------
    InputTypeError
        If it has no `propose`. InexactProposalError if it says that it has no
        density. InputError if it is for another number of atoms.
    """
    found = as_proposer(proposer)
    name = found.name
    if not found.exact:
        raise InexactProposalError(
            f"proposer {name} has no proposal density, so no acceptance rule makes its "
            f"samples Boltzmann's; use one with a density "
            "('torsion', 'mixture', 'histogram', 'uniform'), or seed plain dynamics with its "
            "samples"
        )
    tree = found.tree
    if n_atoms is not None and tree is not None and tree.n_atoms != n_atoms:
        raise InputError(
            f"proposer {name} is for {counted(tree.n_atoms, 'atom')}, but there are "
            f"{n_atoms} here; "
            f"make it of the same molecule, or pass atoms=[...]"
        )
    return found


def trusted(proposer: Proposer, positions_A: Floats, kT_eV: float) -> Proposer:
    """The proposer, or what it says to use instead of itself for this system
    (`HeatBathProposer.trusted`); asked once, at the start.
    """
    if isinstance(proposer, CautiousProposer):
        return proposer.trusted(positions_A, kT_eV)
    return proposer


def metropolis(  # noqa: PLR0913 - each part of a Markov chain, which every host gives
    proposer: Proposer,
    positions_A: Floats,
    energy_eV: float,
    energy: Energy,
    n: int,
    *,
    kT_eV: float,
    rng: np.random.Generator,
    statistics: Statistics,
    check: Check | None = None,
) -> tuple[Floats, float, int]:
    """n Metropolis moves in a row.

    Parameters
    ----------
    proposer : Proposer
        See `equidrift.protocols.Proposer`; one with `propose_many` is asked for blocks.
    positions_A : (n_atoms, 3) array
        Where the chain stands.
    energy_eV : float
        Its energy there.
    energy : callable
        positions_A -> eV; NaN or infinite if there is none.
    n : int
        Moves.
    kT_eV : float
        Thermal energy.
    rng : np.random.Generator
        Draws the proposals and the acceptance.
    statistics : Statistics
        Counts are added here.
    check : callable, optional
        Called with (old, new) before each energy; raises for a move the host cannot
        take.

    Returns
    -------
    positions_A, energy_eV, accepted
        where the chain stands then, and how many moves were accepted.

    Raises
    ------
    InexactProposalError
        If a proposal comes without its density ratio.
    """
    proposer = as_proposer(proposer)
    x, u, accepted = positions_A, energy_eV, 0
    blocks = _Blocks(proposer, kT_eV, rng, statistics)
    for k in range(n):
        proposal, turned = blocks.next(x, n - k)
        new = np.asarray(proposal.positions_A, np.float64)
        if proposal.log_q_ratio is None:
            raise InexactProposalError(
                f"proposer {proposer.name} returned no log_q_ratio, and without the density of its "
                "proposals no acceptance rule is exact; use one with a density, or seed "
                "plain dynamics with its samples"
            )
        if check is not None:
            check(x, new)
        begun = time.perf_counter()
        if proposal.log_q_ratio == -math.inf:
            u_new = u  # rejected whatever the energy
        else:
            u_new = energy(new) if np.isfinite(new).all() else math.nan
        statistics.spent("energies", time.perf_counter() - begun)
        yes = accept((u_new - u) / kT_eV, proposal.log_q_ratio, rng)
        statistics.record(yes, (u_new - u) / kT_eV, turned)
        if yes:
            x, u, accepted = new, u_new, accepted + 1
            blocks.moved(proposal)
    return x, u, accepted


class _Blocks:
    """Proposals one at a time, drawn in blocks if the proposer can.

    What is left of a block once the chain has moved is dropped, as it started
    elsewhere; but proposals whose density does not depend on where the chain stands
    (`info` holds log_q) stay good, with log q of the new place in their ratio.
    """

    def __init__(
        self, proposer: Proposer, kT_eV: float, rng: np.random.Generator, statistics: Statistics
    ) -> None:
        self.proposer, self.statistics = proposer, statistics
        self.options: dict[str, Any] = {"kT_eV": kT_eV, "rng": rng}
        self.tree = proposer.tree if statistics.labels else None
        self.left: list[Proposal] = []
        self.angles: list[
            Floats
        ] = []  # torsions of those left; all of a block at once, as one call costs what many do
        self.here = self.last = np.zeros(
            0
        )  # torsions of the chain's place, and of the proposal handed out
        self.log_q: float | None = None  # of the chain's place, if it moved within a block

    def next(self, x: Floats, wanted: int) -> tuple[Proposal, NDArray[np.bool_] | None]:
        """The next proposal from x, and which torsions it turns by more than 60
        degrees.
        """
        if not self.left:
            begun = time.perf_counter()
            self.left, self.log_q = self._draw(x, wanted)[::-1], None
            if self.tree is not None:
                self.here, *self.angles = self.tree.torsions(
                    np.stack([x, *(proposal.positions_A for proposal in self.left)])
                )
            self.statistics.spent("proposals", time.perf_counter() - begun)
        found = self.left.pop()
        if self.log_q is not None:
            found = replace(found, log_q_ratio=self.log_q - found.info["log_q"])
        if self.tree is None:
            return found, None
        self.last = self.angles.pop()
        return found, np.abs((self.last - self.here + np.pi) % (2 * np.pi) - np.pi) > TURNED_RAD

    def _draw(self, x: Floats, wanted: int) -> list[Proposal]:
        if wanted > 1 and isinstance(self.proposer, IndependentProposer):
            return list(self.proposer.propose_independent(x, wanted, **self.options))
        acceptance = self.statistics.acceptance
        wanted = (
            min(wanted, 1 + int(1 / acceptance)) if acceptance > 0 else wanted
        )  # the rest of a block is lost at the next acceptance
        if wanted > 1 and isinstance(self.proposer, BatchedProposer):
            return list(
                self.proposer.propose_many(np.repeat(x[None], wanted, axis=0), **self.options)
            )
        return [self.proposer.propose(x, **self.options)]

    def moved(self, proposal: Proposal) -> None:
        """The chain has accepted the proposal handed out last."""
        self.here = self.last
        if "log_q" in proposal.info:
            self.log_q = float(proposal.info["log_q"])
        else:
            self.left, self.angles = [], []
