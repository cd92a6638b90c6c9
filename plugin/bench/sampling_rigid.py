"""Rows `rigid-water-ion/...` of `equidrift bench sampling`: a rigid water round a sodium
ion (TIP3P, in vacuum), by moves alone.

Effective samples per CPU second of where the ion lies, seen from the water, the slowest
of three axes: by uniform moves of a ball of 4 A, by small steps, and by the mixture of
IGSO(3) x Gaussians that an adaptive phase fits (`equidrift`; its cost is `adapt_s`).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import positions
from equidrift.adapters.openmmtools.systems import water_and_sodium
from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, row
from equidrift.bench.sampling_run import N_PROPOSALS, simulation, timed
from equidrift.geometry import Floats
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.mixture import PoseMixture
from equidrift.models.rigid.proposer import LocalRigidProposer, RigidProposer, adapt_rigid
from equidrift.montecarlo.basins import correlation_time
from equidrift.montecarlo.metropolis import Statistics
from equidrift.protocols import Proposer

PLATFORM = "Reference"  # four particles
RADIUS_A = 4.0  # of uniform moves
ADAPT_CYCLES = 400


class _Watched(ProposalSampler):
    """A sampler that keeps the frames (k, n_atoms, 3) of its cycles in `frames`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.frames: list[Floats] = []

    def run(self, cycles: int, **options: Any) -> None:
        """See `ProposalSampler.run`."""
        for _ in range(cycles):
            super().run(1, **options)
            self.frames.append(positions(self.simulation))


def rigid(seconds: float, say: Progress) -> list[Row]:
    """The three rows, each of so many CPU seconds."""
    topology, system, start_A = water_and_sodium()
    sim = simulation(topology, system, start_A, platform=PLATFORM)
    body = RigidBody(start_A, [0, 1, 2], [3])

    def sampler(proposer: Proposer, seed: int = 0) -> _Watched:
        return _Watched(sim, proposer, md_steps=0, n_proposals=N_PROPOSALS, seed=seed)

    def advance(proposer: Proposer, cycles: int) -> tuple[Floats, Statistics]:
        made = sampler(proposer, 1 + len(phases))
        phases.append(cycles)
        made.run(cycles)
        return np.array(made.frames), made.statistics

    phases: list[int] = []
    begun = time.process_time()
    learned = adapt_rigid(advance, body, ADAPT_CYCLES, radius_A=RADIUS_A).proposer
    adapt_s = time.process_time() - begun
    uniform = RigidProposer(body, PoseMixture.ball(np.zeros(3), RADIUS_A), name="uniform")
    rows = []
    for name, proposer, adapted_s in (
        ("uniform", uniform, 0.0),
        ("small-steps", LocalRigidProposer([0, 1, 2]), 0.0),
        ("equidrift", learned, adapt_s),
    ):
        say(f"rigid-water-ion/{name}")
        made = sampler(proposer)
        values = _values(body, made, timed(made, seconds)) | {"adapt_s": adapted_s}
        rows.append(row(f"rigid-water-ion/{name}", values, len(made.frames)))
    return rows


def _values(body: RigidBody, sampler: _Watched, seconds: float) -> dict[str, float]:
    """What a run was worth."""
    rng, frames = np.random.default_rng(0), np.array(sampler.frames)
    seen_A = np.array([body.pose(x, rng)[1] for x in frames])
    distances = np.linalg.norm(frames[:, 0] - frames[:, 3], axis=1)
    error = distances.std() * np.sqrt(float(correlation_time(distances)) / len(distances))
    return {
        "ess_per_cpu_s": float((len(seen_A) / correlation_time(seen_A)).min()) / seconds,
        "acceptance": 100 * sampler.statistics.acceptance,
        "O_ion_A": float(distances.mean()),
        "O_ion_A_se": float(error),
    }
