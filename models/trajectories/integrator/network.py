"""The force network of the default model: accelerations of a geometric graph, exactly
equivariant.

Positions enter as distances and unit vectors of pairs of one frame only, so that
rotations, reflections, translations and boosts pass through; forces act along the lines
between pairs, with strengths that are the same both ways, so that momentum and angular
momentum are kept. A graph is node and edge features, whatever they mean: charges,
springs, or the codes of a molecule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from equidrift.errors import InputError
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.layers import (
    Block,
    LogRadialBasis,
    NetworkConfig,
    attention_bias,
    pairs_of,
)


@dataclass(frozen=True)
class GraphSizes:
    """Features of nodes and of edges, and the width of what is made of them; global
    vectors (a field, gravity, the normal of a slab), about which alone a network with
    them is symmetric.
    """

    node_features: int = 1
    edge_features: int = 1
    width: int = 64
    global_vectors: int = field(default=0, kw_only=True)

    def entries(self, width: int | None = None) -> tuple[nn.Linear, nn.Linear]:
        """Layers that nodes and edges enter by, of a width of their own or this one."""
        out = self.width if width is None else width
        return nn.Linear(self.node_features, out), nn.Linear(self.edge_features, out)


@dataclass(frozen=True)
class ForceConfig(GraphSizes):
    """Sizes of a `ForceNetwork`.

    blocks : rounds of messages; 0 makes plain pair forces. shortest, longest :
        distances between which the radial basis resolves.
    step_input : reads the integrator's step, so that the force is the one that is exact
        for that step.
    strength, reach : size of the forces, and the distance beyond which those of a
        network with blocks fall off.
    """

    pair_width: int = 32
    vectors: int = 8
    blocks: int = 3
    radial: int = 24
    shortest: float = 0.7
    longest: float = 8.0
    step_input: bool = False
    strength: float = 0.02
    reach: float = 2.0


@dataclass
class Graph(Batched):
    """Padded graphs: node (b, n, f), edge (b, n, n, e), mass (b, n), mask (b, n);
    linked (b, n, n) where not all pairs are (GeoTDM); global vectors (b, g, d), where
    there are any.
    """

    node: Tensor
    edge: Tensor
    mass: Tensor
    mask: Tensor
    linked: Tensor | None = None
    vectors: Tensor | None = None

    def __getitem__(self, pick: Tensor | slice) -> Graph:
        return self._each(lambda part: part[pick])

    def repeat(self, times: int) -> Graph:
        """Every graph `times` times, side by side."""
        return self._each(lambda part: part.repeat_interleave(times, 0))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Graph:
        changed = {name: change(part) for name, part in self._parts()}
        return replace(self, **changed)

    def axes(self, count: int) -> Tensor | None:
        """The global vectors (b, count, d) that a network was made for; None for none.

        Raises
        ------
        InputError
            If there are others.
        """
        there = 0 if self.vectors is None else self.vectors.shape[1]
        if there != count:
            raise InputError(
                f"vectors must hold {count} global vectors for each system, as in the training, "
                f"and there are {there}"
            )
        return self.vectors


@dataclass
class Prepared:
    """What of a graph stays along a trajectory: embeddings h (b, n, w) and p (b, n, n,
    q), the pairs' law, masks, inverse masses, and the global vectors (b, g, d).
    """

    h: Tensor
    p: Tensor
    law: Tensor
    pair_mask: Tensor
    bias: Tensor
    inverse_mass: Tensor
    axes: Tensor | None = None

    def repeat(self, times: int) -> Prepared:
        """Every graph `times` times, side by side."""
        parts = [part for part in vars(self).values() if part is not None]
        return Prepared(*(part.repeat_interleave(times, 0) for part in parts))


def silence(*heads: nn.Sequential) -> None:
    """Let the last layer of each begin at zero."""
    for head in heads:
        for parameter in head[-1].parameters():
            nn.init.zeros_(parameter)


class AlongAxes(nn.Module):
    """What global vectors add to forces between pairs, one more channel of vectors: a
    force along each on every node, by what the node is; and, to what pairs know, how
    their line lies to each.

    References
    ----------
    Han et al., Learning Physical Dynamics with Subequivariant Graph Neural Networks,
    arXiv:2210.06876, equation 6.
    """

    def __init__(self, axes: int, width: int, pair_width: int):
        super().__init__()
        self.pair = nn.Linear(axes, pair_width, bias=False)
        self.node = nn.Sequential(
            nn.Linear(width + axes * axes, width), nn.SiLU(), nn.Linear(width, axes)
        )
        silence(self.node)

    def of_pairs(self, axes: Tensor, unit: Tensor) -> Tensor:
        """What pairs with the directions unit (b, ..., d) know (b, ..., q) beside their
        distance: the same both ways.
        """
        b, d = len(axes), axes.shape[-1]
        cosine = unit.reshape(b, -1, d) @ axes.mT  # (b, pairs, g)
        told: Tensor = self.pair(cosine.square())
        return told.reshape(*unit.shape[:-1], -1)

    def force(self, axes: Tensor, h: Tensor) -> Tensor:
        """Forces (b, n, d) on nodes of the features h (b, n, w)."""
        gram = (axes @ axes.mT).flatten(1)[:, None].expand(-1, h.shape[1], -1)
        size: Tensor = self.node(torch.cat([h, gram], -1))
        return size @ axes


class PairForceNetwork(nn.Module):
    """A `ForceNetwork` without messages: the force between two nodes depends on these
    two alone. Every pair is computed once.

    s_ij = c_0 + c_1 d + c_2 / d + c_3 / d^2. The coefficients are those of the pair's
    law, from its features alone, plus what the distance changes of them: springs and
    charges are within reach of the law, and the rest has little to learn.
    """

    def __init__(self, config: ForceConfig):
        super().__init__()
        self.config = config
        p = config.pair_width
        self.node, self.edge = config.entries(p)
        self.radial = LogRadialBasis(config.radial, config.shortest, config.longest)
        self.distance = nn.Linear(config.radial, p)
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Linear(p, 2 * p),
            nn.SiLU(),
            nn.Linear(2 * p, p),
            nn.SiLU(),
            nn.Linear(p, 4),
        )
        self.law = nn.Sequential(nn.SiLU(), nn.Linear(p, p), nn.SiLU(), nn.Linear(p, 4))
        silence(self.head, self.law)
        axes = config.global_vectors
        self.along = AlongAxes(axes, p, p) if axes else None

    def prepare(self, graph: Graph) -> Prepared:
        """Embed the pairs i < j: p and the law are (b, pairs, ...)."""
        n = graph.mask.shape[1]
        i, j = torch.triu_indices(n, n, 1, device=graph.mask.device)
        h = functional.silu(self.node(graph.node))
        p = self.edge(graph.edge[:, i, j] + graph.edge[:, j, i]) + h[:, i] + h[:, j]
        both = (graph.mask[:, i] & graph.mask[:, j]).to(h.dtype)
        inverse = torch.where(graph.mask, 1.0 / graph.mass, torch.zeros_like(graph.mass))
        axes = graph.axes(self.config.global_vectors)
        return Prepared(h, p, self.law(p), both, both, inverse, axes)

    def forward(self, prepared: Prepared, x: Tensor, _step: float | Tensor = 0.0) -> Tensor:
        """Accelerations (b, n, d), in the dtype of x; the step is not read."""
        n = x.shape[1]
        i, j = torch.triu_indices(n, n, 1, device=x.device)
        r = x[:, i] - x[:, j]
        d = (r.square().sum(-1) + 1e-6).sqrt()
        p = prepared.p + self.distance(self.radial(d.to(prepared.p.dtype)))
        axes = None if prepared.axes is None else prepared.axes.to(p.dtype)
        if self.along is not None and axes is not None:
            p = p + self.along.of_pairs(axes, (r / d[..., None]).to(p.dtype))
        c = (self.head(p) + prepared.law).to(x.dtype)
        strength = (
            c[..., 0] + c[..., 1] * d + (c[..., 2] + c[..., 3] / d) / d
        ) * prepared.pair_mask
        force = (strength / d)[..., None] * r
        total = torch.zeros_like(x).index_add(1, i, force).index_add(1, j, -force)
        if self.along is not None and axes is not None:
            total = total + self.along.force(axes, prepared.h).to(x.dtype)
        return total * prepared.inverse_mass[..., None]


class ForceNetwork(nn.Module):
    """Positions in, accelerations out: a_i = sum_j s_ij u_ij / m_i with s_ij = s_ji a
    function of the whole frame.

    s_ij is in units of `strength` (of the forces to be learned), and falls off beyond
    `reach`.
    """

    def __init__(self, config: ForceConfig):
        super().__init__()
        self.config = config
        w, p = config.width, config.pair_width
        self.node, self.edge = (
            nn.Linear(config.node_features, w),
            nn.Linear(config.edge_features, p),
        )
        self.outer = nn.Linear(w, 2 * p, bias=False)
        self.radial = LogRadialBasis(config.radial, config.shortest, config.longest)
        self.distance = nn.Linear(config.radial, p)
        self.step = nn.Linear(1, p, bias=False) if config.step_input else None
        sizes = NetworkConfig(width=w, pair_width=p, vectors=config.vectors)
        self.blocks = nn.ModuleList([Block(sizes) for _ in range(config.blocks)])
        self.head = nn.Sequential(
            nn.LayerNorm(p),
            nn.Linear(p, 2 * p),
            nn.SiLU(),
            nn.Linear(2 * p, p),
            nn.SiLU(),
            nn.Linear(p, 1),
        )
        silence(self.head)
        axes = config.global_vectors
        self.along = AlongAxes(axes, w, p) if axes else None

    def prepare(self, graph: Graph) -> Prepared:
        """Embed the graph, once for all frames."""
        h = self.node(graph.node)
        left, right = self.outer(h).chunk(2, dim=-1)
        p = self.edge(graph.edge) + left[:, :, None] + right[:, None]
        bias = attention_bias(graph.mask, torch.float32)
        inverse = torch.where(graph.mask, 1.0 / graph.mass, torch.zeros_like(graph.mass))
        axes = graph.axes(self.config.global_vectors)
        return Prepared(h, p, p, pairs_of(graph.mask).to(h.dtype), bias, inverse, axes)

    def forward(self, prepared: Prepared, x: Tensor, step: float | Tensor = 0.0) -> Tensor:
        """Accelerations (b, n, d), in the dtype of x (b, n, d); `step`: the
        integrator's time step, a number or (b,).

        Differences of positions are taken in the dtype of x; what follows runs in the
        dtype of the weights.
        """
        unit, d = pair_vectors(x)
        u, q = unit.to(prepared.h.dtype), d.to(prepared.h.dtype)
        h, p = prepared.h, prepared.p + self.distance(self.radial(q))
        if self.step is not None:
            square = (
                torch.as_tensor(step, dtype=h.dtype, device=h.device).square().reshape(-1, 1, 1, 1)
            )
            p = p + self.step(square)
        axes = None if prepared.axes is None else prepared.axes.to(h.dtype)
        if self.along is not None and axes is not None:
            p = p + self.along.of_pairs(axes, u)
        for block in self.blocks:
            h, p = block(h, p, u, prepared.pair_mask, prepared.bias)
        c = self.head(p)[..., 0]
        reach = 1.0 / (1.0 + (q / self.config.reach) ** 3)
        strength = (self.config.strength * reach * (c + c.transpose(1, 2)) * prepared.pair_mask).to(
            x.dtype
        )
        total = (strength[..., None] * unit).sum(2)
        if self.along is not None and axes is not None:
            total = total + (self.config.strength * self.along.force(axes, h)).to(x.dtype)
        return total * prepared.inverse_mass[..., None]


def make_force(config: ForceConfig) -> ForceNetwork | PairForceNetwork:
    """The network of a config: pair forces where it has no blocks."""
    return ForceNetwork(config) if config.blocks else PairForceNetwork(config)


def pair_vectors(x: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (b, n, n, d) from j to i and distances (b, n, n), kept from zero."""
    r = x[:, :, None] - x[:, None]
    d = (r.square().sum(-1) + 1e-6).sqrt()
    return r / d[..., None], d
