"""Training losses of the learned integrator: forces from positions alone, without a
derivative through time.

The second difference of three frames is exactly the force along the path between them,
averaged with a triangle of weights (for the leapfrog of `integrator.py` a finite sum).
So a force is learned by regression once the path is known:
* `fine_loss`: frames as close as the integrator's steps; the path is the middle frame;
* `path_loss`: frames further apart; the path is interpolated at first, later it is the
  current force's own path, made to meet both end frames. Then the path's error is of
  second order in the force's, and no gradient runs through (possibly chaotic) time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from equidrift.models.shared.batches import Batched
from equidrift.models.trajectories.integrator.integrator import Force, Integrator
from equidrift.models.trajectories.integrator.network import Graph

Network = Any  # a ForceNetwork, a PairForceNetwork, or what has their `prepare` and call


@dataclass
class Windows(Batched):
    """Five frames (b, 5, n, d) in float64, `spacing` apart, with their graphs.

    `interpolate`: take the path from the frames.
    """

    graph: Graph
    frames: Tensor
    spacing: float
    interpolate: bool = False
    substeps: int = 10


def path_loss(network: Network, batch: Windows) -> Tensor:
    """Robust, relative error of the mean force along the two intervals around the
    middle frame.
    """
    prepared = network.prepare(batch.graph)
    if batch.interpolate:
        path, weights = interpolated(batch.frames)
    else:
        with torch.no_grad():
            two = prepared.repeat(2)
            ends = torch.stack([batch.frames[:, 1:3], batch.frames[:, 2:4]], 1).flatten(0, 1)
            pieces = meeting_path(
                lambda x, h: network(two, x, h),
                ends[:, 0],
                ends[:, 1],
                batch.spacing,
                batch.substeps,
            )
        n = batch.substeps
        pieces = pieces.unflatten(0, (-1, 2))
        path = torch.cat([pieces[:, 0, 1:], pieces[:, 1, 1:-1]], 1)[
            :, ::2
        ]  # every second point carries enough of the sum
        weights = (n - torch.arange(-n + 1, n, device=path.device).abs()).to(path.dtype)[::2]
        weights = weights / weights.sum()
    points = path.shape[1]
    found = network(prepared.repeat(points), path.flatten(0, 1)).unflatten(0, (-1, points))
    mean = (found * weights[None, :, None, None]).sum(1)
    before, middle, after = batch.frames[:, 1:4].unbind(1)
    wanted = (after - 2 * middle + before) / batch.spacing**2
    size = wanted.norm(dim=-1)
    floor = 0.2 * size.median() if batch.interpolate else 0.02 * size.median()
    share = 0.05 if batch.interpolate else 0.01
    relative = (mean - wanted).norm(dim=-1) / (floor + share * size)
    pseudo_huber = (relative.square() + 1).sqrt()
    return (pseudo_huber if batch.interpolate else pseudo_huber.log()).mean()


def interpolated(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Points (b, 10, n, d) on the quartic through five frames, and their weights in the
    mean over the middle two intervals.
    """
    node, weight = np.polynomial.legendre.leggauss(5)
    t = np.concatenate([-(node + 1) / 2, (node + 1) / 2])
    at = np.arange(-2, 3)
    lagrange = np.array(
        [[np.prod([(u - b) / (a - b) for b in at if b != a]) for a in at] for u in t]
    )
    weights = np.tile(weight / 2, 2) * (1 - np.abs(t))
    return torch.einsum(
        "qo,bond->bqnd", torch.from_numpy(lagrange).to(frames), frames
    ), torch.from_numpy(weights).to(frames)


def meeting_path(
    force: Force, start: Tensor, end: Tensor, spacing: float, substeps: int, rounds: int = 2
) -> Tensor:
    """Points (b, substeps + 1, n, d) of the force's path from `start` that comes
    nearest to `end`; what is left is spread evenly.
    """
    step = spacing / substeps
    first = (end - start) / spacing - 0.5 * spacing * force(start, step)
    best = torch.stack([start] * (substeps + 1), 1)
    least = start.new_full((len(start),), torch.inf)
    for _ in range(rounds):
        x, v, points = start, first, [start]
        for _ in range(substeps):
            v = v + step * force(x, step)
            x = x + step * v
            points.append(x)
        miss = end - x
        size = miss.abs().amax((1, 2))
        better = size < least
        best = torch.where(better[:, None, None, None], torch.stack(points, 1), best)
        least = torch.where(better, size, least)
        first = first + miss / spacing
    ramp = torch.linspace(0, 1, substeps + 1, dtype=start.dtype, device=start.device)
    ramp = ramp[None, :, None, None]
    return best + (end - best[:, -1])[:, None] * ramp


@dataclass
class Segments(Batched):
    """Odd numbers of consecutive frames (b, 2k + 1, n, d) in float64, `step` apart,
    close enough to be steps of the integrator.
    """

    graph: Graph
    frames: Tensor
    step: float
    friction: float = 0.0

    def __len__(self) -> int:
        return len(self.frames) * (self.frames.shape[1] - 2)


def fine_loss(network: Network, batch: Segments) -> Tensor:
    """Squared errors of the accelerations that take the leapfrog from frame to frame,
    over those of no force, in two norms.

    Frame by frame, fast vibrations and the thermostat's noise decide. Averaged with the
    triangle of weights that the second difference over the whole segment has, both
    cancel, and the slow forces count, whose errors grow with the square of time. Errors
    are weighed by mass, because the thermostat's noise is.
    """
    x = batch.frames
    b, frames = x.shape[0], x.shape[1] - 2
    wanted = (x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]) / batch.step**2 + batch.friction * (
        x[:, 2:] - x[:, :-2]
    ) / (2 * batch.step)
    prepared = network.prepare(batch.graph).repeat(frames)
    found = network(prepared, x[:, 1:-1].flatten(0, 1), batch.step).unflatten(0, (b, frames))
    mass = batch.graph.mass[:, None, :, None]
    loss = ((found - wanted).square() * mass).mean() / (wanted.square() * mass).mean()
    if frames > 1:
        half = (frames + 1) // 2
        weights = (half - torch.arange(-half + 1, half, device=x.device).abs()).to(
            x.dtype
        ) / half**2
        slow = ((found - wanted) * weights[None, :, None, None]).sum(1)
        size = (wanted * weights[None, :, None, None]).sum(1)
        loss = loss + (slow.square() * mass[:, 0]).mean() / (size.square() * mass[:, 0]).mean()
    return loss


@dataclass
class Observations(Batched):
    """Frames (b, t, n, d), `spacing` apart, and the true velocities (b, t, n, d) of the
    half step before each (the first unused).
    """

    graph: Graph
    frames: Tensor
    velocities: Tensor
    spacing: float


def observer_loss(integrator: nn.Module, batch: Observations) -> Tensor:
    """Error of the corrected velocities over their size, each frame on its own: the
    gains of a Kalman filter, learned by regression.
    """
    model = cast(Integrator, integrator)
    with torch.no_grad():
        prepared, force = model.bound(batch.graph)
    mass = batch.graph.mass[..., None]
    total = batch.frames.new_zeros(())
    for k, before, change in model.observed(prepared, force, batch.frames, batch.spacing):
        wanted = batch.velocities[:, k]
        total = (
            total
            + ((before + change - wanted).square() * mass).mean() / (wanted.square() * mass).mean()
        )
    return total / (batch.frames.shape[1] - 1)
