"""A denoiser that reads a prior path as it is, and residuals from it as vectors on it.

EGTN reads noisy frames: at high noise it no longer sees where the path leads, and what
a node strays by is hidden in differences of frames that the motion itself decides. Here
distances are those of the path, and vectors on the nodes, the noisy residual among
them, are mixed over nodes and over time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.egcl import mlp
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.layers import pairs_of
from equidrift.models.trajectories.diffusion.egtn import EMBEDDING, EGTNConfig, sinusoidal
from equidrift.models.trajectories.diffusion.frames import KnownFrames
from equidrift.models.trajectories.diffusion.path_spread import Prior

SMALL = 1e-3  # of squared distances, below which two nodes count as equally near
STEPS = 10.0  # by which steps of the path from frame to frame are multiplied: about 1


@dataclass
class Pairs:
    """What is the same in every layer: directions (b, t, n, n, d), distances (b, t, n,
    n, 2), features (b, 1, n, n, e) and which pairs there are (b, 1, n, n, 1).
    """

    along: Tensor
    distances: Tensor
    features: Tensor
    mask: Tensor

    @classmethod
    def of(cls, known: KnownFrames, path: Tensor) -> Pairs:
        """Those of a path (b, t, n, d)."""
        r = path[:, :, :, None] - path[:, :, None]
        square = r.square().sum(-1, keepdim=True)
        distances = torch.cat([square, (square + SMALL).log()], -1)
        both = pairs_of(known.graph.mask)
        both = both & (known.graph.linked if known.graph.linked is not None else True)
        mask = both[:, None, ..., None].to(path.dtype)
        return cls(r / (square + SMALL).sqrt(), distances, known.graph.edge[:, None], mask)


def tamed(v: Tensor) -> Tensor:
    """Vectors (..., d, c) of a length of about 1 at most: long ones keep their directions
    and their shares, so that no layer feeds on the growth of the one before it.
    """
    return v / (v.square().sum(-2, keepdim=True).mean(-1, keepdim=True) + 1).sqrt()


class NodeLayer(nn.Module):
    """Messages between the nodes of a frame, which read how their vectors lie to the line
    between them; vectors change along these lines, and by the others' vectors.
    """

    def __init__(self, width: int, vectors: int, edge_features: int):
        super().__init__()
        w = width
        self.norm = nn.LayerNorm(w)
        self.ends = nn.Linear(w, 2 * w, bias=False)
        self.edge, self.near = nn.Linear(edge_features, w), nn.Linear(2, w, bias=False)
        self.lie = nn.Linear(2 * vectors, w, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(w, w), nn.SiLU())
        self.change = nn.Linear(w, 2 * vectors)
        self.node = mlp(2 * w, w, w)

    def forward(self, h: Tensor, v: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """h (b, t, n, w) and vectors v (b, t, n, d, c)."""
        now = self.norm(h)
        left, right = self.ends(now).chunk(2, -1)
        along, seen = pairs.along.to(v.dtype), tamed(v)
        lies = [
            torch.einsum("btijd,btidc->btijc", along, seen),
            torch.einsum("btijd,btjdc->btijc", along, seen),
        ]
        told = self.edge(pairs.features) + self.near(pairs.distances)
        told = told + self.lie(torch.cat(lies, -1))
        m = self.message(left[:, :, :, None] + right[:, :, None] + told) * pairs.mask
        line, other = (self.change(m) * pairs.mask).chunk(2, -1)
        moved = torch.einsum("btijc,btijd->btidc", line.to(v.dtype), along)
        moved = moved + torch.einsum("btijc,btjdc->btidc", other.to(v.dtype), seen)
        v = v + moved / pairs.mask.sum(3)[..., None].clamp_min(1.0)
        return h + self.node(torch.cat([now, m.sum(3)], -1)), v


class TimeLayer(nn.Module):
    """Attention of every node over its own frames, by features and differences of times;
    vectors are averaged by the same weights. Then the vectors' lengths enter the
    features, and features scale the vectors.
    """

    def __init__(self, width: int, vectors: int, heads: int):
        super().__init__()
        w, c = width, vectors
        self.heads, self.scale = heads, (w // heads) ** -0.5
        self.norm = nn.LayerNorm(w)
        self.query, self.key, self.value = (nn.Linear(w, w) for _ in range(3))
        self.relative, self.out = nn.Linear(EMBEDDING, w), nn.Linear(w, w)
        self.taken, self.mixed = nn.Linear(c, c, bias=False), nn.Linear(c, c, bias=False)
        self.update, self.gate = mlp(w + c, w, w), nn.Linear(w, c)

    def forward(self, h: Tensor, v: Tensor, difference: Tensor) -> tuple[Tensor, Tensor]:
        """h (b, t, n, w), v (b, t, n, d, c), embeddings of t - s (t, t, 32)."""
        b, t, n, w = h.shape
        split = (b, t, n, self.heads, w // self.heads)
        now = self.norm(h)
        q, k, value = (part(now).view(split) for part in (self.query, self.key, self.value))
        psi = self.relative(difference).view(t, t, self.heads, w // self.heads)
        score = torch.einsum("btnhc,bsnhc->bnhts", q, k)
        score = score + torch.einsum("btnhc,tshc->bnhts", q, psi)
        a = (score * self.scale).softmax(-1)
        heard = torch.einsum("bnhts,bsnhc->btnhc", a, value).reshape(b, t, n, w)
        h = h + self.out(heard)
        parts = self.taken(tamed(v)).unflatten(-1, (self.heads, -1))
        v = v + self.mixed(torch.einsum("bnhts,bsndhc->btndhc", a, parts).flatten(-2))
        lengths = (tamed(v).square().sum(-2) + 1e-12).sqrt()
        h = h + self.update(torch.cat([self.norm(h), lengths], -1))
        return h, v * (1 + self.gate(self.norm(h)).tanh())[..., None, :]


class PathDenoiser(nn.Module):
    """Noisy residuals on a path in, and how far they are to move out; equivariant, and
    blind to where time begins. With global vectors (`Graph.vectors`) it is symmetric about
    these alone.

    Parameters
    ----------
    config : EGTNConfig
        Width, layers, heads and features; the path's spread has the same width.
    """

    def __init__(self, config: EGTNConfig):
        super().__init__()
        self.config = config
        w, axes = config.width, config.global_vectors
        c = max(config.heads, w // 4)
        told = config.node_features + EMBEDDING + w + 5 + axes * axes
        self.embed = nn.Linear(told, w)
        self.first = nn.Linear(3 + axes, c, bias=False)
        self.nodes = nn.ModuleList(
            [NodeLayer(w, c, config.edge_features) for _ in range(config.layers)]
        )
        self.times = nn.ModuleList([TimeLayer(w, c, config.heads) for _ in range(config.layers)])
        self.norm, self.leave = nn.LayerNorm(w), nn.Linear(w, c + 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, known: KnownFrames, prior: Prior, y: Tensor, time: Tensor) -> Tensor:
        """The change (b, t, n, d) of residuals y (b, t, n, d), in their units; time (b,) of
        the diffusion, 0 to 1000.
        """
        b, t, n, _ = y.shape
        path = torch.where(known.fixed, known.frames, prior.line)
        y = torch.where(known.fixed, 0.0, y)
        step = STEPS * (path[:, 1:] - path[:, :-1])
        none = torch.zeros_like(path[:, :1])
        vectors = [y, torch.cat([none, step], 1), torch.cat([step, none], 1)]
        inside = [
            known.graph.node[:, None].expand(b, t, n, -1),
            sinusoidal(time)[:, None, None].expand(b, t, n, -1),
            known.given_each[..., None, None].expand(b, t, n, 1).to(y.dtype),
            *((v.square().sum(-1, keepdim=True) + 1e-12).sqrt() for v in vectors),
            (y * (vectors[1] - vectors[2])).sum(-1, keepdim=True),
        ]
        assert prior.told is not None  # such a network has a `PathSpread`
        inside.append(prior.told)
        axes = known.graph.axes(self.config.global_vectors)
        if axes is not None:
            axes = axes.to(y.dtype)
            inside.append((axes @ axes.mT).flatten(1)[:, None, None].expand(b, t, n, -1))
            vectors += [axis[:, None, None].expand_as(y) for axis in axes.unbind(1)]
        h, v = self.embed(torch.cat(inside, -1)), self.first(torch.stack(vectors, -1))
        pairs = Pairs.of(known, path)
        difference = sinusoidal(known.clock[:, None] - known.clock)
        with short_products(y.device, self.config.bf16):
            for between, along in zip(self.nodes, self.times, strict=True):
                h, v = between(h, v, pairs)
                h, v = along(h, v, difference)
            share = self.leave(self.norm(h))
        share, v = share.to(y.dtype), v.to(y.dtype)
        return (tamed(v) * share[..., None, :-1]).sum(-1) + share[..., -1:] * y
