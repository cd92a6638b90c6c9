"""The isotropic Gaussian on SO(3): density, score and exact draws. numpy only.

Brownian motion from the identity, of time eps^2, with steps N(0, eps^2 dt) along each of
three axes in the body's frame. Densities are over Haar's measure of total mass 1, so
uniform is 1.

References
----------
Leach, Schmon, Degiacomi and Willcocks, Denoising diffusion probabilistic models on
SO(3) for rotational alignment, ICLR 2022 workshop (their eps is sqrt(2) times ours).
Yim et al., SE(3) diffusion model with application to protein backbone generation,
arXiv:2302.02277, proposition 3 (the series).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.rigid import rotations

# Below, the sum over images converges faster than that over characters; both are exact
# to 1e-12 here.
_NARROW = 1.0
_IMAGES = np.arange(-2, 3)
_TERMS = np.arange(12)
_LEAST_ANGLE = 1e-6  # rad, by which densities may be divided
UNIFORM = 20.0  # an eps so wide that the density is uniform to the last bit
# most that sin(w/2) / (w/2) times the other images can be: 4 / pi, at w = pi
_ABOVE_MAXWELL = 4 / np.pi


def log_density(angle: ArrayLike, eps: ArrayLike) -> Floats:
    """Log density at rotation angles (radians, 0 to pi), over Haar's measure.

    Parameters
    ----------
    angle, eps : array
        Broadcast against each other; eps in radians.
    """
    return _at(angle, eps)[0]


def score(angle: ArrayLike, eps: ArrayLike) -> Floats:
    """d log density / d angle, per radian; the score is it times the rotation's axis."""
    return _at(angle, eps)[1]


def _at(angle: ArrayLike, eps: ArrayLike) -> tuple[Floats, Floats]:
    """Log density and its derivative."""
    w, e = np.broadcast_arrays(
        np.maximum(np.asarray(angle, np.float64), _LEAST_ANGLE),
        np.minimum(np.asarray(eps, np.float64), UNIFORM),
    )
    value, slope = np.empty(w.shape), np.empty(w.shape)
    narrow = e < _NARROW
    for where, form in ((narrow, _by_images), (~narrow, _by_characters)):
        if where.any():
            value[where], slope[where] = form(w[where], e[where])
    return value, slope


def _by_images(w: Floats, e: Floats) -> tuple[Floats, Floats]:
    """Poisson's form: a sum over w - 2 pi k, of alternating sign; exponents are taken
    relative to k = 0, so that nothing underflows.
    """
    t = e**2 / 2
    u = w[..., None] - 2 * np.pi * _IMAGES
    sign = np.where(_IMAGES % 2 == 0, 1.0, -1.0)
    weight = sign * np.exp(-(u**2 - w[..., None] ** 2) / (4 * t[..., None]))
    total = (weight * u).sum(axis=-1)
    slope = (weight * (1 - u**2 / (2 * t[..., None]))).sum(axis=-1)
    value = (
        0.5 * np.log(np.pi)
        - 1.5 * np.log(t)
        + t / 4
        - w**2 / (4 * t)
        + np.log(total / (2 * np.sin(w / 2)))
    )
    return value, slope / total - 0.5 / np.tan(w / 2)


def _by_characters(w: Floats, e: Floats) -> tuple[Floats, Floats]:
    """The series over characters, sin((l + 1/2) w) / sin(w / 2)."""
    half = w[..., None] / 2
    order = 2 * _TERMS + 1
    weight = order * np.exp(-_TERMS * (_TERMS + 1) * e[..., None] ** 2 / 2)
    total = (weight * np.sin(order * half)).sum(axis=-1)
    slope = (weight * order / 2 * np.cos(order * half)).sum(axis=-1)
    return np.log(total / np.sin(w / 2)), slope / total - 0.5 / np.tan(w / 2)


def log_angle_density(angle: ArrayLike, eps: ArrayLike) -> Floats:
    """Log density of the angle itself, on 0 to pi."""
    w = np.maximum(np.asarray(angle, np.float64), _LEAST_ANGLE)
    out: Floats = log_density(w, eps) + np.log((1 - np.cos(w)) / np.pi)
    return out


def character(eps: ArrayLike) -> Floats:
    """The mean of (1 + 2 cos w) / 3, which is exp(-eps^2)."""
    return np.asarray(np.exp(-(np.asarray(eps, np.float64) ** 2)))


def eps_of(mean_character: ArrayLike) -> Floats:
    """The eps whose mean of (1 + 2 cos w) / 3 is this; `UNIFORM` for 0 or less."""
    c = np.clip(np.asarray(mean_character, np.float64), 1e-12, 1.0)
    return np.asarray(np.where(c > 1e-6, np.sqrt(-np.log(c)), UNIFORM))


def sample(eps: ArrayLike, rng: np.random.Generator) -> Floats:
    """Rotations (n, 3, 3), one for each eps (n,); exact, by rejection.

    Raises
    ------
    InputError
        If an eps is not positive.
    """
    e = np.minimum(np.atleast_1d(np.asarray(eps, np.float64)), UNIFORM)
    if not (e > 0).all():
        raise InputError(f"eps must be positive, not {e.min()}; give for example 0.3 (radians)")
    out = np.empty((len(e), 3, 3))
    left = np.arange(len(e))
    while len(left):
        tried, yes = _tried(e[left], rng)
        out[left[yes]] = tried[yes]
        left = left[~yes]
    return out


def _tried(e: Floats, rng: np.random.Generator) -> tuple[Floats, np.ndarray]:
    """One draw for each eps (k,), and whether it stands: from the normal distribution
    of rotation vectors for narrow ones, from Haar's for wide.
    """
    vectors = e[:, None] * rng.standard_normal((len(e), 3))
    tried, uniform = rotations.exp(vectors), rotations.haar(len(e), rng)
    narrow = e < _NARROW
    w = np.where(narrow, np.linalg.norm(vectors, axis=1), rotations.angle(uniform))
    inside = w <= np.pi
    w = np.where(inside, w, np.pi)
    log_maxwell = 2 * np.log(np.maximum(w, _LEAST_ANGLE)) - 0.5 * (w / e) ** 2
    log_maxwell += 0.5 * np.log(2 / np.pi) - 3 * np.log(e)
    bound = np.where(
        narrow,
        log_maxwell + np.log(_ABOVE_MAXWELL) + e**2 / 8,
        np.log((1 - np.cos(np.maximum(w, _LEAST_ANGLE))) / np.pi) + log_density(0.0, e),
    )
    odds = np.exp(np.minimum(0.0, log_angle_density(w, e) - bound))
    yes = inside & (rng.random(len(e)) < odds)
    return np.where(narrow[:, None, None], tried, uniform), yes
