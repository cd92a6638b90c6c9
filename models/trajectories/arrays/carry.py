"""Two frames carried on, by a learned integrator or an EGNN, in either direction of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.trajectories.arrays.egnn import EGNN, roll
from equidrift.models.trajectories.integrator.integrator import (
    Clock,
    Force,
    Integrator,
    advance,
    shoot,
)
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.windows import gaps, run_of

CALLS_TO_START = 6  # frames that an integrator runs to find the velocities
CARRIERS = (Integrator, EGNN)  # what carries two frames on, in either direction of time
Carry = Callable[[Tensor, int], Tensor]  # known frames (b, t, n, d), count -> as many new ones


@dataclass(frozen=True)
class Spread:
    """Noise of a displacement, from each sample's own stream: a quarter of what the
    network missed of the last given frame, 2 % of the displacement at most (both against
    the mean of all nodes), times `noise`.
    """

    streams: list[np.random.Generator]
    noise: float

    def __call__(self, missed: Tensor, move: Tensor) -> Tensor:
        """Noise (b, n, d) of displacements `move` (b, n, d)."""
        drawn = np.stack([rng.standard_normal(move.shape[1:]) for rng in self.streams])
        normal = torch.from_numpy(drawn).to(move.device)
        least = torch.minimum(0.25 * size_of(missed), 0.02 * size_of(move))
        return self.noise * least * (normal - normal.mean(1, keepdim=True))


def carry_of(network: Integrator | EGNN, graph: Graph, spacing: float, spread: Spread) -> Carry:
    """A function that carries known frames (b, t, n, d) on; the last displacement
    spread by what the network missed before.
    """
    if isinstance(network, Integrator):
        return partial(integrated, network.bound(graph)[1], network.clock(spacing), spread)
    return partial(rolled, network, graph, spread)


@torch.no_grad()
def integrated(force: Force, clock: Clock, spread: Spread, known: Tensor, frames: int) -> Tensor:
    """The next frames (b, frames, n, d) of an integrator."""
    if known.shape[1] == 2:
        v, _ = shoot(force, known[:, -2:], clock, CALLS_TO_START)
    else:  # meet one frame, and see what is missed of the next
        half = CALLS_TO_START // 2
        v, _ = shoot(force, known[:, -3:-1], clock, half)
        missed = advance(force, known[:, -2], v, clock)[0] - known[:, -1]
        first = v - missed / clock.spacing
        v, _ = shoot(force, known[:, -2:], clock, half - 1, first)
        if spread.noise:
            v = v + spread(missed, (v - v.mean(1, keepdim=True)) * clock.spacing) / clock.spacing
    y, made = known[:, -1], []
    for _ in range(frames):
        y, v = advance(force, y, v, clock)
        made.append(y)
    return torch.stack(made, 1)


def rolled(network: EGNN, graph: Graph, spread: Spread, known: Tensor, frames: int) -> Tensor:
    """The next frames (b, frames, n, d) of an EGNN."""
    before, now = known[:, -2], known[:, -1]
    if spread.noise and known.shape[1] > 2:
        missed = roll(network, graph, known[:, -3], before, 1)[:, 0] - now
        move = now - before
        if network.config.comoving:
            move = move - move.mean(1, keepdim=True)
        before = before + spread(missed, move)
    return roll(network, graph, before, now, frames)


def middle_pair(positions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Trajectories (k, t, n, d) whose middle frame and the one after it lie on a
    parabola through each node's nearest frames, and which two these are (t,).
    """
    n_frames = positions.shape[1]
    middle = n_frames // 2
    near = np.arange(max(0, middle - 4), min(n_frames, middle + 5))
    design = (near - middle)[:, None] ** np.arange(3.0)
    fit = np.einsum("ct,stnd->scnd", np.linalg.pinv(design), positions[:, near])
    start = positions.copy()
    start[:, middle], start[:, middle + 1] = fit[:, 0], fit.sum(1)
    return start, (np.arange(n_frames) == middle) | (np.arange(n_frames) == middle + 1)


def size_of(x: torch.Tensor) -> torch.Tensor:
    """The root mean square (b, 1, 1) of x (b, n, d)."""
    return x.square().mean((1, 2), keepdim=True).sqrt()


def filled(x: Tensor, given: Tensor, carry: Carry) -> Tensor:
    """Every gap of x (b, t, n, d) from the side that has two given frames; from both,
    passing over smoothly, where both have.
    """
    out = x.clone()
    for first, last in gaps(given):
        before, after = run_of(given, first - 1, -1), run_of(given, last + 1, +1)
        length = last - first + 1
        share = torch.linspace(0, 1, length + 2, dtype=x.dtype, device=x.device)[1:-1, None, None]
        forward = carry(out[:, before], length) if _moves(before) else None
        backward = carry(out[:, after].flip(1), length).flip(1) if _moves(after) else None
        if forward is not None and backward is not None:
            share = share * share * (3 - 2 * share)
            made = (1 - share) * forward + share * backward
        elif forward is not None:
            made = forward
        elif backward is not None:
            made = backward
        else:  # single frames: a straight line
            places = [*([before.stop - 1] if before else []), *([after.start] if after else [])]
            made = out[:, places[:1]] * (1 - share) + out[:, places[-1:]] * share
        out[:, first : last + 1] = made
    return out


def _moves(run: slice | None) -> bool:
    """Whether a run of given frames tells of velocities."""
    return run is not None and run.stop - run.start > 1
