"""Charged particles, springs and gravity: the simulations of arXiv:2410.13027, data,
all trajectories at once.

Lengths, times and masses have no unit. Every trajectory draws from its own random
stream, so trajectory k is the same however many are made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, UnknownNameError
from equidrift.seeds import sample_rng

SYSTEMS = ("charged", "spring", "gravity")
FIELD = "charged-field"  # charges in a uniform field, which is told as a global vector
STEP, STEPS_PER_FRAME = 0.001, 100
FRAMES = 30  # of a trajectory, in the published protocol
SPACING = STEP * STEPS_PER_FRAME  # time between frames
SPEED, MAX_FORCE, SPRING_STRENGTH, SOFTENING = 0.5, 100.0, 0.1, 0.1
# of the field: accelerations of unit charges, and the distance below which they hardly repel
FIELD_STRENGTH, FIELD_SOFTENING = 0.5, 0.5
# Which trajectories belong to which part: indices into the endless sequence of a system
# (seed 43 as in the published code).
PARTS = {"train": (0, 3000), "val": (3000, 5000), "test": (5000, 7000)}


@dataclass(frozen=True)
class NBody:
    """Trajectories of one system: positions (k, frames, n, 3), node features (k, n, 1),
    edge features (k, n, n, 1), global vectors (k, 1, 3) of a system in a field.
    """

    positions: NDArray[np.float64]
    nodes: NDArray[np.float64]
    edges: NDArray[np.float64]
    vectors: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.positions)


def simulate(system: str, start: int, stop: int, *, frames: int = FRAMES, seed: int = 43) -> NBody:
    """Trajectories `start` to `stop`-1 of a system.

    Parameters
    ----------
    system : one of `SYSTEMS`. Charged: 5 particles, charges +-1, node feature charge,
        edge feature product of charges. Spring: 5 particles, a spring between two with
        probability 1/2, edge feature spring. Gravity: 10 unit masses. Or "charged-field":
        charges as above, softened, in a uniform field of a direction of its own in each
        trajectory.
    frames : frames kept, 0.1 apart; the first one is 0.1 (gravity: 0) after the random
        start.

    Raises
    ------
    UnknownNameError
        for another system; InputError for an empty range.
    """
    if system not in (*SYSTEMS, FIELD):
        raise UnknownNameError("N-body system", system, (*SYSTEMS, FIELD))
    if not 0 <= start < stop or frames < 1:
        raise InputError(
            f"start, stop and frames must be a range of trajectories and a number of frames, "
            f"got {start}, {stop}, {frames}"
        )
    streams = [sample_rng((seed << 32) + k) for k in range(start, stop)]
    draws = [_start(system, rng) for rng in streams]
    x, v, nodes, edges = (np.stack(parts) for parts in zip(*draws, strict=True))
    motion, axes = _Motion(system, x, v, edges), None
    if system == FIELD:
        axes = np.stack([_direction(rng) for rng in streams])[:, None]
        motion.pull = FIELD_STRENGTH * nodes * axes
    run = _leapfrog if system == "gravity" else _euler
    return NBody(run(motion, frames), nodes, edges, axes)


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    """A direction (3,), all alike."""
    drawn = rng.standard_normal(3)
    found: NDArray[np.float64] = drawn / np.linalg.norm(drawn)
    return found


def part(system: str, name: str, limit: int | None = None) -> NBody:
    """The 'train', 'val' or 'test' trajectories of a system, the first `limit` of them."""
    start, stop = PARTS[name]
    return simulate(system, start, stop if limit is None else min(stop, start + limit))


def _start(system: str, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """Positions, velocities, node and edge features of one trajectory."""
    if system == "gravity":
        x, v = rng.standard_normal((10, 3)), rng.standard_normal((10, 3))
        return x, v - v.mean(0), np.ones((10, 1)), np.ones((10, 10, 1)) - np.eye(10)[..., None]
    x, v = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    v *= SPEED / np.linalg.norm(v, axis=-1, keepdims=True)
    if system in ("charged", FIELD):
        charge = rng.choice([-1.0, 1.0], size=(5, 1))
        return x, v, charge, (charge * charge.T)[..., None]
    upper = np.triu(rng.integers(0, 2, (5, 5)), 1)
    return 0.5 * x, v, np.ones((5, 1)), (upper + upper.T).astype(float)[..., None]


def force(system: str, x: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Forces (k, n, 3) at positions (k, n, 3)."""
    r = x[:, :, None] - x[:, None]  # from j to i
    if system == "spring":
        return -SPRING_STRENGTH * (edges * r).sum(2)
    square = (r * r).sum(-1)
    if system == "gravity":
        return -(r * ((square + SOFTENING**2) ** -1.5)[..., None]).sum(2)
    if system == FIELD:
        soft: NDArray[np.float64] = (
            edges * r * ((square + FIELD_SOFTENING**2) ** -1.5)[..., None]
        ).sum(2)
        return soft
    square[:, np.arange(x.shape[1]), np.arange(x.shape[1])] = np.inf
    total: NDArray[np.float64] = (edges * r * (square**-1.5)[..., None]).sum(2)
    return np.clip(total, -MAX_FORCE, MAX_FORCE)


@dataclass
class _Motion:
    """Positions and velocities (k, n, 3) of systems under way."""

    system: str
    x: NDArray[np.float64]
    v: NDArray[np.float64]
    edges: NDArray[np.float64]
    pull: NDArray[np.float64] | float = 0.0  # of a field, on each node

    def force(self) -> NDArray[np.float64]:
        """The force where the nodes are."""
        return force(self.system, self.x, self.edges) + self.pull

    def record(self, frames: int) -> NDArray[np.float64]:
        """Room for frames (k, frames, n, 3)."""
        return np.zeros((len(self.x), frames, *self.x.shape[1:]))


def _euler(motion: _Motion, frames: int) -> NDArray[np.float64]:
    """Semi-implicit Euler, after a first kick; the frame at time 0 is not kept."""
    out = motion.record(frames)
    motion.v = motion.v + STEP * motion.force()
    for frame in range(frames):
        for _ in range(STEPS_PER_FRAME):
            motion.x = motion.x + STEP * motion.v
            motion.v = motion.v + STEP * motion.force()
        out[:, frame] = motion.x
    return out


def _leapfrog(motion: _Motion, frames: int) -> NDArray[np.float64]:
    """Kick, drift, kick; the frame at time 0 is the first."""
    out, a = motion.record(frames), motion.force()
    for frame in range(frames):
        out[:, frame] = motion.x
        for _ in range(STEPS_PER_FRAME if frame + 1 < frames else 0):
            motion.v = motion.v + 0.5 * STEP * a
            motion.x = motion.x + STEP * motion.v
            a = motion.force()
            motion.v = motion.v + 0.5 * STEP * a
    return out
