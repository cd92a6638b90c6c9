"""Networks of the score: bi-dimensional attention for scalar fields, and an
E(n)-equivariant one for vector fields (arXiv:2307.05431).

Both start at zero effect (their last layers are zero), which with the residual trick is
the exact score of the limiting GP.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equidrift.models.fields.functions.framed import FrameAveragedField
from equidrift.models.shared.backbones.radial import VectorLayer, pair_sums


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a field network.

    `kind` is "attention" for scalar fields in any dimension and for tracks, "vector" for
    vector fields, "plain" for attention that knows no symmetry (a baseline, for values
    of any number of components), "frames" for that one averaged over the frames of the
    points, "none" for no network.
    """

    kind: str = "attention"
    width: int = 96  # of the state of a point
    layers: int = 4
    heads: int = 4  # of the attention
    components: int = 1  # numbers in a value
    dimension: int = 1  # coordinates of a point
    wave_min: float = 0.03  # shortest wavelength ("attention"), in units of the points
    wave_max: float = 16.0  # longest one, or the cutoff ("vector")
    radial: int = 12  # functions of a distance ("vector"), or waves ("plain")
    features: int = 0  # further inputs per point ("attention"), which the caller gives


def make_network(config: NetworkConfig) -> nn.Module:
    """The network of a configuration, with random weights of the current torch
    generator.
    """
    kinds: dict[str, Callable[[NetworkConfig], nn.Module]] = {
        "attention": BiDimensionalAttention,
        "vector": VectorNetwork,
        "plain": PlainAttention,
        "frames": lambda config: FrameAveragedField(PlainAttention(config)),
        "none": NoNetwork,
    }
    return kinds[config.kind](config)


