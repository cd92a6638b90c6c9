"""Rows `rigid-.../...` of `equidrift bench sampling`: rigid bodies, by moves alone.

`rigid-water-ion`: a rigid water round a sodium ion (TIP3P, in vacuum); effective samples
per CPU second of where the ion lies, seen from the water, the slowest of three axes.

`rigid-flip`: acetonitrile that turns over in a narrow cage, in which it has no room to;
`flips_per_cpu_s` counts changes between N up and N down. `N_up` in percent has the error
of the chain's autocorrelation; `N_up_reference` is of independent uniform draws, weighted
by exp(-U / kT), with an error of its own.

Each by uniform moves of a ball, by small steps, by the mixture of IGSO(3) x Gaussians
that an adaptive phase fits (`equidrift`; its cost is `adapt_s`), and by a score that is
trained at its end (`score`; training counts in `adapt_s`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import energy_of, positions, put
from equidrift.adapters.openmmtools.systems import acetonitrile_in_cage, water_and_sodium
from equidrift.bench.machine import Progress
from equidrift.bench.rows import SE, Row, ratio, row
from equidrift.bench.sampling_run import N_PROPOSALS, TEMPERATURE_K, simulation, timed
from equidrift.geometry import Floats
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.mixture import PoseMixture
from equidrift.models.rigid.proposer import LocalRigidProposer, RigidProposer, adapt_rigid
from equidrift.montecarlo.basins import correlation_time, standard_error
from equidrift.montecarlo.metropolis import Statistics
from equidrift.protocols import Proposer
from equidrift.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    import openmm
    from openmm import app

PLATFORM = "Reference"  # few particles
ADAPT_CYCLES, FLIP_ADAPT_CYCLES = 400, 1200  # a rare way to lie needs more frames
CORE = 0.5  # of the cosine between acetonitrile and the cage's axis: beyond, N is up or down
REFERENCE_DRAWS = 60_000  # 1,000 of them in effect


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


@dataclass(frozen=True, eq=False)
class Trapped:
    """A body that is sampled by moves alone."""

    name: str  # of its rows
    made: tuple[app.Topology, openmm.System, Floats]  # and positions (n, 3) in A
    body: RigidBody  # what moves
    radius_A: float  # of the ball of uniform moves about the origin
    adapt_cycles: int  # of the adaptive phase
    # (frames (k, n, 3), CPU seconds) to what a run was worth
    values: Callable[[Floats, float], dict[str, float]]

    def simulation(self) -> app.Simulation:
        """At the positions given: a minimisation might change the body's shape."""
        topology, system, start_A = self.made
        sim = simulation(topology, system, start_A, platform=PLATFORM)
        put(sim, start_A)
        return sim

    def rows(self, seconds: float, say: Progress) -> list[Row]:
        """The rows, each of so many CPU seconds."""
        sim = self.simulation()

        def sampler(proposer: Proposer, seed: int = 0) -> _Watched:
            return _Watched(sim, proposer, md_steps=0, n_proposals=N_PROPOSALS, seed=seed)

        def advance(proposer: Proposer, cycles: int) -> tuple[Floats, Statistics]:
            made = sampler(proposer, 1 + len(phases))
            phases.append(cycles)
            made.run(cycles)
            return np.array(made.frames), made.statistics

        def adapted(density: str) -> tuple[Proposer, float]:
            say(f"{self.name}: the adaptive phase of a {density}")
            phases.clear()
            put(sim, self.made[2])
            begun = time.process_time()
            found = adapt_rigid(
                advance, self.body, self.adapt_cycles, radius_A=self.radius_A, density=density
            )
            return found.proposer, time.process_time() - begun

        phases: list[int] = []
        ball = PoseMixture.ball(np.zeros(3), self.radius_A)
        rows = []
        for name, proposer, adapted_s in (
            ("uniform", RigidProposer(self.body, ball, name="uniform"), 0.0),
            ("small-steps", LocalRigidProposer(self.body.atoms), 0.0),
            ("equidrift", *adapted("mixture")),
            ("score", *adapted("score")),
        ):
            say(f"{self.name}/{name}")
            made = sampler(proposer)
            spent = timed(made, seconds)
            values = self.values(np.array(made.frames), spent)
            values |= {"acceptance": 100 * made.statistics.acceptance, "adapt_s": adapted_s}
            rows.append(row(f"{self.name}/{name}", values, len(made.frames)))
        return rows


