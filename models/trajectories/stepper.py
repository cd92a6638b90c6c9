"""Few-step forecasters of plain arrays: one network call carries two frames to the next one.

`PairStepper`, ours: layers that kick and drift like an integrator with learned, whole-frame impulses. The impulse between two nodes
lies in the plane of their distance and of the displacement they had last, and is equal and opposite, so rotations, reflections,
translations and boosts pass through and momentum is kept. `EGNNStepper`: the E(n) graph network of Satorras et al. with velocities,
frame to frame, as the rival that GeoTDM's tables name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from equidrift.models.trajectories.egtn import EGTNConfig, SpatialLayer, mlp
from equidrift.models.trajectories.network import Graph, LogRadialBasis, silence


@dataclass(frozen=True)
class StepperConfig:
    """`layers` kicks and drifts a call; shortest, longest: distances between which the radial bases resolve."""

    node_features: int = 1
    edge_features: int = 1
    style: Literal["pair", "egnn"] = "pair"
    width: int = 48
    layers: int = 4
    radial: int = 16
    shortest: float = 0.05
    longest: float = 20.0


class PairKick(nn.Module):
    """What one layer adds to displacements and positions of the nodes, from every pair of them (computed once for i < j)."""

    def __init__(self, config: StepperConfig):
        super().__init__()
        p = config.width
        self.radial = LogRadialBasis(config.radial, config.shortest, config.longest)
        self.distance = nn.Linear(3 * config.radial, p)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(p, 2 * p), nn.SiLU(), nn.Linear(2 * p, p), nn.SiLU(), nn.Linear(p, 10))
        self.law = nn.Sequential(nn.SiLU(), nn.Linear(p, p), nn.SiLU(), nn.Linear(p, 10))
        silence(self.head, self.law)

    def forward(self, p: Tensor, r: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Pair features p (b, m, w), distances r and relative displacements u (b, m, d) -> kicks of displacement and of position."""
        ahead = r + u
        sizes = [(part.square().sum(-1) + 1e-6).sqrt() for part in (r, ahead, u)]
        basis = torch.cat([self.radial(size.to(p.dtype)) for size in sizes], -1)
        c = 0.1 * (self.head(p + self.distance(basis)) + self.law(p)).to(r.dtype)
        now, then = (
            ((c[..., k] + c[..., k + 1] * d + (c[..., k + 2] + c[..., k + 3] / d) / d) / d)[..., None] * line
            for k, d, line in ((0, sizes[0], r), (4, sizes[1], ahead))
        )
        return now + then, 10 * (c[..., 8:9] * now + c[..., 9:] * then)


