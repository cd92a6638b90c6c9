"""The population of a rare basin: what is printed of it, and which states count."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.bench import boltzmann
from equidrift.bench.sampling import population
from equidrift.bench.sampling_run import Counted
from tests.sampling import UNIFORM, simulation

TRUTH = boltzmann.rare_share(boltzmann.load_reference())
INSIDE, OUTSIDE = 1.0, -1.5  # of phi, rad
DWELL = 6.0  # mean states of a visit


def chain(entries: int, seed: int) -> np.ndarray:
    """Visits and stays outside of exponential lengths, the basin's share being TRUTH."""
    rng = np.random.default_rng(seed)
    visits = 1 + rng.exponential(DWELL - 0.5, entries).astype(int)
    between = 1 + rng.exponential(DWELL * (1 - TRUTH) / TRUTH, entries).astype(int)
    lengths = np.stack([between, visits], axis=1).ravel()
    return np.repeat(np.tile([OUTSIDE, INSIDE], entries), lengths)


def test_error_of_a_rare_basin_is_that_of_its_visits() -> None:
    """Of exponential visits the relative error is sqrt(2 / entries), by renewal theory."""
    for seed in range(3):
        found = population(chain(400, seed))
        assert found["P_entries"] == 400
        assert found["P_positive_error"] == pytest.approx(
            found["P_positive"] * np.sqrt(2 / 400), rel=0.3
        )
        assert found["P_error"] == abs(found["P_positive"] - TRUTH)
        assert found["P_error_in_se"] < 3
        assert found["P_error_in_se"] < found["P_error"] / found["P_positive_error"]


def test_a_chain_that_begins_in_the_basin_has_not_entered_it() -> None:
    parts = [np.array([OUTSIDE] * 5), np.array([INSIDE] * 5 + [OUTSIDE] * 5)]
    found = population(np.concatenate(parts), [5, 10])
    assert found["P_entries"] == 0 and found["P_positive"] == pytest.approx(1 / 3)
    assert np.isnan(found["P_positive_error"]) and np.isnan(found["P_error_in_se"])


def test_states_within_a_cycle_are_counted_as_those_at_its_end() -> None:
    counted = Counted(UNIFORM)
    sampler = ProposalSampler(simulation(), counted.watched, md_steps=5, n_proposals=8)
    sampler.statistics = counted
    sampler.run(30)
    visited = np.array(counted.visited)
    assert len(visited) == counted.proposed == 240
    ends, seen = np.exp(1j * visited[7::8]), np.exp(1j * sampler.torsions_rad[:, 0])
    np.testing.assert_allclose(ends, seen, atol=1e-6)
    changed = visited.reshape(30, 8)[:, 1:] != visited.reshape(30, 8)[:, :-1]
    assert changed.sum() > 0  # a move is seen that the next one may undo
