"""The E(n) graph network of Satorras et al. with velocities, frame to frame: the rival
of that name in GeoTDM's tables.

One call carries two frames to the next one; a forecast feeds on its own frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.choice import make_trunk
from equidrift.models.shared.backbones.egcl import SpatialLayer, mlp
from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Sizes, Trunk
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.layers import pairs_of
from equidrift.models.trajectories.integrator.network import Graph, GraphSizes

PUBLISHED = "egcl"


@dataclass(frozen=True)
class EGNNConfig(GraphSizes):
    """Sizes of an `EGNN`, and the trunk that makes its displacements.

    backbone : "egcl", the published layers, or another name of
        `models.shared.backbones.choice`, which takes nodes in three dimensions.
    comoving : works in the frame of reference of the mean of all nodes, so that a boosted
        input gives the boosted output; not as published.
    """

    layers: int = 4
    backbone: str = PUBLISHED
    comoving: bool = False


class EGNN(nn.Module):
    """Two frames in, the next one out, by equivariant graph convolutions and a learned
    share of the last displacement.
    """

    def __init__(self, config: EGNNConfig):
        super().__init__()
        self.config = config
        self.trunk: Trunk | None = None
        if config.backbone != PUBLISHED:
            sizes = Sizes(config.node_features, 1, config.edge_features)
            axes = config.global_vectors
            sizes = replace(sizes, width=config.width, layers=config.layers, global_vectors=axes)
            self.trunk = make_trunk(config.backbone, sizes)
            return
        self.embed, self.keep = (
            nn.Linear(config.node_features + 1, config.width),
            mlp(config.width, config.width, 1),
        )
        sizes_of_layer = config.width, config.edge_features, True, config.global_vectors
        self.layers = nn.ModuleList([SpatialLayer(*sizes_of_layer) for _ in range(config.layers)])

    def forward(self, graph: Graph, before: Tensor, now: Tensor) -> Tensor:
        """The frame (b, n, d) after `now`, in its dtype."""
        if self.config.comoving:
            share = graph.mask.to(now.dtype)[..., None]
            drift = ((now - before) * share).sum(1, keepdim=True) / share.sum(1, keepdim=True)
            return self._next(graph, before + drift, now) + drift
        return self._next(graph, before, now)

    def _next(self, graph: Graph, before: Tensor, now: Tensor) -> Tensor:
        """The next frame, in whatever frame of reference these two are in."""
        centre = now.mean(1, keepdim=True)
        step, start = (now - before).float(), (now - centre).float()
        axes = graph.axes(self.config.global_vectors)
        axes = None if axes is None else axes.to(start.dtype)
        if self.trunk is not None:
            return now + (step + by_trunk(self.trunk, graph, start, step, axes)).to(now.dtype)
        h = self.embed(
            torch.cat([graph.node, (step.square().sum(-1, keepdim=True) + 1e-12).sqrt()], -1)
        )[:, None]
        both = pairs_of(graph.mask)
        edge, mask = graph.edge[:, None], both[:, None].float()
        x = start[:, None]
        for layer in self.layers:
            x, h = layer(x, h, edge, mask, axes)
        change = step * (1 + self.keep(h[:, 0])) + x[:, 0] - start
        return now + change.to(now.dtype)


def by_trunk(
    trunk: Trunk, graph: Graph, start: Tensor, step: Tensor, axes: Tensor | None
) -> Tensor:
    """What a trunk adds to a straight line (b, n, 3): start and last step alike; axes:
    global vectors (b, g, 3).
    """
    features = Features(graph.node, step[..., None])
    edges = Edges.complete(graph.mask, graph.edge)
    known = Globals.none(start)
    if axes is not None:
        known = Globals(known.scalars, axes.mT)
    return trunk(features, start, edges, known).vectors[..., 0]


@dataclass
class Rolls(Batched):
    """Consecutive frames (b, 2 + k, n, d) in float64: two that are given, k to come."""

    graph: Graph
    frames: Tensor


def step_loss(network: nn.Module, batch: Rolls) -> Tensor:
    """Logarithm of a robust error of each coming frame, relative to how far from a
    straight line the true one is.

    The logarithm keeps the few near-collisions from deciding, and asks the others to
    become ever more exact. An error in step one has grown with the square of the steps
    after it, so the tolerance does too.
    """
    egnn = cast(EGNN, network)
    before, now = batch.frames[:, 0], batch.frames[:, 1]
    bend = (batch.frames[:, 2:] - 2 * batch.frames[:, 1:-1] + batch.frames[:, :-2]).norm(dim=-1)
    size = 0.02 * bend.median() + 0.02 * bend.amax(1)
    total = now.new_zeros(())
    for k in range(batch.frames.shape[1] - 2):
        before, now = now, egnn(batch.graph, before, now)
        error = (now - batch.frames[:, 2 + k]).norm(dim=-1) / (size * (k + 1) * (k + 2) / 2)
        total = total + (error.square() + 1e-2).log().mean()
    return total / (batch.frames.shape[1] - 2)


@torch.no_grad()
def roll(network: EGNN, graph: Graph, before: Tensor, now: Tensor, frames: int) -> Tensor:
    """The next `frames` frames (b, frames, n, d), one call each."""
    out = []
    for _ in range(frames):
        before, now = now, network(graph, before, now)
        out.append(now)
    return torch.stack(out, 1)
