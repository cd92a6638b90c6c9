"""Train a trunk to move nodes, for a given CPU time; and measure it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.shared.backbones.choice import make_trunk
from equidrift.models.shared.backbones.ponita import PonitaNetwork
from equidrift.models.shared.backbones.symmetry import random_rotations
from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Inputs, Sizes, Trunk
from equidrift.models.shared.run import own_random_state

BATCH = 100  # as in the N-body protocol of EGNN, SEGNN and PONITA
RATE = 3e-3  # Adam's at first; it falls to 0 as a cosine of the time spent
CLIP = 0.5  # norm of a step's gradient
AT_ONCE = 250  # systems of a call where no gradient is kept


@dataclass(frozen=True)
class Moves:
    """Systems, and where their nodes went.

    Parameters
    ----------
    positions, velocities, later : Tensor
        (k, n, 3): now, and positions some time later.
    scalars : Tensor
        Of nodes, (k, n, s).
    edges : Tensor
        Features of pairs, (k, n, n, e).
    """

    positions: Tensor
    velocities: Tensor
    later: Tensor
    scalars: Tensor
    edges: Tensor

    @classmethod
    def from_arrays(cls, *arrays: NDArray[np.float64], device: str = "cpu") -> Moves:
        """From arrays, in the order of the fields."""
        return cls(*(torch.as_tensor(a, dtype=torch.float32, device=device) for a in arrays))

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, pick: Tensor | slice) -> Moves:
        return Moves(*(part[pick] for part in vars(self).values()))

    def given(self) -> Inputs:
        """What a trunk takes of them."""
        k, n = self.positions.shape[:2]
        nodes = torch.ones(k, n, dtype=torch.bool, device=self.positions.device)
        features = Features(self.scalars, self.velocities[..., None])
        edges = Edges.complete(nodes, self.edges)
        return Inputs(features, self.positions, edges, Globals.none(self.positions))

    def turned(self, turns: Tensor) -> Moves:
        """Every system turned by a rotation of its own, (k, 3, 3)."""
        x, v, later = (part @ turns.mT for part in (self.positions, self.velocities, self.later))
        return Moves(x, v, later, self.scalars, self.edges)

    def sizes(self, width: int, layers: int) -> Sizes:
        """Those of a trunk for them, with one vector and no use for scalars."""
        s, e = self.scalars.shape[-1], self.edges.shape[-1]
        return Sizes(s, 1, e, out_scalars=1, out_vectors=1, width=width, layers=layers)


@dataclass(frozen=True)
class Spent:
    """What a training took: steps, and seconds of CPU."""

    steps: int
    cpu_s: float


def moved(trunk: Trunk, moves: Moves) -> Tensor:
    """Where the nodes go, (k, n, 3): a trunk's first vector is the displacement."""
    return moves.positions + trunk(*moves.given()).vectors[..., 0]


def fit(
    name: str, moves: Moves, budget_s: float, *, width: int, layers: int, seed: int = 0
) -> tuple[Trunk, Spent]:
    """Train a trunk of that name on `moves` for a time.

    Parameters
    ----------
    name : str
        As of `choice.make_trunk`.
    moves : Moves
        To learn from.
    budget_s : float
        Seconds of CPU time.
    width, layers : int
        Sizes of the trunk.
    seed : int, optional
        Of its weights and of the batches.

    Returns
    -------
    tuple[Trunk, Spent]
        In evaluation mode.
    """
    with own_random_state(seed):
        trunk = make_trunk(name, moves.sizes(width, layers)).to(moves.positions.device)
    if isinstance(trunk, PonitaNetwork):
        trunk.calibrate(moves[:BATCH].given())

    def loss(rows: Tensor) -> Tensor:
        batch = moves[rows]
        return (moved(trunk, batch) - batch.later).square().mean()

    spent = descend(trunk, len(moves), loss, budget_s, BATCH, seed)
    return trunk.eval(), spent


def descend(
    trunk: Trunk,
    count: int,
    loss: Callable[[Tensor], Tensor],
    budget_s: float,
    batch: int,
    seed: int,
) -> Spent:
    """Adam for `budget_s` seconds of CPU on the loss of random rows (batch,) of `count`."""
    draw = torch.Generator(device="cpu").manual_seed(seed)
    optimiser = torch.optim.Adam(trunk.parameters(), RATE)
    begun, steps, spent = time.process_time(), 0, 0.0
    while spent < budget_s:
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * spent / budget_s))
        value = loss(torch.randint(0, count, (batch,), generator=draw, device="cpu"))
        optimiser.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(trunk.parameters(), CLIP)
        optimiser.step()
        steps, spent = steps + 1, time.process_time() - begun
    return Spent(steps, spent)


@torch.no_grad()
def square_errors(trunk: Trunk, moves: Moves) -> Tensor:
    """Mean square error (k,) of each system's coordinates."""
    errors = []
    for start in range(0, len(moves), AT_ONCE):
        some = moves[slice(start, start + AT_ONCE)]
        errors.append((moved(trunk, some) - some.later).square().mean((1, 2)))
    return torch.cat(errors)


@torch.no_grad()
def equivariance_error(trunk: Trunk, moves: Moves, seed: int = 1) -> Tensor:
    """Root mean square change (k,) of the answer where the question is turned, relative
    to the root mean square displacement of all.
    """
    turns = random_rotations(len(moves), seed).to(moves.positions)
    answer = moved(trunk, moves)
    change = moved(trunk, moves.turned(turns)) - answer @ turns.mT
    size = (answer - moves.positions).square().mean().sqrt()
    return change.square().mean((1, 2)).sqrt() / size


def parameters(trunk: Trunk) -> int:
    """Numbers a trunk learns."""
    return sum(p.numel() for p in trunk.parameters())


def call_ms(trunk: Trunk, moves: Moves, calls: int = 5) -> float:
    """Milliseconds of CPU of a call on `BATCH` systems with its gradient."""
    some = moves[:BATCH]
    spent = []
    for _ in range(calls):
        begun = time.process_time()
        (moved(trunk, some) - some.later).square().mean().backward()
        spent.append(time.process_time() - begun)
    return 1000 * sorted(spent)[calls // 2]
