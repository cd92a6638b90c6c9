"""A ligand that turns over in a pocket which has no room for it: the share of each way
against weighted uniform draws, and how often moves take it from one to the other.
"""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import energy_of, positions
from equidrift.bench.machine import silent
from equidrift.bench.sampling_rigid import cosines, flip
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.mixture import PoseMixture
from equidrift.models.rigid.proposer import LocalRigidProposer, RigidProposer, adapt_rigid
from equidrift.montecarlo.metropolis import Statistics, metropolis
from tests.models.rigid import cage
from tests.models.rigid.test_proposer import blocks

START_A = cage.MOLECULE_A


def energy(x: np.ndarray) -> float:
    """In eV; infinite beyond the ball in which the share is known."""
    inside = np.linalg.norm(x.mean(axis=0)) < cage.RADIUS_A
    return float(cage.energy_eV(x)) if inside else np.inf


class Chain:
    """A chain of moves in the cage that goes on where it stopped."""

    def __init__(self, seed: int) -> None:
        self.rng, self.x, self.u = np.random.default_rng(seed), START_A, energy(START_A)

    def run(self, proposer, cycles: int) -> tuple[np.ndarray, Statistics]:
        statistics, frames = Statistics(), []
        for _ in range(cycles):
            self.x, self.u, _ = metropolis(
                *(proposer, self.x, self.u, energy, 10),
                kT_eV=cage.KT_EV,
                rng=self.rng,
                statistics=statistics,
            )
            frames.append(self.x)
        return np.array(frames), statistics


def flips(frames: np.ndarray) -> int:
    """Changes between N up and N down, by more than 60 degrees from across."""
    above = cage.up(frames)
    return int(np.count_nonzero(np.diff(np.sign(above[np.abs(above) > 0.5]))))


@pytest.fixture(scope="module")
def learned() -> RigidProposer:
    body = RigidBody(START_A, [0, 1, 2])
    found = adapt_rigid(Chain(1).run, body, 240, radius_A=cage.RADIUS_A).proposer
    assert isinstance(found, RigidProposer)
    return found


@pytest.mark.long
def test_ligand_turns_over_as_often_as_its_two_ways_are_worth(learned) -> None:
    frames, statistics = Chain(2).run(learned, 600)
    share, error = blocks((cage.up(frames) > 0).astype(float))
    right, its_error = cage.expected()
    assert 0.6 < right < 0.9 and its_error < 0.02  # two unlike wells, both there
    assert abs(share - right) < 4 * np.hypot(error, its_error) and error < 0.05
    assert flips(frames) > 40 and statistics.acceptance > 0.1


@pytest.mark.long
def test_small_steps_do_not_turn_it_over_and_uniform_moves_seldom(learned) -> None:
    uniform = RigidProposer(learned.body, PoseMixture.ball(np.zeros(3), cage.RADIUS_A))
    seen = {
        name: flips(Chain(3).run(proposer, 160)[0])
        for name, proposer in (
            ("learned", learned),
            ("uniform", uniform),
            ("small", LocalRigidProposer([0, 1, 2])),
        )
    }
    assert seen["small"] <= 2 and seen["learned"] > 5 * max(1, seen["uniform"])


@pytest.mark.long
def test_system_of_the_benchmark_has_the_energies_of_the_cage() -> None:
    trapped, rng = flip(), np.random.default_rng(0)
    found = energy_of(trapped.simulation())
    uniform = RigidProposer(trapped.body, PoseMixture.ball(np.zeros(3), 1.0))
    for made in uniform.propose_independent(trapped.made[2], 20, kT_eV=1.0, rng=rng):
        right = float(cage.energy_eV(made.positions_A[:3]))
        assert found(made.positions_A) == pytest.approx(right, rel=1e-6, abs=1e-6)


@pytest.mark.long
def test_openmm_turns_the_ligand_over(learned) -> None:
    made = flip()
    simulation, proposer = made.simulation(), RigidProposer(made.body, learned.density)
    sampler = ProposalSampler(simulation, proposer, md_steps=0, n_proposals=10, temperature_K=300)
    frames = []
    for _ in range(240):
        sampler.run(1)
        frames.append(positions(simulation))
    share, error = blocks((cosines(np.array(frames)) > 0).astype(float))
    right, its_error = cage.expected()
    assert abs(share - right) < 4 * np.hypot(error, its_error) and error < 0.05


@pytest.mark.slow
def test_rows_of_the_benchmark_agree_with_their_reference() -> None:
    rows = {part["row"]: part["values"] for part in flip().rows(10.0, silent)}
    right = cage.expected()
    for name in ("equidrift", "score"):
        ours = rows[f"rigid-flip/{name}"]
        error = np.hypot(ours["N_up_se"], 100 * right[1])
        assert abs(ours["N_up"] - 100 * right[0]) < 4 * error and ours["flips"] > 10
    ours = rows["rigid-flip/equidrift"]
    assert ours["flips"] > 2 * max(1, rows["rigid-flip/uniform"]["flips"])