def water_ion() -> Trapped:
    """A water round sodium."""
    made = water_and_sodium()
    body = RigidBody(made[2], [0, 1, 2], [3])

    def values(frames: Floats, seconds: float) -> dict[str, float]:
        rng = np.random.default_rng(0)
        seen_A = np.array([body.pose(x, rng)[1] for x in frames])
        distances = np.linalg.norm(frames[:, 0] - frames[:, 3], axis=1)
        error = distances.std() * np.sqrt(float(correlation_time(distances)) / len(distances))
        return {
            "ess_per_cpu_s": float((len(seen_A) / correlation_time(seen_A)).min()) / seconds,
            "O_ion_A": float(distances.mean()),
            f"O_ion_A{SE}": float(error),
        }

    return Trapped("rigid-water-ion", made, body, 4.0, ADAPT_CYCLES, values)


def flip() -> Trapped:
    """Acetonitrile in its cage."""
    made = acetonitrile_in_cage()
    body = RigidBody(made[2], [0, 1, 2])

    def values(frames: Floats, seconds: float) -> dict[str, float]:
        up = cosines(frames)
        sides = np.sign(up[np.abs(up) > CORE])
        flips = int(np.count_nonzero(np.diff(sides)))
        share: Floats = 100.0 * (up > 0).astype(np.float64)
        return {
            "flips": flips,
            "flips_per_cpu_s": flips / seconds,
            f"flips_per_cpu_s{SE}": math.sqrt(flips) / seconds,
            "N_up": float(share.mean()),
            f"N_up{SE}": float(standard_error(share)) if flips else math.nan,
        }

    return Trapped("rigid-flip", made, body, 2.0, FLIP_ADAPT_CYCLES, values)


def cosines(frames_A: Floats) -> Floats:
    """(k,) of the angle between acetonitrile and z in frames (k, n, 3)."""
    axis = frames_A[:, 2] - frames_A[:, 0]
    out: Floats = axis[:, 2] / np.linalg.norm(axis, axis=1)
    return out


def flip_reference(trapped: Trapped, draws: int, seed: int = 0) -> dict[str, float]:
    """Percent of N up by independent uniform draws of the ball, weighted, and its error."""
    start_A, energy = trapped.made[2], energy_of(trapped.simulation())
    rng = np.random.default_rng(seed)
    drawn = RigidProposer(trapped.body, PoseMixture.ball(np.zeros(3), trapped.radius_A))
    poses = drawn.propose_independent(start_A, draws, kT_eV=1.0, rng=rng)
    frames = np.array([made.positions_A for made in poses])
    u = np.array([energy(x) for x in frames]) / (BOLTZMANN_EV_PER_K * TEMPERATURE_K)
    weights = np.exp(u.min() - u)
    weights /= weights.sum()
    up = (cosines(frames) > 0).astype(float)
    share = float(weights @ up)
    return {
        "N_up_reference": 100 * share,
        f"N_up_reference{SE}": 100 * math.sqrt(float(weights**2 @ (up - share) ** 2)),
    }


def rigid(seconds: float, say: Progress) -> list[Row]:
    """The rows of both bodies, each of so many CPU seconds."""
    rows = water_ion().rows(seconds, say)
    flipping = flip()
    say("rigid-flip: the reference")
    known = flip_reference(flipping, REFERENCE_DRAWS)
    found = flipping.rows(seconds, say)
    uniform, _, *learned = (part["values"] for part in found)
    if uniform["flips"]:
        for ours in learned:
            ours.update(ratio("flips_per_cpu_s_over_uniform", ours, uniform, "flips_per_cpu_s"))
    for part in found:
        part["values"] |= known
    return [*rows, *found]