def time_features(t: Tensor, std: Tensor, width: int) -> Tensor:
    """Sinusoids of the time and of the log of the noise (B,): (B, width)."""
    frequencies = torch.exp(
        torch.linspace(0.0, math.log(100.0), width // 4, dtype=t.dtype, device=t.device)
    )
    phase = torch.cat(
        [t[:, None] * frequencies, (std + 1e-4).log()[:, None] * frequencies / 10], -1
    )
    return torch.cat([phase.sin(), phase.cos()], -1)


class NoNetwork(nn.Module):
    """Zero: with the residual trick, the limiting GP alone."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config

    def forward(self, *inputs: Tensor) -> Tensor:
        """Zeros like y, the fourth of (t, std, x, y, mask)."""
        y = inputs[3]
        return torch.zeros_like(y)


class BiDimensionalAttention(nn.Module):
    """Tokens for each (point, coordinate); attention across points, across coordinates,
    summed (NDP, with our own positions).

    Positions enter as rotations of queries, keys *and values* by the coordinate (rotary
    embedding): attention and messages depend on differences of coordinates alone, so
    the network is translation-invariant without centring, and a message can carry a
    phase, which is what periodic functions are made of. It is invariant under
    permutations of the points and of the coordinates.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        c = config.width
        self.enter = nn.Linear(2 * config.components + config.features, c)
        self.time = nn.Sequential(nn.Linear(64, c), nn.SiLU(), nn.Linear(c, c))
        self.blocks = nn.ModuleList([_Block(config) for _ in range(config.layers)])
        self.leave = nn.Sequential(nn.Linear(c, c), nn.GELU(), nn.Linear(c, config.components))
        for parameter in self.leave[-1].parameters():
            nn.init.zeros_(parameter)
        self.rates: Tensor
        pairs = c // config.heads // 2 * config.heads
        waves = torch.exp(
            torch.linspace(math.log(config.wave_max), math.log(config.wave_min), pairs)
        )
        self.register_buffer(
            "rates",
            (2 * math.pi / waves).reshape(-1, config.heads).T.contiguous(),
            persistent=False,
        )

    def forward(
        self,
        t: Tensor,
        std: Tensor,
        x: Tensor,
        y: Tensor,
        mask: Tensor,
        features: Tensor | None = None,
    ) -> Tensor:
        """f (B, n, p) of times and noise factors (B,), points (B, n, d), fields (B, n,
        p), mask (B, n) and features (B, n, k).
        """
        x, features = self._seen(x, features)
        inputs = [y, y / (std[:, None, None] + 0.05), *([] if features is None else [features])]
        h = self.enter(torch.cat(inputs, -1))[:, :, None].expand(-1, -1, x.shape[-1], -1)
        time = self.time(time_features(t, std, 64))
        angle = (x - x[:, :1])[..., None, None] * self.rates.to(
            x.dtype
        )  # (B, n, d, heads, pairs); the shift keeps float32 exact far out
        turn = angle.cos(), angle.sin()
        skips = torch.zeros((), dtype=y.dtype, device=y.device)
        for block in self.blocks:
            h, skip = block(h, time, turn, mask)
            skips = skips + skip
        f: Tensor = self.leave((skips / math.sqrt(len(self.blocks))).mean(2)).to(y.dtype)
        return f

    def _seen(self, x: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The points that turn the features, and the features that are read."""
        return x, features


class PlainAttention(BiDimensionalAttention):
    """Attention over points that know their absolute coordinates: no symmetry but
    that under permutations; a baseline.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__(
            dataclasses.replace(config, features=2 * config.radial * config.dimension, dimension=1)
        )
        self.config = config

    def _seen(self, x: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Nothing is turned; the coordinates come as waves of several lengths."""
        del features
        low, high = math.log(self.config.wave_min), math.log(self.config.wave_max)
        length = torch.linspace(low, high, self.config.radial, device=x.device).exp()
        phase = (2 * math.pi * x[..., None] / (4 * length)).flatten(2)
        return torch.zeros_like(x[..., :1]), torch.cat([phase.sin(), phase.cos()], -1)


class _Block(nn.Module):
    def __init__(self, config: NetworkConfig):
        super().__init__()
        c = config.width
        self.heads = config.heads
        self.across_points = _Attention(config)
        self.across_axes = _Attention(config) if config.dimension > 1 else None
        self.norm, self.norm2 = (
            nn.LayerNorm(c, elementwise_affine=False),
            nn.LayerNorm(c, elementwise_affine=False),
        )
        self.film = nn.Linear(c, 4 * c)
        self.mix = nn.Sequential(nn.Linear(c, 3 * c), nn.GELU(), nn.Linear(3 * c, 2 * c))

    def forward(
        self, h: Tensor, time: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        a, b, c, d = self.film(time)[:, None, None].chunk(4, -1)
        g = self.norm(h) * (1 + a) + b
        moved = self.across_points(
            g.transpose(1, 2), tuple(u.transpose(1, 2) for u in turn), mask
        ).transpose(1, 2)
        if self.across_axes is not None:
            moved = moved + self.across_axes(g, None, None)
        h = h + moved
        residual, skip = self.mix(self.norm2(h) * (1 + c) + d).chunk(2, -1)
        return h + residual, skip


class _Attention(nn.Module):
    """Multi-head attention over the third axis from the end of (B, a, n, C); heads are
    turned by rotary angles (B, a, n, heads, pairs).
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.heads = config.heads
        self.project = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, h: Tensor, turn: tuple[Tensor, Tensor] | None, mask: Tensor | None) -> Tensor:
        b, a, n, c = h.shape
        q, k, v = (u.reshape(b, a, n, self.heads, -1) for u in self.project(h).chunk(3, -1))
        if turn is not None:
            cos, sin = (u.to(q.dtype) for u in turn)
            q, k, v = (_rotate(u, cos, sin) for u in (q, k, v))
        q, k, v = (u.transpose(2, 3).reshape(b * a, self.heads, n, -1) for u in (q, k, v))
        keep = None if mask is None else mask[:, None].expand(b, a, n).reshape(b * a, 1, 1, n)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        out = out.reshape(b, a, self.heads, n, -1).transpose(2, 3)
        if turn is not None:
            out = _rotate(out, cos, -sin)
        made: Tensor = self.out(out.reshape(b, a, n, c))
        return made


def _rotate(u: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of features by their angles."""
    first, second = u.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class VectorNetwork(nn.Module):
    """E(n)-equivariant message passing over all pairs of points, for vector fields in
    any dimension (2D and 3D alike).

    Each point holds scalars (C) and vectors (C). A layer sends three kinds of messages
    with radial filters: the neighbour's vector, the part of it along the line between
    the two, and that line times a scalar; the second is what curl-free and
    divergence-free fields need. Only differences of positions, lengths and dot products
    are used: equivariant under translations, rotations and reflections.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        c = config.width
        self.time = nn.Sequential(nn.Linear(64, c), nn.SiLU(), nn.Linear(c, c))
        self.enter_vector = nn.Parameter(torch.randn(2, c))
        self.enter_scalar = nn.Linear(2, c)
        self.layers = nn.ModuleList([VectorLayer(c, config.radial) for _ in range(config.layers)])
        self.leave = nn.Linear(c, 1, bias=False)
        nn.init.zeros_(self.leave.weight)
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(0.0, 1.0, config.radial), persistent=False)

    def forward(self, t: Tensor, std: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """f (B, n, p = d), as in `BiDimensionalAttention`."""
        keep = mask.to(y.dtype)
        y = y * keep[..., None]
        difference = x[:, :, None] - x[:, None]
        distance = (difference.square().sum(-1) + 1e-12).sqrt()
        near = distance / self.config.wave_max
        window = (
            torch.where(near < 1, 0.5 * (1 + (math.pi * near).cos()), torch.zeros_like(near))
            * keep[:, None]
        )
        window = window * (1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
        # even in the root of the distance: more filters where fields change
        filters = (
            -((near[..., None].sqrt() - self.centres.to(x.dtype)) * len(self.centres)).square()
        ).exp() * window[..., None]
        filters = filters.permute(0, 3, 1, 2) / (1 + window.sum(-1))[:, None, :, None].sqrt()
        line = difference / (distance + 1e-6)[..., None]
        size = torch.stack([y, y / (std[:, None, None] + 0.05)], -1)  # (B, n, d, 2)
        v = size @ self.enter_vector.to(y.dtype)
        s = (
            self.enter_scalar(torch.log1p(size.square().sum(2)))
            + self.time(time_features(t, std, 64))[:, None]
        )
        sums = pair_sums(filters, line)
        for layer in self.layers:
            s, v = layer(s, v, sums)
        out: Tensor = (self.leave(v)[..., 0] * keep[..., None]).to(y.dtype)
        return out
