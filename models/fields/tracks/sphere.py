"""Brownian motion on S^2: maps, the heat kernel, and the noising of tracks by it
(arXiv:2307.05431, experiments, cyclones).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from equidrift.models.fields.functions.objective import LinearBeta

if TYPE_CHECKING:
    from equidrift.models.fields.tracks.prior import TrackPrior

SERIES_FROM = 0.2  # variance above which the heat kernel is summed as a series
SERIES_TERMS = 20  # of which the last is below 1e-17 there
SMALL_ANGLE = 0.1  # rad, below which 1 / a - cot a is its power series, right to 1e-7
SINE_FLOOR = 0.05  # bounds cot a within .05 rad of the antipode
SHORT_TIME = 0.5  # variance below which the sphere counts as flat on the scale of the noise


def tangent(y: Tensor, v: Tensor) -> Tensor:
    """The part of v tangent to the sphere at y."""
    return v - (v * y).sum(-1, keepdim=True) * y


def exp_map(y: Tensor, v: Tensor) -> Tensor:
    """The point reached from y along the geodesic with tangent v."""
    length = v.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    moved = length.cos() * y + length.sin() * v / length
    out: Tensor = moved / moved.norm(dim=-1, keepdim=True)
    return out


def log_map(y: Tensor, z: Tensor) -> Tensor:
    """The tangent at y of the geodesic to z, as long as the way."""
    towards = tangent(y, z)
    sine, cosine = towards.norm(dim=-1, keepdim=True), (y * z).sum(-1, keepdim=True)
    out: Tensor = torch.atan2(sine, cosine) * towards / sine.clamp(min=1e-12)
    return out


def heat_score(y: Tensor, origin: Tensor, variance: Tensor) -> Tensor:
    """grad_y log of the heat kernel of S^2, tangent at y, in the shape of y.

    Up to a variance of `SERIES_FROM` the kernel's short-time form, sqrt(a / sin a)
    exp(-a^2 / 2B) at the angle a (Molchanov 1975, doi:10.1070/RM1975v030n01ABEH001400), which
    is then right to .2 % of the score; above it the Legendre series sum (2l+1) exp(-l(l+1)
    B/2) P_l(cos a), summed in float64.

    Parameters
    ----------
    y, origin : Tensor, shape (..., 3)
        Unit vectors; Brownian motion began at `origin`.
    variance : Tensor
        B, per tangent direction.
    """
    towards = tangent(y, origin)
    sine = towards.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    cosine = (y * origin).sum(-1, keepdim=True)
    angle = torch.atan2(sine, cosine)
    curved = 1 / angle - cosine / sine.clamp(min=SINE_FLOOR)
    curved = torch.where(angle < SMALL_ANGLE, angle / 3 + angle**3 / 45, curved)
    near = (angle / variance - 0.5 * curved) * towards / sine
    far = _series_slope(cosine.double(), variance).to(y.dtype) * towards
    return torch.where(variance > SERIES_FROM, far, near)


def _series_slope(x: Tensor, variance: Tensor) -> Tensor:
    """d log p / dx of the Legendre series at x = cos a."""
    x = x.clamp(-1.0, 1.0)
    before, now = torch.ones_like(x), x
    slope_before, slope = torch.zeros_like(x), torch.ones_like(x)
    total, derivative = torch.ones_like(x), torch.zeros_like(x)
    for degree in range(1, SERIES_TERMS + 1):
        weight = (2 * degree + 1) * (-0.5 * degree * (degree + 1) * variance.double()).exp()
        total, derivative = total + weight * now, derivative + weight * slope
        before, now, last = now, ((2 * degree + 1) * x * now - degree * before) / (degree + 1), now
        slope_before, slope = slope, slope_before + (2 * degree + 1) * last
    return derivative / total.clamp(min=1e-9)


def walk(y: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
    """Geodesic random walk of that variance; noise (steps, *y.shape) is standard
    normal.
    """
    for z in noise:
        y = exp_map(y, (variance / len(noise)).sqrt() * tangent(y, z))
    return y


def heat_draw(y: Tensor, variance: float, noise: Tensor) -> Tensor:
    """A draw of the heat kernel around y: the direction is the noise's, the angle has
    the noise's rank in its own distribution.
    """
    towards = tangent(y, noise)
    radius = towards.norm(dim=-1, keepdim=True)
    if variance < 0.02:  # the plane's, to 1e-3
        return exp_map(y, math.sqrt(variance) * towards)
    grid = np.linspace(0.0, math.pi, 2001)
    total, before, now = np.ones_like(grid), np.ones_like(grid), np.cos(grid)
    for degree in range(1, 40):
        total += (2 * degree + 1) * math.exp(-0.5 * degree * (degree + 1) * variance) * now
        before, now = now, ((2 * degree + 1) * np.cos(grid) * now - degree * before) / (degree + 1)
    cumulative = np.cumsum(np.clip(total, 0.0, None) * np.sin(grid))
    rank = -np.expm1(-0.5 * radius.double().cpu().numpy() ** 2)
    angle = torch.tensor(
        np.interp(rank, cumulative / cumulative[-1], grid), dtype=y.dtype, device=y.device
    )
    return exp_map(y, angle * towards / radius.clamp(min=1e-12))


class SphereNoising:
    """`conditioning.Noising` of tracks (samples, n, 3); scores are grad log p.

    With a `prior` and the tracks' moments x (1, n, 1), Langevin steps are taken in the
    metric of the covariance that the prior, noised, leaves to the free points given the
    known ones: far from the context places move together, by hundreds of kilometres,
    and steps on the scale of the noise would never carry them there.
    """

    def __init__(
        self, schedule: LinearBeta, prior: TrackPrior | None = None, x: Tensor | None = None
    ):
        self.schedule, self.process, self.x = schedule, prior, x
        self._roots: tuple[float, Tensor] | None = None  # of the last variance

    def _between(self, a: float, b: float) -> float:
        values = self.schedule.integral(torch.tensor([a, b], dtype=torch.float64, device="cpu"))
        return float(values[1] - values[0])

    def prior(self, noise: Tensor) -> Tensor:
        """Uniform points."""
        out: Tensor = noise / noise.norm(dim=-1, keepdim=True)
        return out

    def transition(self, y: Tensor, earlier: float, later: float, noise: Tensor) -> Tensor:
        """Brownian motion, drawn exactly (`heat_draw`)."""
        y = y / y.norm(dim=-1, keepdim=True).clamp(min=1e-12)  # free points hold zeros
        return heat_draw(y, self._between(earlier, later), noise)

    def reverse(
        self, y: Tensor, t: float, to: float, score: Tensor, noise: Tensor | None
    ) -> Tensor:
        """One step of the time-reversed Brownian motion, or of its flow."""
        dB = self._between(to, t)
        if noise is None:
            return exp_map(y, 0.5 * dB * score)
        return exp_map(y, dB * score + math.sqrt(dB) * tangent(y, noise))

    def langevin(
        self, y: Tensor, t: float, step: float, score: Tensor, noise: Tensor, free: Tensor
    ) -> Tensor:
        """One Langevin step of the free points: in the prior's metric, with the weights
        of an exact step for a Gaussian; or on the scale of the noise.
        """
        scale = min(1.0, self._between(0.0, t))
        if self.process is not None and self.x is not None and scale < SHORT_TIME:
            if self._roots is None or self._roots[0] != scale:
                self._roots = scale, self.process.conditional_root(self.x, scale, free).to(y.dtype)
            axes, root = self.process.axes.to(y.dtype), self._roots[1]
            pulled = torch.einsum("aij,akj,bka->bia", root, root, score[:, free] @ axes)
            stirred = torch.einsum("aij,bja->bia", root, noise[:, free] @ axes)
            move = torch.zeros_like(y)
            move[:, free] = (
                (1 - math.exp(-0.5 * step)) * pulled + math.sqrt(-math.expm1(-step)) * stirred
            ) @ axes.T
            return torch.where(free[..., None], exp_map(y, tangent(y, move)), y)
        moved = exp_map(y, 0.5 * step * scale * score + math.sqrt(step * scale) * tangent(y, noise))
        return torch.where(free[..., None], moved, y)
