"""Annealed importance sampling against quadrature: means and the ratio of partition
functions are right however few the steps, and weights are as even as theory has it.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.montecarlo.annealing import (
    Annealed,
    SoftenedPath,
    anneal,
    energy_w2,
    find_ladder,
    first_states,
)

GRID = np.linspace(-4.0, 4.0, 8001)
SOFTEST = 0.1


class DoubleWell(SoftenedPath):
    """One coordinate in a harmonic well and, softened, a tilted double well of 6 kT."""

    kT_eV = 0.5

    def __init__(self, tries: int = 10) -> None:
        self.tries = tries

    def soft_eV(self, positions_A):
        x = positions_A[0, 0]
        return float(3.0 * (x**2 - 1) ** 2 + 0.4 * x)

    def energy_eV(self, positions_A):
        return float(0.1 * positions_A[0, 0] ** 2) + self.soft_eV(positions_A)

    def move(self, positions_A, softness, rng):
        x = np.array(positions_A)
        for _ in range(self.tries):
            new = x + np.array([[rng.normal(0, 0.6), 0, 0]])
            here, there = (self.at(y, softness) for y in (x, new))
            x = new if rng.random() < np.exp((here - there) / self.kT_eV) else x
        return x

    def at(self, x, softness):
        return self.energy_eV(x) - (1 - softness) * self.soft_eV(x)

    def density(self, softness):
        """exp(-U / kT) on the grid."""
        u = 0.1 * GRID**2 + softness * (3.0 * (GRID**2 - 1) ** 2 + 0.4 * GRID)
        return np.exp(-u / self.kT_eV)

    def draws(self, n, rng):
        """Independent states at the softest, by inversion."""
        below = np.cumsum(self.density(SOFTEST))
        x = np.interp(rng.random(n), below / below[-1], GRID)
        return np.stack([x, 0 * x, 0 * x], axis=-1)[:, None]


@pytest.mark.parametrize(("tries", "rungs"), [(0, 2), (0, 6), (1, 4), (10, 12)])
def test_annealing_gives_the_integrals_of_quadrature_however_poor_its_moves(tries, rungs):
    """Without a move it is plain importance sampling, with ten it nearly equilibrates."""
    path, rng = DoubleWell(tries), np.random.default_rng(5)
    found = anneal(path, path.draws(700, rng), np.linspace(SOFTEST, 1, rungs), seed=1)
    p = path.density(1.0)
    log_ratio, error = found.log_ratio
    wanted = np.log(p.sum() / path.density(SOFTEST).sum())
    assert abs(log_ratio - wanted) < 4 * error < 0.6
    x = found.positions_A[:, 0, 0]
    for function in (lambda y: y, np.square, lambda y: (y > 0).astype(float)):
        mean, spread = found.mean(function(x))
        assert abs(mean - (p * function(GRID)).sum() / p.sum()) < 4 * spread < 0.5


def test_more_steps_make_weights_more_even_and_errors_cover_the_truth():
    """Twenty repeats: errors of one sigma cover about two thirds of them."""
    path, rng = DoubleWell(4), np.random.default_rng(3)
    few, many = (
        anneal(path, path.draws(150, rng), np.linspace(SOFTEST, 1, rungs), seed=2)
        for rungs in (3, 30)
    )
    assert few.ess < many.ess <= 1
    assert 0 < many.ess_error < 0.2
    p = path.density(1.0)
    truth, inside = (p * GRID).sum() / p.sum(), 0
    for repeat in range(20):
        found = anneal(path, path.draws(60, rng), np.linspace(SOFTEST, 1, 8), seed=repeat)
        mean, error = found.mean(found.positions_A[:, 0, 0])
        inside += abs(mean - truth) < error
    assert 8 <= inside <= 19  # of a binomial with p = .68, beyond .3 % on either side


def test_a_ladder_has_steps_of_equal_length_and_ends_at_one():
    path, rng = DoubleWell(), np.random.default_rng(0)
    ladder = find_ladder(path, path.draws(40, rng), SOFTEST, rng=rng, step=0.2)
    assert ladder[0] == SOFTEST and ladder[-1] == 1.0
    soft = 3.0 * (GRID**2 - 1) ** 2 + 0.4 * GRID
    lengths = []
    for here, there in pairwise(ladder[:-1]):
        p = path.density(here) / path.density(here).sum()
        spread = math.sqrt((p * soft**2).sum() - (p * soft).sum() ** 2)
        lengths.append((there - here) * spread / path.kT_eV)
    assert np.mean(lengths) == pytest.approx(0.2, rel=0.25)
    with pytest.raises(InputError, match="two states, a softness between 0 and 1"):
        find_ladder(path, path.draws(1, rng), SOFTEST, rng=rng)


def test_first_states_are_of_the_softened_density():
    path, rng = DoubleWell(), np.random.default_rng(1)
    x = first_states(path, np.ones((1, 3)), 800, SOFTEST, rng=rng, warm_up=20, apart=3)[:, 0, 0]
    p = path.density(SOFTEST) / path.density(SOFTEST).sum()
    assert x.mean() == pytest.approx((p * GRID).sum(), abs=0.15)
    assert x.var() == pytest.approx((p * GRID**2).sum() - (p * GRID).sum() ** 2, rel=0.2)


def test_the_distance_of_energies_is_that_of_sorted_samples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 50), rng.normal(2, 1, 50)
    wanted = np.sqrt(np.square(np.sort(a) - np.sort(b)).mean())
    assert energy_w2(a, None, b) == pytest.approx(wanted)
    assert energy_w2(a, None, a + 3) == pytest.approx(3)
    twice = np.repeat(a, rng.integers(1, 4, 50))  # weights stand for copies
    values, counts = np.unique(twice, return_counts=True)
    assert energy_w2(values, counts, b) == pytest.approx(energy_w2(twice, None, b))


def test_resampled_states_come_as_often_as_their_weights_say():
    states = np.arange(4.0)[:, None, None] * np.ones((4, 1, 3))
    found = Annealed(states, np.log([1.0, 2.0, 3.0, 4.0]), np.zeros(4), np.array([0.5, 1]))
    _, counts = np.unique(found.resampled(1000)[:, 0, 0], return_counts=True)
    np.testing.assert_allclose(counts, [100, 200, 300, 400], atol=1)
    assert found.ess == pytest.approx(100 / 30 / 4)


def test_what_cannot_be_annealed_is_refused():
    path, rng = DoubleWell(), np.random.default_rng(0)
    with pytest.raises(InputError, match="a ladder that rises"):
        anneal(path, path.draws(2, rng), [0.5, 0.4])
    found = anneal(path, path.draws(2, rng), [SOFTEST, 1.0])
    with pytest.raises(InputError, match="one for each of 2 states, not 3"):
        found.mean(np.zeros(3))