class PairStepper(nn.Module):
    """Two frames in, the next one out; see the module."""

    def __init__(self, config: StepperConfig):
        super().__init__()
        self.config = config
        self.node, self.edge = nn.Linear(config.node_features, config.width), nn.Linear(config.edge_features, config.width)
        self.kicks = nn.ModuleList([PairKick(config) for _ in range(config.layers)])

    def prepare(self, graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
        """Features (b, pairs, w) and mask (b, pairs) of the pairs i < j, and inverse masses (b, n)."""
        n = graph.mask.shape[1]
        i, j = torch.triu_indices(n, n, 1, device=graph.mask.device)
        h = nn.functional.silu(self.node(graph.node))
        p = self.edge(graph.edge[:, i, j] + graph.edge[:, j, i]) + h[:, i] + h[:, j]
        inverse = torch.where(graph.mask, 1.0 / graph.mass, torch.zeros_like(graph.mass))
        return p, (graph.mask[:, i] & graph.mask[:, j]).to(h.dtype), inverse

    def forward(self, prepared: tuple[Tensor, Tensor, Tensor], before: Tensor, now: Tensor) -> Tensor:
        """The frame (b, n, d) after `now`, in its dtype."""
        p, mask, inverse = prepared
        n = now.shape[1]
        i, j = torch.triu_indices(n, n, 1, device=now.device)
        w, x, share = now - before, now, 1.0 / len(self.kicks)

        def spread(pair: Tensor) -> Tensor:
            pair = pair * mask[..., None].to(pair.dtype)
            return torch.zeros_like(now).index_add(1, i, pair).index_add(1, j, -pair) * inverse[..., None].to(now.dtype)

        for kick in self.kicks:
            push, shift = kick(p, x[:, i] - x[:, j], w[:, i] - w[:, j])
            w = w + spread(push)
            x = x + share * w + spread(shift)
        return x


class EGNNStepper(nn.Module):
    """Two frames in, the next one out, by equivariant graph convolutions and a learned share of the last displacement."""

    def __init__(self, config: StepperConfig):
        super().__init__()
        self.config = config
        sizes = EGTNConfig(config.node_features, config.edge_features, config.width, config.layers, scaled=True)
        self.embed, self.keep = nn.Linear(config.node_features + 1, config.width), mlp(config.width, config.width, 1)
        self.layers = nn.ModuleList([SpatialLayer(sizes) for _ in range(config.layers)])

    def prepare(self, graph: Graph) -> Graph:
        return graph

    def forward(self, graph: Graph, before: Tensor, now: Tensor) -> Tensor:
        """The frame (b, n, d) after `now`, in its dtype."""
        n = now.shape[1]
        centre = now.mean(1, keepdim=True)
        step, start = (now - before).float(), (now - centre).float()
        h = self.embed(torch.cat([graph.node, (step.square().sum(-1, keepdim=True) + 1e-12).sqrt()], -1))[:, None]
        both = graph.mask[:, :, None] & graph.mask[:, None] & ~torch.eye(n, dtype=torch.bool, device=now.device)
        edge, mask = graph.edge[:, None], both[:, None].float()
        x = start[:, None]
        for layer in self.layers:
            x, h = layer(x, h, edge, mask)
        change = step * (1 + self.keep(h[:, 0])) + x[:, 0] - start
        return now + change.to(now.dtype)


def make_stepper(config: StepperConfig) -> PairStepper | EGNNStepper:
    return PairStepper(config) if config.style == "pair" else EGNNStepper(config)


@dataclass
class Rolls:
    """Consecutive frames (b, 2 + k, n, d) in float64: two that are given, k to come."""

    graph: Graph
    frames: Tensor

    def __len__(self) -> int:
        return len(self.frames)


def step_loss(network: nn.Module, batch: Rolls) -> Tensor:
    """Logarithm of a robust error of each coming frame, relative to how far from a straight line the true one is.

    The logarithm keeps the few near-collisions from deciding, and asks the others to become ever more exact. An error in step one
    has grown with the square of the steps after it, so the tolerance does too.
    """
    stepper: Any = cast(Any, network)
    prepared = stepper.prepare(batch.graph)
    before, now = batch.frames[:, 0], batch.frames[:, 1]
    bend = (batch.frames[:, 2:] - 2 * batch.frames[:, 1:-1] + batch.frames[:, :-2]).norm(dim=-1)
    size = 0.02 * bend.median() + 0.02 * bend.amax(1)
    total = torch.zeros((), dtype=now.dtype)
    for k in range(batch.frames.shape[1] - 2):
        before, now = now, stepper(prepared, before, now)
        error = (now - batch.frames[:, 2 + k]).norm(dim=-1) / (size * (k + 1) * (k + 2) / 2)
        total = total + (error.square() + 1e-2).log().mean()
    return total / (batch.frames.shape[1] - 2)


@torch.no_grad()
def roll(network: PairStepper | EGNNStepper, graph: Graph, before: Tensor, now: Tensor, frames: int) -> Tensor:
    """The next `frames` frames (b, frames, n, d), one call each."""
    prepared: Any = network.prepare(graph)
    out = []
    for _ in range(frames):
        before, now = now, network(prepared, before, now)
        out.append(now)
    return torch.stack(out, 1)
