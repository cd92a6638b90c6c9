"""What the rows of `equidrift bench sampling` share: simulations, samplers that run for
so many CPU seconds, and proposers fitted as `equidrift md` fits them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import energy_of, make_simulation, positions, put
from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.adapt import Factory, Fit, adapt
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics
from equidrift.montecarlo.recycling import recycled
from equidrift.montecarlo.turns import TurnTerms
from equidrift.protocols import IndependentProposer, Proposer
from equidrift.records import Molecule, Proposal
from equidrift.registry import PROPOSERS, resolve
from equidrift.torsions import TorsionTree

if TYPE_CHECKING:
    import openmm
    from openmm import app

TEMPERATURE_K = 300.0
MD_STEPS = 10  # of one cycle: angles decorrelate within them
N_PROPOSALS = 10  # of one cycle: torsions decorrelate within a block


class Counted(Statistics):
    """A host's statistics that also follow the proposals which change the sign of the
    first torsion.

    `watched` wraps a proposer so that the torsions of each proposal are known when it
    is judged; hosts judge them in order. `visited` is that torsion after each of them:
    where the chain stood, visits of less than a cycle too.
    """

    def __init__(self, proposer: IndependentProposer) -> None:
        if proposer.tree is None:
            raise InputError(f"the proposer {proposer.name!r} turns no torsion that could cross")
        super().__init__(labels=tuple(proposer.tree.labels()))
        self.tree = proposer.tree
        self.tried = self.crossed = 0
        self.inner, self._here = proposer, 0.0
        self._queue: list[float] = []
        self.visited: list[float] = []
        self.watched = Watched(self)

    def record(self, accepted: bool, delta_kT: float, turned: NDArray[np.bool_] | None) -> None:
        """Count a proposal, and whether it crossed."""
        super().record(accepted, delta_kT, turned)
        new = self._queue.pop(0)
        self.tried += (new > 0) != (self._here > 0)
        self.crossed += accepted and (new > 0) != (self._here > 0)
        self._here = new if accepted else self._here
        self.visited.append(self._here)

    def expect(self, positions_A: Floats, moves: list[Proposal]) -> list[Proposal]:
        """Note where a block of proposals starts and leads."""
        first, *rest = self.tree.torsions(
            np.stack([positions_A, *(move.positions_A for move in moves)])
        )[:, 0]
        self._here, self._queue = float(first), [float(phi) for phi in rest]
        return moves


class Watched(Proposer):
    """The proposer of `Counted`, as hosts see it."""

    exact = True

    def __init__(self, counted: Counted) -> None:
        self.counted, self.inner = counted, counted.inner
        self.tree, self.name = counted.tree, self.inner.name

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """One proposal of the proposer."""
        made = self.inner.propose(positions_A, kT_eV=kT_eV, rng=rng)
        return self.counted.expect(positions_A, [made])[0]

    def propose_independent(
        self, positions_A: Floats, n: int, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """Several proposals of the proposer from the same place."""
        made = self.inner.propose_independent(positions_A, n, kT_eV=kT_eV, rng=rng)
        return self.counted.expect(positions_A, made)


def simulation(
    topology: app.Topology,
    system: openmm.System,
    positions_A: Floats,
    seed: int = 0,
    platform: str | None = None,
) -> app.Simulation:
    """A minimised Simulation at 300 K, 2 fs per step, on one thread; platform None
    takes what suits the size.
    """
    return make_simulation(
        topology,
        system,
        positions_A,
        temperature_K=TEMPERATURE_K,
        timestep_fs=2.0,
        friction_per_ps=1.0,
        seed=seed,
        platform=platform,
        threads=1,
    )


def timed(sampler: ProposalSampler, seconds: float) -> float:
    """Run cycles until so much CPU time is spent; the seconds it was."""
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        sampler.run(1)
    return time.process_time() - begun


def fitted(
    sim: app.Simulation,
    molecule: Molecule,
    tree: TorsionTree,
    kind: str,
    *,
    cycles: int,
    n_proposals: int,
    terms: TurnTerms | None = None,
    frames_A: Floats | None = None,
) -> tuple[Proposer, float]:
    """The proposer that `equidrift md` would use, or one that begins with frames of
    long MD; and the CPU seconds that adaptation took.
    """
    begun, done = time.process_time(), 0

    def advance(proposer: Proposer, n: int) -> tuple[Floats, Statistics]:
        nonlocal done
        moves = 1 if isinstance(proposer, HeatBathProposer) else n_proposals
        sampler = ProposalSampler(
            sim, proposer, md_steps=MD_STEPS, n_proposals=moves, seed=1 + done
        )
        frames = np.empty((n, tree.n_atoms, 3))
        for k in range(n):
            sampler.run(1)
            frames[k] = positions(sim)
            done += 1
        return frames, sampler.statistics

    if frames_A is None:
        proposer = adapt(
            advance, molecule, tree, kind, cycles, temperature_K=TEMPERATURE_K, terms=terms
        ).proposer
        return proposer, time.process_time() - begun
    make: Factory = resolve(PROPOSERS[kind])
    energy = energy_of(sim)
    accepted, _ = advance(make(Fit(molecule, tree, frames_A, TEMPERATURE_K)), cycles)
    frames_A = recycled(
        np.concatenate([frames_A, accepted]), tree, energy, temperature_K=TEMPERATURE_K
    )
    put(sim, accepted[-1])
    proposer = make(Fit(molecule, tree, frames_A, TEMPERATURE_K))
    return proposer, time.process_time() - begun
