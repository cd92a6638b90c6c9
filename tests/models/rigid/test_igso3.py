"""The isotropic Gaussian on SO(3) and rotations, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation

from equidrift.errors import InputError
from equidrift.models.rigid import igso3, rotations
from equidrift.models.rigid.reverse import denoised, mixture_score

WIDTHS = (0.05, 0.1, 0.5, 0.9, 0.999, 1.0, 1.5, 3.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Angles from 0 to pi, and their weights."""
    x, w = np.polynomial.legendre.leggauss(2000)
    return (x + 1) * np.pi / 2, w * np.pi / 2


@pytest.mark.long
@pytest.mark.parametrize("eps", WIDTHS)
def test_angles_are_normalised_and_have_the_character_of_the_heat_kernel(eps):
    angle, weight = quadrature()
    p = weight * np.exp(igso3.log_angle_density(angle, eps))
    assert p.sum() == pytest.approx(1, abs=1e-9)
    assert p @ (1 + 2 * np.cos(angle)) / 3 == pytest.approx(np.exp(-(eps**2)), abs=1e-6)
    assert igso3.character(eps) == pytest.approx(np.exp(-(eps**2)))


@pytest.mark.parametrize("eps", WIDTHS)
def test_score_is_the_slope_of_the_density(eps):
    angle, h = np.linspace(0.01, 3.1, 50), 1e-5
    slope = (igso3.log_density(angle + h, eps) - igso3.log_density(angle - h, eps)) / (2 * h)
    np.testing.assert_allclose(igso3.score(angle, eps), slope, rtol=1e-4, atol=1e-4)


def test_both_forms_meet_and_a_wide_one_is_uniform():
    angle = np.linspace(0, np.pi, 50)
    near = [igso3.log_density(angle, eps) for eps in (1 - 1e-12, 1.0)]
    np.testing.assert_allclose(*near, atol=1e-9)
    np.testing.assert_allclose(igso3.log_density(angle, np.inf), 0, atol=1e-12)


@pytest.mark.parametrize("eps", [0.1, 0.7, 0.95, 1.3, 3.0])
def test_draws_follow_the_density_of_their_angle(eps, rng):
    drawn = np.sort(rotations.angle(igso3.sample(np.full(4000, eps), rng)))
    grid = np.linspace(0, np.pi, 4001)
    p = np.exp(igso3.log_angle_density(grid, eps))
    cdf = np.concatenate([[0], np.cumsum((p[1:] + p[:-1]) / 2)])
    found = stats.kstest(drawn, lambda w: np.interp(w, grid, cdf / cdf[-1]))
    assert found.pvalue > 1e-3


def test_noise_upon_noise_adds_its_squares(rng):
    n = 40000
    both = igso3.sample(np.full(n, 0.5), rng) @ igso3.sample(np.full(n, 0.8), rng)
    characters = np.trace(both, axis1=1, axis2=2) / 3
    error = characters.std() / np.sqrt(n)
    assert abs(characters.mean() - np.exp(-0.89)) < 4 * error and error < 0.003


def test_sample_refuses_a_width_that_is_not_positive(rng):
    with pytest.raises(InputError, match="eps must be positive"):
        igso3.sample([0.3, 0.0], rng)


def test_logarithm_and_exponential_agree_with_scipy_up_to_half_turns(rng):
    axes = rng.standard_normal((300, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.concatenate([[0, 1e-9, 1e-5, np.pi - 1e-7], rng.uniform(0, np.pi, 296)])
    vectors = angles[:, None] * axes
    turns = rotations.exp(vectors)
    np.testing.assert_allclose(turns, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-14)
    np.testing.assert_allclose(rotations.log(turns), vectors, atol=1e-9)
    np.testing.assert_allclose(rotations.angle(turns), angles, atol=1e-9)


def test_derivative_of_the_exponential_is_that_of_finite_differences(rng):
    vectors, h = rng.standard_normal((20, 3)), 1e-6
    vectors[:6] *= np.array([[0.0], [1e-9], [1e-4], [9.9e-3], [1e-2], [0.1]])
    found = rotations.left_jacobian(vectors)
    for j in range(3):
        ends = [rotations.exp(vectors + sign * h * np.eye(3)[j]) for sign in (1, -1)]
        known = rotations.small_vectors(ends[0] @ np.swapaxes(ends[1], 1, 2)) / (2 * h)
        np.testing.assert_allclose(found[..., j], known, atol=1e-8)
    np.testing.assert_allclose(
        rotations.small_vectors(rotations.exp(1e-3 * vectors)), 1e-3 * vectors, atol=1e-8
    )


def test_reverse_equation_finds_both_modes_with_their_odds(rng):
    n, eps = 2000, 0.1
    means = np.stack([np.eye(3), rotations.exp(np.array([0.0, 2.0, 1.0]))])
    turns = denoised(mixture_score([0.7, 0.3], means, [eps, eps]), n, rng, steps=50)
    apart = rotations.angle(np.swapaxes(means, 1, 2) @ turns[:, None])
    assert (apart.argmin(axis=1) == 0).mean() == pytest.approx(0.7, abs=0.04)
    # 9.1 degrees at eps = .1, 9.5 with the last level's noise
    assert np.degrees(np.median(apart.min(axis=1))) == pytest.approx(9.3, abs=0.5)
