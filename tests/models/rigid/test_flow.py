"""Poses drawn by a score's flow: the density is that of the draws, whatever the score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from equidrift.errors import InputError
from equidrift.models.rigid import igso3, rotations
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.flow import PoseFlow, ScoreDensity
from equidrift.models.rigid.mixture import PoseMixture
from equidrift.models.rigid.network import SIGMA_MAX, ScoreNetwork
from equidrift.models.rigid.proposer import RigidProposer
from equidrift.testing import ProposerContract
from tests.models.rigid.flows import SCALE_A, Z, density, folded, smooth
from tests.models.rigid.test_proposer import STICK, TRIANGLE, lopsided

KINDS = [
    pytest.param({}, id="a body"),
    pytest.param({"axis": Z}, id="a linear body"),
    pytest.param({"turning": False}, id="a place alone"),
]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


class TestOfASmoothScore(ProposerContract):
    def make(self) -> RigidProposer:
        return RigidProposer(RigidBody(TRIANGLE, [0, 1, 2]), density(smooth(), lopsided()))

    def start_A(self) -> np.ndarray:
        return TRIANGLE


class TestOfAFoldedScore(TestOfASmoothScore):
    def make(self) -> RigidProposer:
        return RigidProposer(RigidBody(TRIANGLE, [0, 1, 2]), density(folded(), lopsided()))


class TestOfALinearBody(TestOfASmoothScore):
    def make(self) -> RigidProposer:
        return RigidProposer(
            RigidBody(STICK, [0, 1], [2, 3, 4]), density(smooth(axis=Z), lopsided())
        )

    def start_A(self) -> np.ndarray:
        return STICK


def wide() -> PoseMixture:
    """All rotations, places as far as flows reach; a known density to draw from."""
    return PoseMixture(
        *(np.ones(1), np.eye(3)[None], np.array([igso3.UNIFORM]), np.zeros((1, 3))),
        *(0.6 * np.eye(3)[None], np.zeros(3), 4.0, 0.1),
    )


def differences(mapped, turns, places, moving, h=1e-5):
    """(k, moving, moving) derivative of a map of poses in the frames exp(d) R of both
    ends, by central differences.
    """
    out = []
    for j in range(moving):
        d = np.zeros((len(places), 6))
        d[:, j - moving] = h
        ends = [
            mapped(rotations.exp(sign * d[:, :3]) @ turns, places + sign * d[:, 3:])
            for sign in (1, -1)
        ]
        turned = rotations.log(ends[0][0] @ np.swapaxes(ends[1][0], 1, 2))
        both = np.concatenate([turned, ends[0][1] - ends[1][1]], axis=1)
        out.append(both[:, -moving:] / (2 * h))
    return np.stack(out, axis=2)


@pytest.mark.parametrize("kind", KINDS)
def test_derivative_of_a_step_is_that_of_finite_differences(kind, rng):
    flow = smooth(**kind)
    start = flow.starts(5, rng)
    found = flow.step_and_derivative(*start, 1.0, 0.6)[1]
    known = differences(lambda *x: flow.step(*x, 1.0, 0.6), *start, flow.network.moving)
    np.testing.assert_allclose(found, known, atol=1e-7)
    assert np.abs(found - np.eye(flow.network.moving)).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_flow_goes_back_where_it_came_from_with_the_density_of_the_whole_map(kind, rng):
    flow = smooth(**kind)
    turns, places = flow.starts(20, rng)
    ends = flow.forward(turns, places)
    back = flow.backward(*ends)
    assert back.same_as(turns, places).all() and not back.same_as(turns, places + 1e-3).any()
    np.testing.assert_allclose(back.turns, turns, atol=1e-7)
    wide = 1 + SIGMA_MAX**2
    log_start = -0.5 * (places**2).sum(axis=1) / wide - 1.5 * np.log(2 * np.pi * wide)
    whole = differences(flow.forward, turns, places, flow.network.moving)
    known = log_start - np.linalg.slogdet(whole)[1]
    np.testing.assert_allclose(back.log_prob, known, atol=1e-5)


def judged(flow: PoseFlow, rng: np.random.Generator, n: int = 1500) -> float:
    """The share of draws that are led back, once their density q was held against a
    known one p: E_q[p / (p + q)] = E_p[q / (p + q)], whose terms are bounded.
    """
    known = wide()
    start = flow.starts(n, rng)
    ours = flow.forward(*start)
    back = flow.backward(*ours)
    same = back.same_as(*start)
    theirs = known.sample(n, rng)
    left = same * expit(known.log_prob(*ours) - back.log_prob)
    right = expit(flow.backward(*theirs).log_prob - known.log_prob(*theirs))
    error = np.hypot(left.std(), right.std()) / np.sqrt(n)
    assert abs(left.mean() - right.mean()) < 4 * error and 8 * error < right.mean()
    return float(same.mean())


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_density_of_a_one_to_one_flow_is_normalised_and_that_of_its_draws(kind, rng):
    flow, known = replace(smooth(**kind), steps=4), wide()
    assert judged(flow, rng) == 1
    turns, places = known.sample(4000, rng)
    p = np.exp(flow.backward(turns, places).log_prob - known.log_prob(turns, places))
    error = p.std() / np.sqrt(len(p))
    assert abs(p.mean() - 1) < 4 * error and error < 0.06


@pytest.mark.long
def test_density_of_a_folded_flow_is_that_of_the_draws_that_are_led_back(rng):
    flow = folded()
    share = judged(flow, rng)
    ends = flow.forward(*flow.starts(1500, rng))
    found = np.isfinite(flow.backward(*ends).log_prob).mean()
    assert 0.6 < share < found - 0.02  # some are led elsewhere, and do not count


@pytest.mark.parametrize(
    ("flow", "shared"),
    [
        pytest.param(folded(), 0.5, id="folded"),
        pytest.param(folded(), 0.05, id="folded, little of the mixture"),
        pytest.param(replace(smooth(axis=Z), steps=4), 0.05, id="smooth, of a linear body"),
        pytest.param(replace(smooth(turning=False), steps=4), 0.05, id="smooth, of a place"),
    ],
)
@pytest.mark.long
def test_one_move_from_exact_draws_leaves_their_distribution_as_it_is(flow, shared, rng):
    """Draws of a known density, each moved once: means of the pose must stay, and that
    of the density drawn from, which would show if it were not what it says.
    """
    n, oriented = 2000, flow.network.turning
    near_to_it = flow.forward(*flow.starts(600, rng))
    target = PoseMixture.fit(*near_to_it, 6, oriented=oriented, floor=0.02)
    proposed = ScoreDensity(flow, lopsided(4.0), shared)
    turns, places = target.sample(n, rng)
    made = proposed.drawn(n, rng, turns[0], places[0])
    log_q = proposed.log_prob(turns, places)
    ratio = log_q - made.log_q
    ratio += target.log_prob(made.turns, made.places_A) - target.log_prob(turns, places)
    taken = np.log(rng.random(n)) < ratio
    assert taken.mean() > 0.1

    def seen(turns, places, log_q):
        near = np.linalg.norm(places, axis=1)
        known = np.clip(log_q, -6, 4), log_q > -2
        return np.stack([near, *places.T, turns[:, 0, 0], turns[:, 2, 1], *known], axis=1)

    new = seen(made.turns, made.places_A, made.log_q)
    change = taken[:, None] * (new - seen(turns, places, log_q))
    error = change.std(axis=0) / np.sqrt(n)
    assert (np.abs(change.mean(axis=0)) < 4 * error).all() and (error > 0).all()


def test_spin_of_a_linear_body_changes_no_density(rng):
    flow = smooth(axis=Z)
    turns, places = flow.forward(*flow.starts(10, rng))
    spun = turns @ rotations.exp(rng.uniform(-3, 3, (10, 1)) * Z)
    found = [flow.backward(r, places).log_prob for r in (turns, spun)]
    np.testing.assert_allclose(*found, atol=1e-8)


def test_draws_that_are_not_led_back_stay_and_are_never_accepted():
    present = np.eye(3), np.array([0.1, 0.2, 0.3])
    flow = folded()
    made = ScoreDensity(flow, lopsided(), 1e-9).drawn(200, np.random.default_rng(4), *present)
    failed = np.isinf(made.log_q)
    again = np.random.default_rng(4)
    again.random(200)  # whether flow or mixture
    starts = flow.starts(200, again)
    back = flow.backward(*flow.forward(*starts))
    astray = np.isfinite(back.log_prob) & ~back.same_as(*starts)
    assert failed.sum() == (~back.same_as(*starts)).sum() and astray.sum() > 2
    assert 0.1 < failed.mean() < 0.35 and (made.log_q[failed] > 0).all()
    assert (made.places_A[failed] == present[1]).all()
    assert (made.places_A[~failed] != present[1]).all()


def test_density_of_draws_and_of_the_present_pose_is_that_asked_for_later(rng):
    present = np.eye(3), np.array([0.1, 0.2, 0.3])
    both = density(smooth(), lopsided())
    made = both.drawn(30, rng, *present)
    np.testing.assert_allclose(both.log_prob(made.turns, made.places_A), made.log_q, atol=1e-8)
    found = both.log_prob(present[0][None], present[1][None])
    assert found[0] == pytest.approx(made.log_q_present, abs=1e-8)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: PoseFlow(smooth().network, np.zeros(3), SCALE_A, 0), "steps must be 1 or more"),
        (lambda: PoseFlow(smooth().network, np.zeros(3), SCALE_A.T), "a lower triangle"),
        (lambda: ScoreDensity(smooth(), lopsided(), 0.0), "above 0 and at most 1, not 0.0"),
        (
            lambda: ScoreNetwork(smooth().network.weights, smooth().network.biases, False),
            "takes 6 numbers and gives 3",
        ),
    ],
)
def test_flows_refuse_what_they_cannot_be_made_of(make, match):
    with pytest.raises(InputError, match=match):
        make()
