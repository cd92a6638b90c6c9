"""What `equidrift md` says at its end, of one chain or of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equidrift.geometry import Floats
from equidrift.montecarlo.basins import summary
from equidrift.montecarlo.metropolis import Statistics
from equidrift.montecarlo.plan import Plan
from equidrift.montecarlo.tables import table_paths
from equidrift.outputs import topology_beside


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain that has come to its end.

    Parameters
    ----------
    plan : Plan
        What was run, for how long, and where it was written.
    potential, platform : str
        The force field in words, and OpenMM's platform.
    labels : tuple of str
        Names of the torsions.
    adaptation : dict
        How the proposer was made.
    statistics : Statistics
        What became of the proposals.
    torsions_rad : (cycles, m) array
        After each cycle.
    energies_eV : (cycles,) array
        Potential energy after each cycle.
    resumed : int
        Cycles that were done before this process.
    seconds : float
        Wall time of this process.
    notes : tuple of str
        What a user should know of the molecule.
    """

    plan: Plan
    potential: str
    platform: str
    labels: tuple[str, ...]
    adaptation: dict[str, Any]
    statistics: Statistics
    torsions_rad: Floats
    energies_eV: Floats
    resumed: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def cycles(self) -> int:
        """Cycles of production."""
        return len(self.energies_eV)

    def row(self) -> dict[str, Any]:
        """What is said of this chain alone."""
        return {
            "output": str(self.plan.output),
            "topology": str(topology_beside(self.plan.output)),
            "seed": self.plan.settings.seed,
            "cycles": self.cycles,
            "resumed_at_cycle": self.resumed,
            "acceptance": self.statistics.acceptance if self.statistics.proposed else None,
            "adaptation": dict(self.adaptation),
            "seconds": self.seconds,
        }


def result_of(plan: Plan, chains: Sequence[Chain]) -> dict[str, Any]:
    """What was found, as plain values: what `equidrift md --json` prints.

    Parameters
    ----------
    plan : Plan
        What was asked for.
    chains : sequence of Chain
        Of the same molecule and settings; frames of all are pooled.
    """
    first, statistics = chains[0], pooled([chain.statistics for chain in chains])
    cycle_ps = plan.settings.cycle_ps
    seconds = max(chain.seconds for chain in chains)
    done = sum(chain.cycles - chain.resumed for chain in chains)
    shares = zip(first.labels, statistics.by_torsion().values(), strict=False)
    return {
        "command": "md",
        "output": str(plan.output),
        "topology": str(topology_beside(first.plan.output)),
        "tables": [str(path) for path in table_paths(plan.output)],
        "potential": first.potential,
        "platform": first.platform,
        "temperature_K": plan.settings.temperature_K,
        "time_ps": sum(chain.cycles for chain in chains) * cycle_ps,
        "cycles": sum(chain.cycles for chain in chains),
        "resumed_at_cycle": sum(chain.resumed for chain in chains),
        "exact": True,
        "adaptation": dict(first.adaptation),
        "chains": [chain.row() for chain in chains],
        "proposed": statistics.proposed,
        "accepted": statistics.accepted,
        "acceptance": statistics.acceptance if statistics.proposed else None,
        "not_finite": statistics.not_finite,
        "acceptance_by_torsion": dict(shares),
        "seconds_by_part": statistics.seconds,
        "seconds": seconds,
        "ps_per_s": done * cycle_ps / seconds if seconds else 0.0,
        "energy_mean_eV": float(np.concatenate([c.energies_eV for c in chains]).mean()),
        "notes": list(dict.fromkeys(note for chain in chains for note in chain.notes)),
        **_found(plan, chains),
    }


def _found(plan: Plan, chains: Sequence[Chain]) -> dict[str, Any]:
    """Basins and their errors, if there are frames enough."""
    lengths = [chain.cycles for chain in chains]
    if min(lengths) < 2:
        return {"frames": sum(lengths), "torsions": [], "states": []}
    phi = np.concatenate([chain.torsions_rad for chain in chains])
    return summary(phi, chains[0].labels, plan.settings.temperature_K, lengths)


def pooled(parts: Sequence[Statistics]) -> Statistics:
    """The counts of several chains with the same torsions, added up."""
    if len(parts) == 1:
        return parts[0]
    seconds: Counter[str] = Counter()
    for part in parts:
        seconds.update(part.seconds)
    return Statistics(
        labels=parts[0].labels,
        proposed=sum(part.proposed for part in parts),
        accepted=sum(part.accepted for part in parts),
        not_finite=sum(part.not_finite for part in parts),
        turned=np.sum([part.turned for part in parts], axis=0),
        turned_accepted=np.sum([part.turned_accepted for part in parts], axis=0),
        energy_sum_kT=sum(part.energy_sum_kT for part in parts),
        work_sum_kT=sum(part.work_sum_kT for part in parts),
        seconds=dict(seconds),
    )
