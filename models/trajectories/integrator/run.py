"""Chained windows of the integrator, guarded against broken geometry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.shared.layers import pairs_of
from equidrift.models.shared.newton import newton_step
from equidrift.models.trajectories.graphs import linked
from equidrift.models.trajectories.integrator.integrator import Bath, Integrator, advance
from equidrift.models.trajectories.integrator.network import Graph, pair_vectors
from equidrift.models.trajectories.windows import CONTEXT
from equidrift.records import Molecule
from equidrift.seeds import sample_rng
from equidrift.units import BOLTZMANN_AMU_A2_PER_FS2_K

if TYPE_CHECKING:
    from equidrift.models.trajectories.integrator.sampler import IntegratorModel
# frames further apart say nothing of velocities: fast vibrations have turned over, and
# thermal ones are drawn
OBSERVABLE_FS = 15.0
SETTLED = 4  # frames before the observer's velocities tell a temperature
# degrees of freedom that the training's temperature counts for, against the measured one
PRIOR_WORTH = 40.0
BOND_STIFFNESS, ANGLE_STIFFNESS = 1.0, 0.15  # amu/fs^2, of the guard
BOND_FREE_A, ANGLE_FREE_A = 0.12, 0.3  # how far bonds and 1-3 distances may go unhindered
CONTACT_A = 1.7  # how near other pairs come unhindered


class Guard:
    """Flat-bottomed springs that ordinary motion never feels: bonds, 1-3 distances and
    contacts far from what the given frames show.

    A learned force knows nothing of geometries that were never seen, and a long run
    meets one at last; this leads back. The forces act along pairs, both ways alike, so
    that no symmetry is lost.
    """

    def __init__(self, graph: Graph, known: Tensor):
        self.mean = pair_vectors(known.flatten(0, 1))[1].unflatten(0, known.shape[:2]).mean(1)
        near, angles = linked(graph, 1).to(known.dtype), linked(graph, 2).to(known.dtype)
        apart = pairs_of(graph.mask)
        self.stiffness = BOND_STIFFNESS * near + ANGLE_STIFFNESS * (angles - near)
        self.free = BOND_FREE_A * near + ANGLE_FREE_A * (angles - near)
        self.other = apart.to(known.dtype) - angles
        self.least = torch.minimum(0.9 * self.mean, torch.full_like(self.mean, CONTACT_A))
        self.inverse_mass = 1.0 / graph.mass

    def __call__(self, x: Tensor) -> Tensor:
        """Accelerations (b, n, 3) at x (b, n, 3)."""
        unit, d = pair_vectors(x)
        off = d - self.mean
        pull = -self.stiffness * off.sign() * (off.abs() - self.free).clamp_min(0.0)
        push = ANGLE_STIFFNESS * self.other * (self.least - d).clamp_min(0.0)
        return ((pull + push)[..., None] * unit).sum(2) * self.inverse_mass[..., None]


class IntegratorRun:
    """One batch of samples of one molecule under way: force, thermostat and random
    streams.
    """

    def __init__(
        self,
        model: IntegratorModel,
        graph: Graph,
        molecule: Molecule,
        spacing_fs: float,
        seeds: NDArray[np.int64],
    ):
        network = cast(Integrator, model.network)
        self.model, self.network, self.graph, self.spacing = model, network, graph, spacing_fs
        with torch.no_grad():
            self.prepared, self.force = self.network.bound(graph)
        level, field = model.field_of(molecule)
        self.bare, self.force = field is None, field or self.force
        training = model.training
        # of the level, where the card tells it
        expected = training.get("temperatures_K", {}).get(level, training["temperature_K"])
        self.usual_K = float(expected if model.temperature_K is None else model.temperature_K)
        self.clock = self.network.clock(spacing_fs)
        self.streams = [sample_rng(int(seed)) for seed in seeds]
        self.weight = graph.mass / graph.mass.sum(1, keepdim=True)

    def normals(self) -> Iterator[Tensor]:
        """Standard normal numbers (b, n, 3) of one sub-step after the other, each
        sample's from its own stream.
        """
        shape = (self.graph.mass.shape[1], 3)
        while True:
            block = np.stack(
                [rng.standard_normal((min(self.clock.count, 100), *shape)) for rng in self.streams],
                1,
            )
            for numbers in torch.from_numpy(block):
                yield numbers.to(self.graph.mass.device) * self.model.noise

    def bath(self, temperature_K: Tensor) -> Bath:
        """The thermostat at temperatures (b,); its noise begins anew."""
        return Bath(
            self.model.friction_per_fs,
            BOLTZMANN_AMU_A2_PER_FS2_K * temperature_K[:, None] / self.graph.mass,
            self.weight,
            self.normals() if self.model.noise else None,
        )

    @torch.no_grad()
    def carry(self, given: Tensor, frames: int, direction: int) -> Tensor:
        """`frames` new frames (b, frames, n, 3) after (direction 0) or, in order
        outwards, before (1) a run of given ones.
        """
        known = given.flip(1) if direction else given
        velocity, temperature = self.state(known[:, -CONTEXT:])
        force = self.force
        if self.bare:  # a force field holds a molecule together by itself
            guard = Guard(self.graph, known[:, -CONTEXT:])

            def force(x: Tensor, step: float) -> Tensor:
                return self.force(x, step) + guard(x)

        bath = self.bath(temperature)
        x, out = known[:, -1], []
        v = velocity
        for _ in range(frames):
            x, v = advance(force, x, v, self.clock, bath)
            out.append(x)
        return torch.stack(out, 1)

    def state(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities (b, n, 3) at the last of the known frames (b, t, n, 3), and
        temperatures (b,).
        """
        usual_K = torch.full((len(known),), self.usual_K, dtype=known.dtype, device=known.device)
        if known.shape[1] == 1 or self.spacing > OBSERVABLE_FS:
            return self._thermal(known, usual_K), usual_K
        v, temperature = self._observed(known, usual_K)
        drift = self._drift(v)
        most = 4.0 * self.bath(usual_K).kT_over_mass.sqrt()[..., None]
        return drift + bounded_move(v - drift, most), temperature

    def _drift(self, v: Tensor) -> Tensor:
        """The velocity (b, 1, 3) of the centre of mass."""
        return (v * self.weight[..., None]).sum(1, keepdim=True)

    def _thermal(self, known: Tensor, temperature_K: Tensor) -> Tensor:
        """Velocities (b, n, 3) of frames that tell of none but the molecule's own."""
        numbers = next(self.normals()) * self.bath(temperature_K).kT_over_mass[..., None].sqrt()
        centre = (known * self.weight[:, None, :, None]).sum(2, keepdim=True)
        drift = (centre[:, -1] - centre[:, -2]) / self.spacing if known.shape[1] > 1 else 0.0
        return numbers - self._drift(numbers) + drift

    def _observed(self, known: Tensor, usual_K: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities (b, n, 3) that the observer finds, and temperatures (b,): measured,
        drawn towards the training's where few atoms say little.
        """
        mass, heat, v = self.graph.mass, [], torch.zeros_like(known[:, 0])
        # between frames 5 fs apart, hydrogens hide how fast they are
        heavy = (mass > 2.0).to(known.dtype)
        freedoms = (3 * heavy.sum(1)).clamp_min(1)
        for k, before, change in self.network.observed(
            self.prepared, self.force, known, self.spacing
        ):
            v = before + change
            if k >= SETTLED:
                own = (v - self._drift(v)).square()
                heat.append((mass[..., None] * own * heavy[..., None]).sum((1, 2)) / freedoms)
        if len(heat) < 2 or self.model.temperature_K is not None:
            return v, usual_K
        measured = (torch.stack(heat).mean(0) / BOLTZMANN_AMU_A2_PER_FS2_K).clamp(
            0.5 * self.usual_K, 1.5 * self.usual_K
        )
        worth = 1.5 * heavy.sum(1) * len(heat)
        return v, (worth * measured + PRIOR_WORTH * usual_K) / (worth + PRIOR_WORTH)

    @torch.no_grad()
    def refined(self, x: Tensor, level: float) -> Tensor:
        """Frames (b, t, n, 3), each noised by 0.1 A times `level` and relaxed along the
        learned force for 20 times `level` steps.
        """
        t = x.shape[1]
        step = self.network.config.longest_step
        normals = self.normals()
        out = x.clone()
        for k in range(t):
            y = x[:, k] + 0.1 * level * next(normals)
            v = torch.zeros_like(y)
            for _ in range(max(1, round(20 * level))):
                v = 0.5 * (v + step * self.force(y, step))  # heavily damped: downhill
                y = y + step * bounded_move(v, 0.05)
            out[:, k] = y
        return out


def bounded_move(v: Tensor, most: float | Tensor) -> Tensor:
    """v (b, n, 3) with no vector longer than `most`, of which there may be one each."""
    return v * (most / v.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)


def blended(graph: Graph, forward: Tensor, backward: Tensor) -> Tensor:
    """A path from one side of a gap to the other: positions pass over smoothly, and
    distances over up to three bonds with them.

    Where the two runs differ, a mean of positions would shorten bonds; a few Newton
    steps (arXiv:2403.01430) put them right.
    """
    g = forward.shape[1]
    s = torch.linspace(0, 1, g + 2, dtype=forward.dtype, device=forward.device)[1:-1]
    share = (s * s * (3 - 2 * s))[None, :, None, None]
    mean = ((1 - share) * forward + share * backward).flatten(0, 1)
    apart = [(part[:, :, :, None] - part[:, :, None]).norm(dim=-1) for part in (forward, backward)]
    target = ((1 - share) * apart[0] + share * apart[1]).flatten(0, 1)
    near = linked(graph, 3).to(mean.dtype).repeat_interleave(g, 0)
    anchor = torch.full(mean.shape[:2], 0.02, dtype=mean.dtype, device=mean.device)
    x = mean
    for _ in range(3):
        x = newton_step(x, mean, target, near, anchor)
    return x.unflatten(0, (-1, g))
