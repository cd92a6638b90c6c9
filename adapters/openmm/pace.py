"""How many steps of dynamics stand between proposals, from what both cost here.

A proposal takes time from the dynamics: two energies of the whole System, what the
proposer computes, and lists of neighbours made anew. If torsions that it does not help
are to lose no more than a known share of their samples, the share of the time that
proposals take must be known: it is the System's, the platform's and the machine's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from numpy.typing import ArrayLike
from openmm import app

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.stepping import take_steps
from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.protocols import Proposer

SHARE = 0.08  # of the time for proposals: dynamics then keeps more than .9 of its speed
_STEPS, _ROUNDS = 10, 12  # of dynamics, with and without proposals, that are timed


def paced_steps(
    simulation: app.Simulation,
    proposer: Proposer,
    *,
    n_proposals: int = 1,
    share: float = SHARE,
    atoms: ArrayLike | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Steps of dynamics per cycle with which proposals take a given share of the time.

    A short run is timed, with and without proposals, on the Simulation itself, which
    moves on by some hundred steps: part of its equilibration. What comes out depends on
    the machine, so a chain that is to be repeated or continued takes the number, not
    this function.

    Parameters
    ----------
    simulation : app.Simulation
        With positions set.
    proposer : Proposer
        With a density.
    n_proposals : int
        Moves per cycle.
    share : float
        Of the time, between 0 and 1.
    atoms : array, optional
        Particles the proposer moves; None takes all but virtual sites.
    clock : callable, optional
        Seconds; `time.process_time` counts those of this process alone.

    Returns
    -------
    int
        At least 1: the `md_steps` of `ProposalSampler`.

    Raises
    ------
    InputError
        If the share is not between 0 and 1; see `ProposalSampler` too.

    Examples
    --------
    >>> from openmm import LangevinMiddleIntegrator, app
    >>> from equidrift import mmff_system, sample
    >>> from equidrift.montecarlo.proposals import uniform_proposer
    >>> from equidrift.torsions import TorsionTree
    >>> butanol = sample("CCCCO", 1, model="etkdg")
    >>> topology, (positions,) = butanol.to_openmm()
    >>> langevin = LangevinMiddleIntegrator(300, 1, 0.001)
    >>> simulation = app.Simulation(topology, mmff_system(butanol.molecule), langevin)
    >>> simulation.context.setPositions(positions)
    >>> turns = uniform_proposer(TorsionTree.of(butanol.molecule))
    >>> paced_steps(simulation, turns, n_proposals=10, share=0.5) >= 1
    True
    """
    if not 0 < share < 1:
        raise InputError(f"share must lie between 0 and 1, not {share}; give for example {SHARE}")
    check_count("n_proposals", n_proposals)
    moved = ProposalSampler(simulation, proposer, _STEPS, n_proposals, atoms=atoms)
    with_moves = _seconds(lambda: moved.run(1), clock)
    without = _seconds(lambda: take_steps(simulation.step, _STEPS), clock)
    in_steps = max(with_moves - without, 0.0) / without * _STEPS
    return max(1, math.ceil(in_steps * (1 - share) / share))


def _seconds(cycle: Callable[[], None], clock: Callable[[], float]) -> float:
    """Of a cycle, the first of which does not count."""
    cycle()
    begun = clock()
    for _ in range(_ROUNDS):
        cycle()
    return (clock() - begun) / _ROUNDS
