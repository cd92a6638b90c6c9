"""Alternatives: K futures of every node of a plane in one network call, with their
probabilities, learned by winner-takes-all.

Where a measure asks for the best of K samples, drawing many and clustering them is a
detour: a network whose K outputs are trained so that the nearest one meets the truth
learns the K representatives themselves (the loss of k-means, conditional on the past).
Every node sees the past of all nodes from its own place and heading, so the futures
turn, mirror excepted, and shift with the past.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from equidrift.errors import InputError
from equidrift.models.trajectories.diffusion.frames import FrameBatch
from equidrift.models.trajectories.integrator.network import Graph

HEADS = 4
# weight of all alternatives in the loss at first, and after `relax_steps`
RELAXED, LEFT = 0.5, 0.02


@dataclass(frozen=True)
class ModesConfig:
    """`past` frames in, `future` frames out, `count` alternatives; neighbours are seen
    within `reach` steps of ordinary length.
    """

    node_features: int = 1
    edge_features: int = 1
    past: int = 8
    future: int = 12
    count: int = 20
    width: int = 64
    blocks: int = 2
    reach: float = 20.0
    relax_steps: int = 400
    first_only: bool = False  # in training, ask for the first node's future alone


class Modes(nn.Module):
    """See the module.

    The buffer `unit` is the root mean square step of the training data, from frame to
    frame.
    """

    def __init__(self, config: ModesConfig):
        super().__init__()
        if config.past < 3:
            raise InputError(
                f"past must be 3 frames or more, not {config.past}: a heading is taken from them"
            )
        self.config = config
        w, steps = config.width, 4 * config.past - 2  # positions and velocities of the past
        self.unit: Tensor
        self.register_buffer("unit", torch.ones(()))
        self.own = nn.Sequential(
            nn.Linear(steps + config.node_features + 1, w), nn.SiLU(), nn.Linear(w, w)
        )
        self.other = nn.Linear(steps + config.node_features + config.edge_features + 1, w)
        self.seen, self.weigh, self.mix = nn.Linear(w, w), nn.Linear(w, HEADS), nn.Linear(w, w)
        self.view = nn.Sequential(nn.SiLU(), nn.Linear(w, w), nn.SiLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(2 * w), nn.Linear(2 * w, 2 * w), nn.SiLU(), nn.Linear(2 * w, 2 * w)
            )
            for _ in range(config.blocks)
        )
        self.futures, self.logit = (
            nn.Linear(2 * w, config.count * config.future * 2),
            nn.Linear(2 * w, config.count),
        )

    def forward(
        self, graph: Graph, past: Tensor, nodes: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Futures (b, m, K, future, 2) and logits (b, m, K) of the first `nodes` nodes
        (None: all) from pasts (b, past, n, 2).
        """
        c, m = self.config, nodes or past.shape[2]
        unit = self.unit.to(past.dtype)
        x = past.transpose(1, 2) / unit
        place, turn = x[:, :m, -1], heading(x[:, :m])
        # the past of every node as each of the first m sees it (b, m, n, t, 2)
        seen = torch.einsum("bmntd,bmde->bmnte", x[:, None] - place[:, :, None, None], turn).float()
        pace = seen[..., 1:, :] - seen[..., :-1, :]
        own = torch.arange(m, device=x.device)
        v = pace[:, own, own]
        speed = v.square().sum(-1).mean(-1, keepdim=True).add(1e-8).sqrt()
        ways = [0.4 * seen[:, own, own].flatten(2), v.flatten(2), speed, graph.node[:, :m]]
        h = self.own(torch.cat(ways, -1))
        z = torch.cat([h, self.mix(self._crowd(graph, h, seen, pace))], -1)
        for block in self.blocks:
            z = z + block(z)
        steady = v[:, :, -2:].mean(2)[:, :, None, None]
        moves = steady + self.futures(z).unflatten(-1, (c.count, c.future, 2))
        made = torch.cumsum(moves, 3).to(x.dtype)
        made = torch.einsum("bmkte,bmde->bmktd", made, turn) + place[:, :, None, None]
        return made * unit, self.logit(z)

    def _crowd(self, graph: Graph, h: Tensor, seen: Tensor, pace: Tensor) -> Tensor:
        """What each of the first m nodes, of features h (b, m, w), makes of the nodes
        near it (b, m, w).
        """
        m, n = seen.shape[1:3]
        apart = seen[..., -1, :].square().sum(-1, keepdim=True).add(1e-8).sqrt()
        node = graph.node[:, None].expand(-1, m, -1, -1)
        ways = [0.1 * seen.flatten(3), pace.flatten(3), 0.1 * apart, node, graph.edge[:, :m]]
        g = self.view(self.other(torch.cat(ways, -1)) + self.seen(h)[:, :, None])
        others = ~torch.eye(n, dtype=torch.bool, device=seen.device)[None, :m]
        near = graph.mask[:, None] & (apart[..., 0] < self.config.reach) & others
        weight = self.weigh(g).masked_fill(~near[..., None], -1e4)
        nobody = torch.zeros_like(weight[:, :, :1])
        weight = torch.cat([weight, nobody], 2).softmax(2)[:, :, :-1]  # or look at nobody
        return torch.einsum("bmnh,bmnhc->bmhc", weight, g.unflatten(-1, (HEADS, -1))).flatten(2)


