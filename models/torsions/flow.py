"""Sampling a diffusion on the torus, with the density of what was really drawn.

Noise is wrapped normal with standard deviation sigma (variance exploding). `levels` of
falling sigma each have a score, the gradient of a `TrigSeries`. The deterministic
sampler takes the explicit steps of the probability flow d phi / d sigma = -sigma s(phi,
sigma),

    phi' = phi + (sigma_k - sigma_(k+1)) sigma_k s_k(phi),

and its density is that of these steps, not of the flow they approximate: uniform at the
start, and for each step the exact log-determinant of I + g Ds. A step whose map could
fold (g times the steepest curvature near 1, bounded over the whole torus) is split, so
that every map is one to one; it is inverted by Newton's method on the convex function
whose gradient it is. The stochastic sampler of local moves keeps the whole path of
noising and denoising in the ratio, which needs no inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from equidrift.errors import InputError
from equidrift.geometry import Floats, wrap
from equidrift.models.torsions.series import TrigSeries
from equidrift.montecarlo.densities import Block, log_wrapped_normal

SIGMA_MAX, SIGMA_MIN = (
    3.0,
    0.12,
)  # radians; at the upper end a wrapped normal is flat to 2 %, and the start is drawn flat
_SAFE = 0.9  # of the step at which a map could begin to fold
_MAX_SPLIT = 4  # parts of one step; beyond that the step is shortened
_BASIN_RAD = 0.3  # a usual width of a torsional basin
_NEWTON, _TOLERANCE = 60, 1e-10


def sigma_levels(n: int) -> Floats:
    """n falling noise levels, in radians; one is the least."""
    if n < 1:
        raise InputError(
            f"the number of noise levels must be at least 1, not {n}; give for example 10"
        )
    return np.geomspace(SIGMA_MIN, SIGMA_MAX, n)[::-1].copy()


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Scores of one molecule at one frozen geometry: levels[k] is the energy whose
    negative gradient is the score at sigmas[k].
    """

    sigmas: Floats
    levels: tuple[TrigSeries, ...]

    def __post_init__(self) -> None:
        if (
            len(self.sigmas) != len(self.levels)
            or not len(self.levels)
            or np.any(np.diff(self.sigmas) >= 0)
        ):
            raise InputError("sigmas must fall, with one series a level")

    @property
    def n_torsions(self) -> int:
        """Number of torsions."""
        return self.levels[0].n_torsions

    def given(self, phi: Floats, block: Block) -> Diffusion:
        """The diffusion of a block, the other torsions held at phi."""
        return Diffusion(self.sigmas, tuple(level.given(phi, block) for level in self.levels))

    def interpolated(self, sigma: float) -> TrigSeries:
        """The energy at any noise: linear in log sigma between levels, constant beyond."""
        at = np.interp(-np.log(sigma), -np.log(self.sigmas), np.arange(len(self.levels)))
        k, share = int(at), at - int(at)
        return (
            self.levels[k]
            if share == 0
            else self.levels[k].scaled(1 - share).plus(self.levels[k + 1].scaled(share))
        )


