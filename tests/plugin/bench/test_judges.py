"""The judges of invented trajectories: they tell what differs, and nothing where nothing
does.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from equidrift.bench.unconditional import classification, prediction
from equidrift.models.trajectories.graphs import array_graph

Array = NDArray[np.float64]
COUNT, T, N = 60, 12, 4


def walks(seed: int, persistence: float) -> Array:
    """Trajectories (COUNT, T, N, 3) of particles whose velocities persist."""
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((COUNT, T, N, 3))
    for k in range(1, T):
        v[:, k] = persistence * v[:, k - 1] + (1 - persistence**2) ** 0.5 * v[:, k]
    return np.cumsum(v, axis=1) + 3 * rng.standard_normal((COUNT, 1, N, 3))


GRAPH = array_graph(np.ones((COUNT, N, 1)), np.zeros((COUNT, N, N, 1)))


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_judge_says_one_half_of_trajectories_of_the_same_law(seed: int) -> None:
    """An overfitted judge is sure of itself, and above ln 2 on what it did not see."""
    entropy = classification(GRAPH, walks(2 * seed, 0.8), walks(2 * seed + 1, 0.8), 30, seed)
    assert entropy.shape == (2 * COUNT,)
    assert entropy.mean() == pytest.approx(math.log(2), abs=0.03)


@pytest.mark.long
def test_judge_tells_trajectories_of_another_law() -> None:
    entropy = classification(GRAPH, walks(0, 0.0), walks(1, 0.95), 30)
    assert entropy.mean() < 0.45


def test_forecaster_learns_more_from_trajectories_of_the_same_law() -> None:
    real = walks(1, 0.95)
    same, other = (prediction(GRAPH, walks(0, p), real, 15) for p in (0.95, 0.0))
    assert same.shape == (COUNT,) and same.mean() < other.mean()
