"""What proposes Monte Carlo moves."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from equidrift.protocols.values import Floats
from equidrift.records import Proposal
from equidrift.torsions import TorsionTree


@runtime_checkable
class Proposer(Protocol):
    """Proposes Monte Carlo moves.

    Attributes
    ----------
    name : str
        For statistics and messages.
    about : str
        What draws the proposals, in words for people: a histogram, a diffusion, ...
    exact : bool
        Whether proposals have a density; exact samplers refuse those without.
    tree : TorsionTree or None
        The torsions it turns; None if it moves anything else.
    block_size : int or None
        Torsions that move at once; None for all.
    block_sizes : tuple
        Values of `block_size` that are worth a trial for proposers of this kind.
    """

    name: str
    about: str = ""
    exact: bool = True
    tree: TorsionTree | None = None
    block_size: int | None = None
    block_sizes: tuple[int | None, ...] = (None,)

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """One proposal x' from the state x = positions_A (n_atoms, 3).

        Its `log_q_ratio` is log q(x | x') - log q(x' | x), None if there is no density.
        """
        ...


@runtime_checkable
class BatchedProposer(Proposer, Protocol):
    """A proposer that draws from several states at once."""

    def propose_many(
        self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """One proposal from each of k states (k, n_atoms, 3)."""
        ...


@runtime_checkable
class IndependentProposer(Proposer, Protocol):
    """A proposer whose density does not depend on what it moves, so that several
    proposals from one state can be tried one after the other.
    """

    def propose_independent(
        self, positions_A: Floats, n: int, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """Up to n proposals from one state (n_atoms, 3).

        Those with info["log_q"] stay valid after another of them was accepted: the
        ratio of proposal b after a is then a.info["log_q"] - b.info["log_q"].
        """
        ...


@runtime_checkable
class StorableProposer(Proposer, Protocol):
    """A proposer with a plain form, as checkpoints and openmmtools need."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `equidrift.montecarlo.proposals.proposer_from_dict` is the
        inverse.
        """
        ...


@runtime_checkable
class CautiousProposer(Proposer, Protocol):
    """A proposer that checks, before the first move, whether it is exact here."""

    def trusted(self, positions_A: Floats, kT_eV: float) -> Proposer:
        """The proposer itself, or what to use instead of it for this system."""
        ...


@runtime_checkable
class SurroundedProposer(Proposer, Protocol):
    """A proposer that can read what stands round the atoms it moves."""

    def among(self, everything_A: Floats, box_A: Floats | None) -> Proposer:
        """The proposer for as long as all other particles stand still.

        Parameters
        ----------
        everything_A : (n_particles, 3) array
            All particles of the host, those that move among them.
        box_A : (3, 3) array, optional
            Rows are the vectors of the periodic box; None for no box.
        """
        ...
