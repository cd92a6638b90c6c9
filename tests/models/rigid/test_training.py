"""Scores that are learned from poses: their targets, and what their flows draw."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from equidrift.errors import UnknownNameError
from equidrift.models.rigid import igso3, rotations
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.flow import ScoreDensity
from equidrift.models.rigid.mixture import PoseMixture
from equidrift.models.rigid.network import ScoreNetwork
from equidrift.models.rigid.objective import noised, score_loss
from equidrift.models.rigid.proposer import RigidProposer, adapt_rigid
from equidrift.models.rigid.train import trained_flow
from equidrift.montecarlo.metropolis import Statistics
from equidrift.testing.random_state import global_random_state_kept
from tests.models.rigid import cage
from tests.models.rigid.test_flip import Chain
from tests.models.rigid.test_proposer import TRIANGLE, blocks

BODY = RigidBody(TRIANGLE, [0, 1, 2])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def two_modes() -> PoseMixture:
    """Seven tenths here, three there, turned over by 130 degrees."""
    return PoseMixture(
        np.array([0.7, 0.3]),
        np.stack([np.eye(3), rotations.exp(np.array([0.0, 2.0, 1.0]))]),
        np.array([0.2, 0.3]),
        np.array([[0.0, 0.0, 0.0], [0.6, 0.0, 0.4]]),
        np.stack([0.04 * np.eye(3), 0.02 * np.eye(3)]),
        np.zeros(3),
        4.0,
        0.002,
    )


def test_targets_are_the_slope_of_the_log_density_of_noise(rng):
    """Of IGSO(3) about each clean rotation, along exp(d) R, and of a normal shift."""
    k, h = 6, 1e-5
    turns, places = rotations.haar(k, rng), rng.standard_normal((k, 3))
    sigma = rng.uniform(0.2, 1.8, (k, 1))
    made = noised(turns, places, sigma, True, rng)

    def log_density(r):
        return igso3.log_density(rotations.angle(r @ np.swapaxes(turns, 1, 2)), sigma[:, 0])

    for j in range(3):
        d = rotations.exp(h * np.eye(3)[j])
        slope = (log_density(d @ made.turns) - log_density(d.T @ made.turns)) / (2 * h)
        wide = np.sqrt(1 + sigma[:, 0] ** 2)
        np.testing.assert_allclose(made.wanted[:, j], wide * sigma[:, 0] * slope, atol=1e-4)
    # what the network adds to the outputs' place, and the factor in front of them
    score = -(made.places - places) / sigma**2
    said = made.wanted[:, 3:] / np.sqrt(1 + sigma**2) - sigma * made.places / (1 + sigma**2)
    np.testing.assert_allclose(said, sigma * score, atol=1e-9)


def test_gradient_of_the_loss_is_that_of_finite_differences(rng):
    sizes = [4, 5, 5, 2]
    weights = [rng.standard_normal((b, a)) for a, b in pairwise(sizes)]
    biases = [rng.standard_normal(len(w)) for w in weights]
    features, wanted = rng.standard_normal((7, 4)), rng.standard_normal((7, 2))
    _, gradient = score_loss(weights, biases, features, wanted)
    parts, h = [*weights, *biases], 1e-6
    for part, slope in zip(parts, gradient, strict=True):
        at = tuple(rng.integers(n) for n in part.shape)
        losses = []
        for sign in (1, -2):
            part[at] += sign * h
            losses.append(score_loss(weights, biases, features, wanted)[0])
        part[at] += h
        assert slope[at] == pytest.approx((losses[0] - losses[1]) / (2 * h), abs=1e-6)


def test_training_takes_all_its_random_numbers_from_the_seed(rng):
    poses = two_modes().sample(40, rng)
    with global_random_state_kept():
        one, two, other = (trained_flow(*poses, BODY, epochs=1, seed=s) for s in (3, 3, 4))
    first = [flow.network.weights[0] for flow in (one, two, other)]
    assert np.array_equal(first[0], first[1]) and not np.array_equal(first[0], first[2])


@pytest.mark.long
def test_score_of_two_modes_draws_both_with_their_odds_and_widths(rng):
    known = two_modes()
    flow = trained_flow(*known.sample(1500, rng), BODY)
    turns, places = flow.forward(*flow.starts(1500, rng))
    apart = rotations.angle(np.swapaxes(known.rotations, 1, 2) @ turns[:, None])
    nearest = apart.argmin(axis=1)
    assert (nearest == 0).mean() == pytest.approx(0.7, abs=0.06)
    for k, width in ((0, 0.2), (1, 0.3)):
        right = np.median(rotations.angle(igso3.sample(np.full(2000, width), rng)))
        assert np.median(apart[nearest == k, k]) == pytest.approx(right, rel=0.15)
        np.testing.assert_allclose(places[nearest == k].mean(axis=0), known.centres_A[k], atol=0.08)
    held_out = known.sample(300, rng)
    untrained = replace(flow, network=ScoreNetwork.drawn(rng))
    lost, at_first = (  # nats
        (known.log_prob(*held_out) - made.backward(*held_out).log_prob).mean()
        for made in (flow, untrained)
    )
    assert 0 < lost < 0.6 and at_first > 4


@pytest.mark.long
def test_score_that_an_adaptive_phase_learned_turns_the_ligand_over_as_often_as_is_right():
    body = RigidBody(cage.MOLECULE_A, [0, 1, 2])
    found = adapt_rigid(Chain(1).run, body, 240, radius_A=cage.RADIUS_A, density="score")
    assert isinstance(found.proposer.density, ScoreDensity)
    assert found.proposer.name == found.report["proposer"] == "rigid-score"
    assert "learned score" in found.report["is"] and found.report["components"] > 0
    frames, statistics = Chain(2).run(found.proposer, 240)
    share, error = blocks((cage.up(frames) > 0).astype(float))
    right, its_error = cage.expected()
    assert abs(share - right) < 4 * np.hypot(error, its_error) and error < 0.05
    assert statistics.acceptance > 0.2


def test_another_density_is_refused_before_anything_runs():
    def advance(*_: object) -> tuple[np.ndarray, Statistics]:
        raise AssertionError("the adaptive phase has begun")

    with pytest.raises(UnknownNameError, match=r"unknown density of poses 'flow'.*mixture, score"):
        adapt_rigid(advance, BODY, 200, radius_A=2.0, density="flow")
    with pytest.raises(UnknownNameError, match="density of poses"):
        RigidProposer.fit(BODY, [TRIANGLE] * 30, density="Score")
