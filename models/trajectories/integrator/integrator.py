"""The learned integrator: what the given frames say about positions and velocities,
carried on by a learned force.

State: positions at a frame and the velocity of the half step before it (leapfrog). All
of it is linear in positions except the force, which is equivariant, so that a rotated,
shifted, boosted or relabelled trajectory gives the rotated, ... continuation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.shared.layers import LogRadialBasis
from equidrift.models.trajectories.integrator.field import FieldConfig, LearnedField
from equidrift.models.trajectories.integrator.network import (
    ForceConfig,
    Graph,
    Prepared,
    make_force,
    pair_vectors,
    silence,
)
from equidrift.models.trajectories.integrator.skeleton import skeleton_of
from equidrift.models.trajectories.integrator.valence import (
    colours,
    coordinates,
    fitted,
    is_covered,
)

Force = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Clock:
    """Sub-steps of a frame: `count` of length `step`.

    `fastest`: no node goes faster, against the mean of all.
    """

    spacing: float
    longest_step: float
    fastest: float | None = None

    @property
    def count(self) -> int:
        """Sub-steps of a frame."""
        return max(1, math.ceil(self.spacing / self.longest_step - 1e-6))

    @property
    def step(self) -> float:
        """Length of a sub-step."""
        return self.spacing / self.count


@dataclass
class Bath:
    """Langevin thermostat; there is no noise at friction 0.

    Parameters
    ----------
    friction : float
        Per time.
    kT_over_mass : Tensor
        Of each node, (b, n).
    weight : Tensor
        The nodes' shares of the mass, (b, n), summing to 1.
    normals : iterator of Tensor, or None
        Standard normal numbers (b, n, d) of each sub-step; None for the mean path.
    """

    friction: float
    kT_over_mass: Tensor
    weight: Tensor
    normals: Iterator[Tensor] | None = None

    def kick(self, v: Tensor, step: float) -> Tensor:
        """Velocities after a sub-step's friction and noise, both relative to the centre
        of mass, whose velocity stays.
        """
        decay, weight = math.exp(-self.friction * step), self.weight
        drift = (v * weight[..., None]).sum(1, keepdim=True)
        v = drift + decay * (v - drift)
        if self.normals is not None:
            noise = next(self.normals) * (self.kT_over_mass * (1 - decay**2))[..., None].sqrt()
            v = v + noise - (noise * weight[..., None]).sum(1, keepdim=True)
        return drift + bounded(v - drift, self.kT_over_mass)


def bounded(v: Tensor, kT_over_mass: Tensor) -> Tensor:
    """Velocities relative to the centre of mass, none above 8 thermal deviations: what
    no real trajectory has cannot run away.
    """
    most = 8.0 * kT_over_mass.sqrt()[..., None]
    return v * (most / v.norm(dim=-1, keepdim=True).clamp_min(1e-300)).clamp_max(1.0)


def advance(
    force: Force, x: Tensor, v: Tensor, clock: Clock, bath: Bath | None = None
) -> tuple[Tensor, Tensor]:
    """Positions and velocities one frame later: `clock.count` times v += h a(x), bath,
    x += h v.
    """
    for _ in range(clock.count):
        v = v + clock.step * force(x, clock.step)
        if clock.fastest is not None:
            mean = v.mean(1, keepdim=True)
            v = mean + (v - mean) * (
                clock.fastest / (v - mean).norm(dim=-1, keepdim=True).clamp_min(1e-300)
            ).clamp_max(1.0)
        if bath is not None:
            v = bath.kick(v, clock.step)
        x = x + clock.step * v
    return x, v


def shoot(
    force: Force, pair: Tensor, clock: Clock, rounds: int = 6, first: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The velocity at the second of two frames of the path that meets it from the first.

    Each round adds the miss over the time to the first velocity (the exact answer for a
    free particle, a contraction while forces change little within a frame); of all
    rounds each system keeps the one with the least miss.

    Parameters
    ----------
    force : callable
        Accelerations (b, n, d) at positions, and a sub-step's length.
    pair : Tensor, shape (b, 2, n, d)
        Two frames in a row.
    clock : Clock
        Their spacing and its sub-steps.
    rounds : int, optional
        Paths that are tried.
    first : Tensor, shape (b, n, d), optional
        A velocity to begin with.

    Returns
    -------
    velocity (b, n, d), and the miss (b,) that was left: its largest component.
    """
    before, last = pair.unbind(1)
    if first is None:
        first = (last - before) / clock.spacing - 0.5 * (clock.spacing + clock.step) * force(
            before, clock.step
        )
    best, least = torch.zeros_like(first), first.new_full((len(first),), torch.inf)
    for _ in range(rounds):
        x, v = advance(force, before, first, clock)
        miss = last - x
        size = miss.abs().amax((1, 2))
        better = size < least
        best = torch.where(better[:, None, None], v, best)
        least = torch.where(better, size, least)
        first = first + miss / clock.spacing
    return best, least


