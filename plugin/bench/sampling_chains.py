"""Chains of several methods on one System, and what each is worth: effective samples per
CPU second of the slowest torsion.

Every chain is judged by the mean and variance of the chains with proposals, itself left
out: its own mean would make a chain that stayed in one basin look decorrelated, and so
it counts as the one sample that it is. Errors are the spread of a method's chains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.bench.rows import means, ratio
from equidrift.bench.sampling_drugs import changes, effective, pooled, waves_of
from equidrift.bench.sampling_run import timed
from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.adapt import Still
from equidrift.protocols import Proposer

if TYPE_CHECKING:
    from openmm import app

PLAIN = "md"  # the method that the others are compared with
TIMESTEP_PS = 0.002  # of `equidrift.bench.sampling_run.simulation`
RATIOS = {
    "ess_per_cpu_s_over_md": "ess_per_cpu_s",
    "mean_ess_per_cpu_s_over_md": "mean_ess_per_cpu_s",
    "speed_over_md": "ps_per_cpu_s",
}


@dataclass(frozen=True, eq=False)
class TimedChain:
    """What became of so many CPU seconds.

    Parameters
    ----------
    phi : (k, m) array
        Torsions in rad after each cycle.
    md_steps : int
        Steps of dynamics in a cycle.
    seconds : float
        What it cost.
    acceptance : float
        Share of the proposals; NaN without any.
    """

    phi: Floats
    md_steps: int
    seconds: float
    acceptance: float


def timed_chain(
    sim: app.Simulation,
    proposer: Proposer,
    *,
    md_steps: int,
    n_proposals: int,
    seed: int,
    seconds: float,
) -> TimedChain:
    """A chain of so many CPU seconds from where the Simulation stands."""
    if proposer.tree is None:
        raise InputError(f"the proposer {proposer.name!r} turns no torsion that could be watched")
    n = 0 if isinstance(proposer, Still) else n_proposals
    atoms = np.arange(proposer.tree.n_atoms)
    sampler = ProposalSampler(sim, proposer, md_steps, n, atoms=atoms, seed=seed)
    spent = timed(sampler, seconds)
    return TimedChain(sampler.torsions_rad, md_steps, spent, sampler.statistics.acceptance)


def worth(chains: Mapping[str, Sequence[TimedChain]]) -> dict[str, dict[str, float]]:
    """The values of each method's row, and over those of "md".

    Parameters
    ----------
    chains : mapping
        Method to its chains; one is "md", and the others have proposals.
    """
    waves = {
        (name, k): waves_of(chain.phi)
        for name, found in chains.items()
        for k, chain in enumerate(found)
        if name != PLAIN
    }
    values = {}
    for name, found in chains.items():
        each = []
        for k, chain in enumerate(found):
            others = [wave for key, wave in waves.items() if key != (name, k)]
            mean, variance, _ = pooled(others)
            each.append(_values(chain, mean, variance))
        values[name] = _counted(each, found)
    spread = _spread(list(waves.values()))
    for name in chains:
        if name == PLAIN:
            continue
        for ratio_name, key in RATIOS.items():
            values[name] |= ratio(ratio_name, values[name], values[PLAIN], key)
        values[name]["acceptance"] = 100 * float(np.mean([c.acceptance for c in chains[name]]))
        values[name]["reference_spread"] = spread
    return values


def _spread(waves: Sequence[Floats]) -> float:
    """How many standard deviations the means of chains are apart at most."""
    _, variance, _ = pooled(list(waves))
    return float((np.ptp([wave.mean(axis=0) for wave in waves], axis=0) / np.sqrt(variance)).max())


def _values(chain: TimedChain, mean: Floats, variance: Floats) -> dict[str, float]:
    """What a chain was worth."""
    found = effective("", chain.phi, mean, variance, chain.seconds)
    return {
        "ess_per_cpu_s": found["ess_per_s"],
        "mean_ess_per_cpu_s": found["mean_ess_per_s"],
        "ps_per_cpu_s": len(chain.phi) * chain.md_steps * TIMESTEP_PS / chain.seconds,
    }


def _counted(each: Sequence[dict[str, float]], chains: Sequence[TimedChain]) -> dict[str, float]:
    """Means over chains with their errors, and counts."""
    moves = [changes(chain.phi) for chain in chains]
    return means({key: [values[key] for values in each] for key in each[0]}) | {
        "chains": len(chains),
        "chains_that_stayed": moves.count(0),
        "turned": sum(moves),
        "frames": sum(len(chain.phi) for chain in chains),
        "md_steps": chains[0].md_steps,
        "seconds": sum(chain.seconds for chain in chains),
    }
