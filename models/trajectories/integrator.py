"""The learned integrator: what the given frames say about positions and velocities, carried on by a learned force.

State: positions at a frame and the velocity of the half step before it (leapfrog). All of it is linear in positions except the
force, which is equivariant, so that a rotated, shifted, boosted or relabelled trajectory gives the rotated, ... continuation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Force = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Clock:
    """Sub-steps of a frame: `count` of length `step`."""

    spacing: float
    longest_step: float

    @property
    def count(self) -> int:
        return max(1, int(-(-self.spacing // self.longest_step)))

    @property
    def step(self) -> float:
        return self.spacing / self.count


@dataclass
class Bath:
    """Langevin thermostat: friction per time, kT over mass (b, n), and the noise of a sub-step; none at friction 0."""

    friction: float
    kT_over_mass: Tensor

    def kick(self, v: Tensor, step: float, normal: Tensor | None, weight: Tensor) -> Tensor:
        """Velocities after a sub-step's friction and noise, both relative to the centre of mass, whose velocity stays.

        normal (b, n, d) are standard normal numbers, None for the mean path; weight (b, n) are the shares of the mass, summing to 1.
        """
        decay = torch.exp(torch.tensor(-self.friction * step, dtype=v.dtype))
        drift = (v * weight[..., None]).sum(1, keepdim=True)
        v = drift + decay * (v - drift)
        if normal is not None:
            noise = normal * ((1 - decay**2) * self.kT_over_mass)[..., None].sqrt()
            v = v + noise - (noise * weight[..., None]).sum(1, keepdim=True)
        return v


def advance(
    force: Force, x: Tensor, v: Tensor, clock: Clock, bath: Bath | None = None, weight: Tensor | None = None, normals: Iterator[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Positions and velocities one frame later: `clock.count` times v += h a(x), bath, x += h v."""
    for _ in range(clock.count):
        v = v + clock.step * force(x, clock.step)
        if bath is not None and weight is not None:
            v = bath.kick(v, clock.step, None if normals is None else next(normals), weight)
        x = x + clock.step * v
    return x, v


def shoot(force: Force, before: Tensor, last: Tensor, clock: Clock, rounds: int = 6) -> tuple[Tensor, Tensor]:
    """The velocity at `last` of the path from `before` that meets it one frame later.

    Each round adds the miss over the time to the first velocity (the exact answer for a free particle, a contraction while
    forces change little within a frame); of all rounds each system keeps the one with the least miss.

    Returns
    -------
    velocity (b, n, d), and the miss (b,) that was left: its largest component.
    """
    first = (last - before) / clock.spacing - 0.5 * (clock.spacing + clock.step) * force(before, clock.step)
    best, least = torch.zeros_like(first), torch.full((len(first),), torch.inf, dtype=first.dtype)
    for _ in range(rounds):
        x, v = advance(force, before, first, clock)
        miss = last - x
        size = miss.abs().amax((1, 2))
        better = size < least
        best = torch.where(better[:, None, None], v, best)
        least = torch.where(better, size, least)
        first = first + miss / clock.spacing
    return best, least