def heading(x: Tensor) -> Tensor:
    """Axes (b, m, 2, 2) along and across the way of nodes with pasts (b, m, t, 2); the
    plane's own where a node never moved.
    """
    way = x[..., -1, :] - x[..., -4 if x.shape[-2] > 3 else 0, :]
    way = way + 0.01 * (
        x[..., -1, :] - x[..., 0, :]
    )  # who stands since a while looks where it came from
    length = way.norm(dim=-1, keepdim=True)
    along = torch.where(
        length > 1e-6,
        way / length.clamp_min(1e-6),
        torch.tensor([1.0, 0.0], dtype=x.dtype, device=x.device),
    )
    return torch.stack([along, torch.stack([-along[..., 1], along[..., 0]], -1)], -1)


def modes_loss(model: nn.Module, batch: FrameBatch) -> Tensor:
    """Mean distance of the nearest alternative and, apart from it, distance of the
    nearest end point, in steps of ordinary length.

    At first all alternatives are drawn to the truth, so that none is left behind; the
    last term trains their probabilities.
    """
    modes = cast(Modes, model)
    c = modes.config
    nodes = 1 if c.first_only else batch.frames.shape[2]
    made, logit = modes(batch.graph, batch.frames[:, : c.past], nodes)
    truth = batch.frames[:, c.past :, :nodes].transpose(1, 2)[:, :, None]
    apart = (made - truth).norm(dim=-1) / modes.unit
    whole, end = apart.mean(-1), apart[..., -1]
    best = functional.cross_entropy(
        logit.flatten(0, 1), (whole + 0.5 * end).detach().argmin(-1).flatten(), reduction="none"
    )
    relaxed = (
        max(LEFT, RELAXED * (1 - batch.step / c.relax_steps) ** 2)
        if batch.step < c.relax_steps
        else LEFT
    )
    loss = (
        whole.amin(-1)
        + 0.5 * end.amin(-1)
        + relaxed * whole.mean(-1)
        + 0.05 * best.view(whole.shape[:2])
    )
    there = batch.graph.mask[:, :nodes].to(loss.dtype)
    return (loss * there).sum() / there.sum()


@torch.no_grad()
def choose(model: Modes, graph: Graph, past: Tensor, streams: list[np.random.Generator]) -> Tensor:
    """One future (b, future, n, 2) of every node, each node's alternative drawn by its
    probability.
    """
    made, logit = model(graph, past)
    share = logit.softmax(-1).cumsum(-1)
    numbers = np.stack([rng.random(past.shape[2]) for rng in streams])
    drawn = torch.from_numpy(numbers).to(share)
    pick = (share < drawn[..., None]).sum(-1).clamp_max(share.shape[-1] - 1)
    return torch.take_along_dim(made, pick[..., None, None, None], 2)[:, :, 0].transpose(1, 2)
