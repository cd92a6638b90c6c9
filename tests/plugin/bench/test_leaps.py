"""What leaps are measured by, on a chain of wells whose rates are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from equidrift.bench.trajectories_leaps import compared, timescale, transitions, wells

CENTRES = np.array([math.pi, math.pi / 3, -math.pi / 3])
STAY = 0.97
STEP = STAY * np.eye(3) + (1 - STAY) / 2 * (np.ones((3, 3)) - np.eye(3))


def chain(step: NDArray[np.float64], frames: int, seed: int) -> NDArray[np.float64]:
    """Angles (frames,) that jump between wells."""
    rng = np.random.default_rng(seed)
    state, out = 0, np.empty(frames)
    for k in range(frames):
        state = int(rng.choice(3, p=step[state]))
        out[k] = CENTRES[state] + 0.2 * rng.standard_normal()
    return (out + np.pi) % (2 * np.pi) - np.pi


def test_wells_are_told_about_the_cut_at_180_degrees() -> None:
    assert wells(np.array([3.1, -3.1, 1.0, -1.0])).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("lag", [1, 5])
def test_timescale_is_the_chains_at_any_lag(lag: int) -> None:
    """The second eigenvalue of STEP is 1 - 3 (1 - STAY) / 2."""
    found = timescale(transitions(wells(chain(STEP, 40_000, 0)), lag), float(lag))
    assert found == pytest.approx(-1 / math.log(1 - 1.5 * (1 - STAY)), rel=0.08)


def test_leaps_of_the_same_process_have_its_rates_and_distribution() -> None:
    run, lag = chain(STEP, 40_000, 1), 10
    leapt = chain(np.linalg.matrix_power(STEP, lag), 4000, 2)
    found = compared(leapt, run, lag, 10.0)
    assert found["rate_ratio"] == pytest.approx(1.0, abs=0.08)
    assert found["timescale_ratio"] == pytest.approx(1.0, abs=0.12)
    assert found["JSD_torsions"] < 0.08


def test_leaps_of_another_process_are_found_out() -> None:
    run, lag = chain(STEP, 20_000, 1), 10
    fast = compared(chain(np.full((3, 3), 1 / 3), 4000, 2), run, lag, 10.0)
    assert fast["rate_ratio"] > 2
    still = compared(chain(np.eye(3), 4000, 2), run, lag, 10.0)
    assert still["rate_ratio"] == 0 and still["JSD_torsions"] > 0.3


def test_rates_are_left_out_when_the_dynamics_hardly_change() -> None:
    run = chain(np.eye(3), 1000, 0)
    assert "rate_ratio" not in compared(run, run, 5, 5.0)
    assert math.isnan(timescale(transitions(wells(run), 1), 1.0))