class Observer(nn.Module):
    """Learned gains: by how much the miss of a predicted frame corrects the velocity
    (an equivariant state estimate).

    At 5 fs a C-H stretch is almost half a period between frames, and finite differences
    say little about its velocity. The filter predicts each given frame from the one
    before it; the miss e corrects v_i by k_i e_i and, pair by pair, by (a_ij + b_ij u
    u^T) (e_i - e_j), all over the spacing. Misses do not change under a boost, so
    neither do the gains' effects.
    """

    def __init__(self, width: int, pair_width: int, radial: LogRadialBasis):
        super().__init__()
        self.radial = radial
        self.distance, self.clock = (
            nn.Linear(len(radial.centres), pair_width),
            nn.Linear(3, pair_width),
        )
        self.pair = nn.Sequential(
            nn.SiLU(), nn.Linear(pair_width, pair_width), nn.SiLU(), nn.Linear(pair_width, 2)
        )
        self.own = nn.Sequential(nn.Linear(width + 3, width), nn.SiLU(), nn.Linear(width, 1))
        silence(self.pair, self.own)
        last = self.own[-1]
        if isinstance(last, nn.Linear):
            nn.init.constant_(last.bias, 0.5)

    def forward(
        self, prepared: Prepared, x: Tensor, miss: Tensor, spacing: float, seen: int
    ) -> Tensor:
        """The correction (b, n, d) of the velocities at x; spacing in fs, `seen` frames
        before this one.
        """
        unit, d = pair_vectors(x)
        clock = torch.tensor(
            [spacing / 5.0, (spacing / 5.0) ** 2 / 4, 1.0 / (1 + seen)],
            dtype=prepared.h.dtype,
            device=x.device,
        )
        p = prepared.p + self.distance(self.radial(d.to(prepared.h.dtype))) + self.clock(clock)
        gain = self.pair(p)
        gain = (gain + gain.transpose(1, 2)).to(x.dtype) * prepared.pair_mask[..., None]
        own = self.own(torch.cat([prepared.h, clock.expand(*prepared.h.shape[:2], 3)], -1)).to(
            x.dtype
        )
        difference = miss[:, :, None] - miss[:, None]
        along = (difference * unit).sum(-1, keepdim=True) * unit
        return (own * miss + (gain[..., :1] * difference + gain[..., 1:] * along).sum(2)) / spacing


@dataclass(frozen=True)
class IntegratorConfig:
    """The force's sizes, the longest sub-step, and whether velocities come from an
    observer (else by shooting at the last frame).

    field : a learned force field for molecules that the force has not seen; table :
        coefficients of force fields that were fitted to
    single molecules. `Integrator.classical` takes the best there is. fastest : the
    bound on speeds.
    """

    force: ForceConfig
    longest_step: float
    observer: bool = False
    field: FieldConfig | None = None
    table: int = 0
    fastest: float | None = None


class Integrator(nn.Module):
    """A learned force and the gains of the observer that finds the velocities."""

    def __init__(self, config: IntegratorConfig):
        super().__init__()
        self.config = config
        self.force = make_force(config.force)
        f = config.force
        self.field = LearnedField(config.field) if config.field is not None else None
        self.keys: Tensor
        self.coefficients: Tensor
        self.register_buffer(
            "keys", torch.zeros(config.table, dtype=torch.int64), persistent=config.table > 0
        )
        self.register_buffer("coefficients", torch.zeros(config.table), persistent=config.table > 0)
        self.observer = (
            Observer(f.width, f.pair_width, LogRadialBasis(f.radial, f.shortest, f.longest))
            if config.observer
            else None
        )

    def clock(self, spacing: float) -> Clock:
        """The sub-steps of frames `spacing` apart."""
        return Clock(spacing, self.config.longest_step, self.config.fastest)

    def bound(self, graph: Graph) -> tuple[Prepared, Force]:
        """The embedded graphs, and the network's force as a function of positions and
        step.
        """
        prepared = self.force.prepare(graph)
        return prepared, lambda x, step: self.force(prepared, x, step)

    @torch.no_grad()
    def classical(self, graph: Graph, known: bool) -> Force | None:
        """The force field fitted to the molecule whose copies the graphs are, else the
        learned one, else None: then take `bound`'s.

        known : whether the network was trained on this very molecule; it is then better
            than the learned field.
        """
        terms = skeleton_of(graph[:1])
        if len(self.keys):
            colour = colours(graph.node[0].cpu().numpy(), graph.edge[0].cpu().numpy())
            table = dict(zip(self.keys.tolist(), self.coefficients.tolist(), strict=True))
            if is_covered(terms, colour, table):
                own = fitted(coordinates(terms, colour), table)
                return lambda x, _step: own.accelerations(x)
        if self.field is None or known:
            return None
        field, constants = self.field, self.field.constants(terms)
        return lambda x, _step: field.accelerations(constants, x)

    def observed(
        self, prepared: Prepared, force: Force, frames: Tensor, spacing: float
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(k, velocity before the correction at frame k, correction) of the frames (b,
        t, n, d) after the first; gradients in the last.
        """
        if self.observer is None:
            raise InputError("this integrator has no observer; its config says observer: false")
        v, clock = (frames[:, 1] - frames[:, 0]) / spacing, self.clock(spacing)
        for k in range(1, frames.shape[1]):
            with torch.no_grad():
                x, v = advance(force, frames[:, k - 1], v, clock)
            change = self.observer(prepared, frames[:, k], frames[:, k] - x, spacing, k)
            yield k, v, change
            v = (v + change).detach()

    @torch.no_grad()
    def velocities(
        self, prepared: Prepared, force: Force, frames: Tensor, spacing: float
    ) -> Tensor:
        """Velocities (b, n, d) at the last of the frames (b, t, n, d), t >= 2: the half
        step before it.
        """
        if self.observer is None:
            return shoot(force, frames[:, -2:], self.clock(spacing))[0]
        v = torch.zeros_like(frames[:, 0])
        for _, before, change in self.observed(prepared, force, frames, spacing):
            v = before + change
        return v
