"""The torus diffusion: series and their derivatives, one-to-one steps, densities by
quadrature, exact chains whatever the score.
"""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.models.torsions.adaptation import Columns, Moments, as_series, fit, flat, modes
from equidrift.models.torsions.flow import (
    Diffusion,
    DiscreteFlow,
    local_move,
    ode_log_prob,
    sigma_levels,
)
from equidrift.models.torsions.series import TrigSeries
from equidrift.montecarlo.densities import WrappedMixture
from tests.torus import (
    CHAINS,
    balanced,
    fits,
    grid,
    independent_step,
    integral,
    pair_count,
    random_series,
    two_basins,
)

ORDER = 14  # of the series of a known density


def bad_diffusion(m: int, n: int = 3, size: float = 0.12) -> Diffusion:
    """Scores that belong to no density in particular."""
    sigmas = np.geomspace(2.5, 0.3, n)
    return Diffusion(
        sigmas, tuple(random_series(m, seed, size / s) for seed, s in enumerate(sigmas))
    )


def noised(mixture: WrappedMixture, sigma: float) -> WrappedMixture:
    """A mixture of wrapped normals behind wrapped normal noise: the same with wider
    components.
    """
    return WrappedMixture(mixture.weights, mixture.means, np.sqrt(mixture.sigmas**2 + sigma**2))


def expanded(log_prob, m: int, k: int) -> TrigSeries:
    """-log_prob of one or two torsions as a series of order k."""
    bins = 4 * k
    spectrum = np.fft.fftn(-log_prob(grid(bins, m)).reshape((bins,) * m)) / bins**m
    kappa = modes(m, k, k)
    shift = np.exp(
        -1j * kappa.sum(axis=1) * (np.pi / bins - np.pi)
    )  # the grid starts half a cell above -pi
    return as_series(
        2 * spectrum[tuple(kappa.T)] * shift, m, k, k
    )  # both signs of a wave vector fold into one


def true_diffusion(m: int, sigmas) -> tuple[Diffusion, object]:
    """The exact diffusion of a known density of 1, 2 or 3 torsions, and its log density
    at the least noise.
    """
    first = WrappedMixture([0.6, 0.4], [[-1.2, 1.0], [2.0, -0.5]], [[0.9, 1.0], [1.0, 0.9]])
    last = WrappedMixture([0.3, 0.7], [[-1.0], [1.9]], [[1.0], [0.9]])

    def series(sigma):
        if m == 1:
            return expanded(noised(last, sigma).log_prob, 1, ORDER)
        two = expanded(noised(first, sigma).log_prob, 2, ORDER)
        if m == 2:
            return two
        one = expanded(noised(last, sigma).log_prob, 1, ORDER)
        pairs = np.zeros((3, ORDER, 2 * ORDER), complex)
        pairs[0] = two.pairs[0]
        return TrigSeries(np.vstack([two.singles, one.singles]), pairs)

    def log_prob(phi):
        least = sigmas[-1]
        out = 0.0
        if m > 1:
            out = noised(first, least).log_prob(phi[:, :2])
        return out if m == 2 else out + noised(last, least).log_prob(phi[:, -1:])

    return Diffusion(sigmas, tuple(series(s) for s in sigmas)), log_prob


@pytest.mark.parametrize("m", [1, 2, 4])
def test_score_and_jacobian_are_the_derivatives_of_the_energy(m):
    series, phi, h = random_series(m, 3), np.random.default_rng(0).uniform(-3, 3, (5, m)), 1e-5
    score, jacobian = series.derivatives(phi)
    for k, step in enumerate(h * np.eye(m)):
        assert np.allclose(
            score[:, k],
            -(series.energy(phi + step) - series.energy(phi - step)) / (2 * h),
            atol=1e-7,
        )
        assert np.allclose(
            jacobian[:, :, k],
            (series.score(phi + step) - series.score(phi - step)) / (2 * h),
            atol=1e-7,
        )
    curvature = np.linalg.eigvalsh(
        -series.derivatives(np.random.default_rng(1).uniform(-np.pi, np.pi, (4000, m)))[1]
    ).max()
    assert curvature <= series.steepest() < 5 * curvature