class DiscreteFlow:
    """The deterministic sampler of a `Diffusion` as a chain of one-to-one maps, a
    `TorusDensity`.
    """

    def __init__(self, diffusion: Diffusion):
        self.n_torsions, self.diffusion = diffusion.n_torsions, diffusion
        self.steps: list[tuple[float, TrigSeries]] = []
        sigmas = diffusion.sigmas
        ends = np.append(
            sigmas[1:], 0.5 * sigmas[-1]
        )  # the last step leaves some noise: a step to none would not be one to one
        for sigma, end, level in zip(sigmas, ends, diffusion.levels, strict=False):
            step = float((sigma - end) * sigma)
            steep = level.steepest() / _SAFE
            parts = min(_MAX_SPLIT, max(1, int(np.ceil(step * steep))))
            part = min(step / parts, 1.0 / steep if steep > 0 else step)
            self.steps += [(part, level)] * parts

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        given: Floats | None = None,  # noqa: ARG002 - the protocol's
        block: Block | None = None,
    ) -> Floats:
        """(n, m) torsions."""
        _whole(block)
        return self.forward(rng.uniform(-np.pi, np.pi, (n, self.n_torsions)))[0]

    def log_prob(self, phi: Floats, block: Block | None = None) -> Floats:
        """(k,) log densities: the chain is inverted step by step."""
        _whole(block)
        out: Floats = (
            -self.n_torsions * np.log(2 * np.pi) - self.backward(np.asarray(phi, np.float64))[1]
        )
        return out

    def sample_with_log_prob(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """(n, m) torsions and their (n,) log densities; no inversion is needed."""
        phi, log_det = self.forward(rng.uniform(-np.pi, np.pi, (n, self.n_torsions)))
        return phi, -self.n_torsions * np.log(2 * np.pi) - log_det

    def forward(self, phi: Floats) -> tuple[Floats, Floats]:
        """From the uniform start to samples: (phi, log |det| of the whole map)."""
        total, eye = np.zeros(len(phi)), np.eye(self.n_torsions)
        for step, level in self.steps:
            score, jacobian = level.derivatives(phi)
            total += _log_det(eye + step * jacobian)
            phi = phi + step * score
        return wrap(phi), total

    def backward(self, phi: Floats) -> tuple[Floats, Floats]:
        """From samples to the start: (phi, log |det| of the forward map there)."""
        total, eye = np.zeros(len(phi)), np.eye(self.n_torsions)
        for step, level in reversed(self.steps):
            phi = invert(step, level, phi)
            total += _log_det(eye + step * level.derivatives(phi)[1])
        return wrap(phi), total


def _whole(block: Block | None) -> None:
    if block is not None:
        raise InputError("a flow is conditioned before it is made: take Diffusion.given")


def _log_det(matrices: Floats) -> Floats:
    sign, value = np.linalg.slogdet(matrices)
    if not np.all(sign > 0):
        raise FloatingPointError(
            "a step of the sampler is not one to one; this is a bug in its step control"
        )
    out: Floats = value
    return out


def invert(step: float, level: TrigSeries, target: Floats) -> Floats:
    """phi with phi + step * score(phi) = target, for a step that cannot fold.

    The map is the gradient of the strictly convex phi^2 / 2 - step * U, so Newton's
    method with a line search on the residual ends at the one solution.
    """
    phi, eye = target.copy(), np.eye(target.shape[1])
    score, jacobian = level.derivatives(phi)
    residual = phi + step * score - target
    size = np.abs(residual).max(axis=1)
    for _ in range(_NEWTON):
        if size.max(initial=0.0) < _TOLERANCE:
            return phi
        move = np.linalg.solve(eye + step * jacobian, residual[..., None])[..., 0]
        share = np.ones((len(phi), 1))
        for _ in range(12):
            trial = phi - share * move
            score, jacobian = level.derivatives(trial)
            new = trial + step * score - target
            worse = np.square(new).sum(axis=1) > np.square(residual).sum(axis=1) + 1e-28
            if not worse.any():
                break
            share[worse] *= 0.5
        phi, residual = trial, new
        size = np.abs(residual).max(axis=1)
    if size.max() > 1e-8:
        raise FloatingPointError(
            f"a step of the sampler could not be inverted: residual {size.max():.1e} rad"
        )
    return phi


def ode_log_prob(diffusion: Diffusion, phi: Floats, steps: int = 100) -> Floats:
    """Log density of the continuous probability flow, with the exact divergence, by the
    classical Runge-Kutta method in log sigma.

    This is the density of the flow itself, from the least level to the largest where it
    starts uniform; no sampler of few steps has it, so it is for judging a model, not
    for acceptance.
    """
    points = np.linspace(np.log(diffusion.sigmas[-1]), np.log(diffusion.sigmas[0]), steps + 1)

    def rate(log_sigma: float, x: Floats) -> tuple[Floats, Floats]:
        sigma = float(np.exp(log_sigma))
        score, jacobian = diffusion.interpolated(sigma).derivatives(x)
        return -(sigma**2) * score, -(sigma**2) * np.trace(jacobian, axis1=1, axis2=2)

    x, total = np.asarray(phi, np.float64), np.zeros(len(phi))
    for start, end in pairwise(points):
        h = end - start
        v1, d1 = rate(start, x)
        v2, d2 = rate(start + h / 2, x + h / 2 * v1)
        v3, d3 = rate(start + h / 2, x + h / 2 * v2)
        v4, d4 = rate(end, x + h * v3)
        x = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        total += h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    out: Floats = total - diffusion.n_torsions * np.log(2 * np.pi)
    return out


def local_move(
    diffusion: Diffusion, phi: Floats, depth: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Noise to the level `depth` from the end and back: (phi' (k, m), log q_ratio (k,))
    of paths.

    Up the states get wrapped normal noise level by level; down each step is a wrapped
    normal about the score's estimate. The ratio holds all 2 depth factors of the path
    walked and of the same path walked back, so it is exact whatever the score.
    """
    if not 1 <= depth <= len(diffusion.sigmas):
        raise InputError(f"depth must be 1 to {len(diffusion.sigmas)} noise levels, not {depth}")
    sigmas, levels = diffusion.sigmas[::-1][:depth], diffusion.levels[::-1][:depth]
    gains = np.diff(np.square(sigmas), prepend=0.0)  # variance that each step up adds
    # Down to level a from b the variance is that of a basin of width w:
    # (b^2 - a^2) (a^2 + w^2) / (b^2 + w^2).
    below = np.append(0.0, np.square(sigmas[:-1]))
    spread = np.sqrt(gains * (below + _BASIN_RAD**2) / (np.square(sigmas) + _BASIN_RAD**2))
    up = [phi]
    for gain in gains:
        up.append(wrap(up[-1] + np.sqrt(gain) * rng.standard_normal(phi.shape)))
    down = [up[-1]]
    for gain, width, level in zip(gains[::-1], spread[::-1], levels[::-1], strict=False):
        down.append(
            wrap(down[-1] + gain * level.score(down[-1]) + width * rng.standard_normal(phi.shape))
        )
    back = down[::-1]
    ratio = np.zeros(len(phi))
    for k, (gain, width, level) in enumerate(zip(gains, spread, levels, strict=False)):
        up_old, up_new = (
            log_wrapped_normal(path[k + 1] - path[k], np.sqrt(gain)).sum(axis=1)
            for path in (up, back)
        )
        down_old, down_new = (
            log_wrapped_normal(path[k] - path[k + 1] - gain * level.score(path[k + 1]), width).sum(
                axis=1
            )
            for path in (up, back)
        )
        ratio += (up_new + down_old) - (up_old + down_new)
    return back[0], ratio
