"""EGTN, the equivariant network over space and time of GeoTDM (arXiv:2410.13027, EGTN),
and the wider form that our flow uses.

Faithful: one head, unscaled attention, no residual in the features, edges as given.
`heads`, `scaled` and `velocities` make ours: several heads, softmax of q.k / sqrt(d),
residual features, and the speeds of finite differences as invariant input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from equidrift.errors import UnknownNameError
from equidrift.models.shared.backbones.egcl import SpatialLayer, mlp
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.layers import pairs_of
from equidrift.models.trajectories.integrator.network import Graph, GraphSizes

CONDITIONINGS = ("concat", "masked")
EMBEDDING = 32  # of diffusion times and of differences of frames
# scale of the layers that move positions before training, as in EGNN's code (Satorras
# 2021, arXiv:2102.09844)
FIRST_MOVE = 1e-3


@dataclass(frozen=True)
class EGTNConfig(GraphSizes):
    """Sizes and switches.

    `bf16`: layers multiply in bfloat16 where that is faster, positions and sums stay as
    they are.
    `conditioning`: "concat" lets given and drawn frames attend to each other. With
    "masked" all frames pass the same layers, and the temporal layers update the drawn
    ones alone. That is not the cross-attention of arXiv:2410.13027, where given frames
    are encoded apart.
    """

    width: int = 128
    layers: int = 6
    heads: int = 1
    scaled: bool = False
    velocities: bool = False
    times: bool = True  # reads a diffusion time
    bf16: bool = False
    conditioning: Literal["concat", "masked"] = "concat"

    def __post_init__(self) -> None:
        if self.conditioning not in CONDITIONINGS:
            raise UnknownNameError("conditioning", self.conditioning, CONDITIONINGS)


def sinusoidal(value: Tensor, longest: float = 10000.0) -> Tensor:
    """Sine and cosine features (..., 32) of numbers."""
    frequency = torch.exp(
        -math.log(longest) * torch.arange(EMBEDDING // 2, device=value.device) / (EMBEDDING // 2)
    )
    phase = value[..., None] * frequency
    return torch.cat([phase.sin(), phase.cos()], -1)


class TemporalLayer(nn.Module):
    """Attention of every node over its own frames, with embeddings of the difference of
    times; positions move along it too.
    """

    def __init__(self, config: EGTNConfig):
        super().__init__()
        w = config.width
        self.heads, self.scale = config.heads, (w // config.heads) ** -0.5 if config.scaled else 1.0
        self.query, self.key, self.value = mlp(w, w, w), mlp(w, w, w), mlp(w, w, w)
        self.relative, self.move = nn.Linear(EMBEDDING, w), mlp(w // config.heads, w, 1)

    def forward(
        self, x: Tensor, h: Tensor, difference: Tensor, drawn: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """difference (b or 1, t, t, 32): embeddings of t - s; drawn (b, t, 1, 1):
        frames that move (None: all).
        """
        b, t, n, w = h.shape
        split = (b, t, n, self.heads, w // self.heads)
        q, k, v = (part(h).view(split) for part in (self.query, self.key, self.value))
        psi = self.relative(difference).view(-1, t, t, self.heads, w // self.heads)
        at = "btshc"
        if len(psi) == 1:  # times that all samples share make one larger product
            psi, at = psi[0], "tshc"
        score = torch.einsum("btnhc,bsnhc->bnhts", q, k) + torch.einsum(
            f"btnhc,{at}->bnhts", q, psi
        )
        a = (score * self.scale).softmax(-1)
        out = torch.einsum("bnhts,bsnhc->btnhc", a, v) + torch.einsum(f"bnhts,{at}->btnhc", a, psi)
        push = torch.einsum(
            "bnhts,bsnh->bnts", a, self.move(v)[..., 0]
        )  # sum over heads of a_ts phi(v_s)
        with torch.autocast(x.device.type, enabled=False):  # positions stay exact
            push = push.to(x.dtype)
            dx = torch.einsum("bnts,bsnd->btnd", push, x)
            dx = push.sum(-1).permute(0, 2, 1)[..., None] * x - dx
        dh = out.reshape(b, t, n, w)
        if drawn is not None:
            dh, dx = dh * drawn, dx * drawn
        return x + dx, h + dh


class EGTN(nn.Module):
    """Positions and features of all frames in, positions and features out; equivariant,
    and blind to where time begins. With global vectors (`Graph.vectors`) it is symmetric
    about these alone.
    """

    def __init__(self, config: EGTNConfig):
        super().__init__()
        self.config = config
        axes = config.global_vectors
        further = EMBEDDING * config.times + (3 + 2 * axes) * config.velocities + axes * axes
        self.embed = nn.Linear(config.node_features + further, config.width)
        spatial = config.width, config.edge_features, config.scaled, axes
        self.spatial = nn.ModuleList([SpatialLayer(*spatial) for _ in range(config.layers)])
        self.temporal = nn.ModuleList([TemporalLayer(config) for _ in range(config.layers)])

    def forward(
        self, graph: Graph, x: Tensor, clock: Tensor, given: Tensor, time: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x (b, t, n, d); clock (t,) or (b, t): the frames' times; given (b, t) bool;
        time (b,): diffusion time, 0 to 1000.
        """
        b, t, n, _ = x.shape
        parts = [graph.node[:, None].expand(b, t, n, -1)]
        if time is not None:
            parts.append(sinusoidal(time)[:, None, None].expand(b, t, n, -1))
        axes = graph.axes(self.config.global_vectors)
        axes = None if axes is None else axes.to(x.dtype)
        if self.config.velocities:
            parts.append(self._speeds(x, given))
        if axes is not None:
            parts.append((axes @ axes.mT).flatten(1)[:, None, None].expand(b, t, n, -1))
            if self.config.velocities:
                parts.append(self._steps_along(x, axes))
        h = self.embed(torch.cat(parts, -1))
        both = pairs_of(graph.mask)
        both = both & (graph.linked if graph.linked is not None else True)
        edge, mask = graph.edge[:, None], both[:, None].to(x.dtype)
        clock = clock if clock.ndim == 2 else clock[None]
        difference = sinusoidal(clock[:, :, None] - clock[:, None])
        drawn = (
            (~given)[..., None, None].to(x.dtype) if self.config.conditioning == "masked" else None
        )
        with short_products(x.device, self.config.bf16):
            for spatial, temporal in zip(self.spatial, self.temporal, strict=True):
                x, h = spatial(x, h, edge, mask, axes)
                x, h = temporal(x, h, difference, drawn)
        return x, h.to(x.dtype)

    @staticmethod
    def _steps_along(x: Tensor, axes: Tensor) -> Tensor:
        """Steps of each node to the frame before and after, along each global vector
        (b, g, d): (b, t, n, 2 g).
        """
        step = torch.einsum("btnd,bgd->btng", x[:, 1:] - x[:, :-1], axes)
        none = torch.zeros_like(step[:, :1])
        return torch.cat([torch.cat([none, step], 1), torch.cat([step, none], 1)], -1)

    @staticmethod
    def _speeds(x: Tensor, given: Tensor) -> Tensor:
        """Steps of each node to the frame before and after, and whether its frame is
        given: (b, t, n, 3).
        """
        step = (x[:, 1:] - x[:, :-1]).square().sum(-1).add(1e-12).sqrt()
        none = torch.zeros_like(step[:, :1])
        return torch.stack(
            [
                torch.cat([none, step], 1),
                torch.cat([step, none], 1),
                given[..., None].expand(x.shape[:3]).to(x.dtype),
            ],
            -1,
        )


@torch.no_grad()
def calm(network: nn.Module) -> None:
    """Make a fresh network move positions little.

    Messages grow with squared distances, so that moves of the ordinary size of a random
    layer would feed on each other until a few layers or denoising steps overflow.
    """
    for layer in network.modules():
        if isinstance(layer, SpatialLayer | TemporalLayer):
            push = layer.push if isinstance(layer, SpatialLayer) else None
            for head in filter(None, (layer.move, push)):
                last = cast(nn.Linear, head[-1])
                last.weight.mul_(FIRST_MOVE)
                last.bias.mul_(FIRST_MOVE)