def test_a_block_given_the_rest_differs_by_a_constant():
    series, phi = random_series(4, 1), np.random.default_rng(0).uniform(-3, 3, (6, 4))
    phi[:, [0, 2]] = phi[0, [0, 2]]
    block = series.given(phi[0], np.array([1, 3]))
    assert np.ptp(series.energy(phi) - block.energy(phi[:, [1, 3]])) < 1e-12
    points = grid(24, 2)
    assert np.allclose(block.on_grid(24).ravel(), block.energy(points), atol=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_steps_are_inverted_and_log_determinants_agree(m):
    flow = DiscreteFlow(bad_diffusion(m))
    start = np.random.default_rng(0).uniform(-np.pi, np.pi, (40, m))
    phi, log_det = flow.forward(start)
    back, again = flow.backward(phi)
    assert np.abs(np.exp(1j * back) - np.exp(1j * start)).max() < 1e-8
    assert np.allclose(log_det, again, atol=1e-8)


@pytest.mark.parametrize(("m", "bins"), [(1, 720), (2, 72)])
def test_the_density_of_the_discretised_sampler_integrates_to_one(m, bins):
    flow = DiscreteFlow(bad_diffusion(m))
    assert integral(flow.log_prob(grid(bins, m)), m) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("m", [1, 2])
def test_samples_follow_the_density_of_the_discretised_sampler(m):
    flow = DiscreteFlow(bad_diffusion(m))
    phi, log_q = flow.sample_with_log_prob(CHAINS, np.random.default_rng(1))
    assert fits(phi, flow.log_prob, bins=16 if m == 1 else 6, fine=12) > 0.01
    assert np.allclose(log_q[:50], flow.log_prob(phi[:50]), atol=1e-8)


@pytest.mark.long
@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_ode_has_the_density_that_quadrature_gives(m):
    diffusion, log_prob = true_diffusion(m, np.geomspace(6.0, 0.3, 160))
    phi = np.random.default_rng(2).uniform(-np.pi, np.pi, (40, m))
    assert np.abs(ode_log_prob(diffusion, phi, 60) - log_prob(phi)).max() < 1e-3


def test_few_steps_have_another_density_than_the_flow_they_approximate():
    diffusion, _ = true_diffusion(2, sigma_levels(6))
    phi = DiscreteFlow(diffusion).sample(200, np.random.default_rng(0))
    bias = DiscreteFlow(diffusion).log_prob(phi) - ode_log_prob(diffusion, phi)
    assert bias.std() > 0.05  # why the ratio needs the former


@pytest.mark.parametrize("m", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_independent_moves_with_bad_scores_keep_the_target(m):
    target, rng, flow = two_basins(m), np.random.default_rng(4), DiscreteFlow(bad_diffusion(m))
    phi = target.sample(CHAINS, rng)
    log_q = flow.log_prob(phi)
    for _ in range(3):
        before = phi
        phi, log_q = independent_step(target, flow, phi, log_q, rng)
    assert fits(phi, target.log_prob) > 0.01
    assert balanced(before, phi) > 0.01


def local_chain(target, diffusion, depth, sign=1.0):
    rng = np.random.default_rng(5)
    phi = target.sample(CHAINS, rng)
    for _ in range(2):
        before = phi
        new, ratio = local_move(diffusion, phi, depth, rng)
        yes = (
            np.log(rng.random(CHAINS)) < target.log_prob(new) - target.log_prob(phi) + sign * ratio
        )
        phi = np.where(yes[:, None], new, phi)
    return before, phi, yes.mean()


@pytest.mark.parametrize(
    ("m", "depth"), [(1, 1), (1, 2), pytest.param(2, 2, marks=pytest.mark.slow)]
)
def test_local_moves_with_bad_scores_keep_the_target(m, depth):
    target = two_basins(m)
    before, after, share = local_chain(target, bad_diffusion(m), depth)
    assert share > 0.02
    assert fits(after, target.log_prob) > 0.01
    assert balanced(before, after) > 0.01


@pytest.mark.long
def test_a_wrong_sign_of_the_ratio_is_found_out_in_both_kinds_of_move():
    target = two_basins(1)
    before, after, _ = local_chain(target, bad_diffusion(1), 1, sign=-1.0)
    assert fits(after, target.log_prob) < 1e-6
    rng, flow = np.random.default_rng(4), DiscreteFlow(bad_diffusion(1))
    phi = target.sample(CHAINS, rng)
    log_q = flow.log_prob(phi)
    for _ in range(3):
        before = phi
        phi, log_q = independent_step(target, flow, phi, log_q, rng, sign=-1.0)
    assert fits(phi, target.log_prob) < 1e-6
    assert balanced(before, phi) < 1e-6


def test_the_mirror_image_has_the_mirrored_density():
    diffusion = bad_diffusion(2)
    mirrored = Diffusion(
        diffusion.sigmas,
        tuple(TrigSeries(s.singles.conj(), s.pairs.conj()) for s in diffusion.levels),
    )
    phi = np.random.default_rng(0).uniform(-3, 3, (20, 2))
    assert np.allclose(
        DiscreteFlow(diffusion).log_prob(phi), DiscreteFlow(mirrored).log_prob(-phi), atol=1e-9
    )


def test_a_batch_gives_what_each_state_gives_alone():
    flow, phi = DiscreteFlow(bad_diffusion(3)), np.random.default_rng(0).uniform(-3, 3, (8, 3))
    assert np.allclose(
        flow.log_prob(phi), np.concatenate([flow.log_prob(row[None]) for row in phi]), atol=1e-9
    )


def test_the_closed_form_fit_recovers_the_energy_the_frames_came_from():
    truth = random_series(2, 7, 0.8, 2, 2)
    points = grid(240, 2)
    odds = np.exp(-truth.energy(points))
    frames = points[np.random.default_rng(0).choice(len(points), 20_000, p=odds / odds.sum())]
    columns = Columns.of(2, (4, 4), 0)
    moments = Moments.of(columns, frames[:10_000], np.zeros((10_000, 0)))
    moments = moments.plus(Moments.of(columns, frames[10_000:], np.zeros((10_000, 0))))
    fitted = as_series(fit(moments, 0.05, np.zeros(len(columns.wave), complex)), 2, 4, 4)
    shape = fitted.energy(points) - truth.energy(points)
    assert np.sqrt(np.average((shape - np.average(shape, weights=odds)) ** 2, weights=odds)) < 0.1


def test_coefficients_follow_the_geometry_they_were_fitted_with():
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(20_000, 1))
    phi = 0.6 * rng.standard_normal((20_000, 1)) + 0.4 * feature
    columns = Columns.of(1, (6, 6), 1)
    theta = fit(Moments.of(columns, phi, feature), 0.1, np.zeros(len(columns.wave), complex))
    best = [
        grid(360, 1)[
            as_series(columns.coefficients(theta, np.array([g])), 1, 6, 6).on_grid(360).argmin(), 0
        ]
        for g in (-1.0, 1.0)
    ]
    assert best == pytest.approx([-0.4, 0.4], abs=0.1)


def test_a_good_prior_helps_where_frames_are_few():
    truth, columns = random_series(2, 2, 1.5, 4, 4), Columns.of(2, (4, 4), 0)
    points = grid(60, 2)
    odds = np.exp(-truth.energy(points))
    frames = points[np.random.default_rng(0).choice(len(points), 12, p=odds / odds.sum())]
    moments = Moments.of(columns, frames, np.zeros((12, 0)))
    assert len(flat(truth)) == len(modes(2, 4, 4)) == 8 + 32 * pair_count(2)

    def error(prior):
        off = as_series(fit(moments, 0.1, prior), 2, 4, 4).energy(points) - truth.energy(points)
        return np.sqrt(np.average((off - np.average(off, weights=odds)) ** 2, weights=odds))

    assert error(flat(truth)) < 0.7 * error(np.zeros(len(columns.wave), complex))


def test_flow_refuses_schedules_and_series_that_cannot_be():
    with pytest.raises(InputError, match="must fall"):
        Diffusion(np.array([0.1, 0.2]), (random_series(1, 0), random_series(1, 0)))
    with pytest.raises(InputError, match="noise levels"):
        sigma_levels(0)
    with pytest.raises(InputError, match="depth"):
        local_move(bad_diffusion(1), np.zeros((1, 1)), 9, np.random.default_rng(0))
    with pytest.raises(InputError, match="do not go with"):
        TrigSeries(np.zeros((2, 3), complex), np.zeros((0, 2, 4), complex))
    with pytest.raises(InputError, match="too large"):
        random_series(3, 0).on_grid(10)
