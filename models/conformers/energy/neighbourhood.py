"""Moments of the surroundings of each heavy atom, and the invariants they make."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equidrift.models.conformers.energy.layers import EnergyConfig, begin_small, dot, perceptron
from equidrift.models.conformers.energy.terms import Graphs
from equidrift.models.shared.graph_codes import (
    ELEMENTS,
    MAX_HOPS,
)

HYDROGEN = 1 + ELEMENTS.index(1)  # code of the element


class Radial(nn.Module):
    """Gaussians (p, k, count) in distances (p, k), smoothly 0 at the cutoff."""

    def __init__(self, count: int, begin_A: float, cutoff_A: float):
        super().__init__()
        self.cutoff_A = cutoff_A
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(begin_A, cutoff_A, count), persistent=False)
        self.inverse_width = 1.2 * (count - 1) / (cutoff_A - begin_A)

    def forward(self, d: Tensor) -> Tensor:
        """Gaussians (p, k, count) of distances (p, k) in A."""
        wave = 0.5 * (1 + torch.cos(d.clamp(max=self.cutoff_A) * (math.pi / self.cutoff_A)))
        return (
            torch.exp(-0.5 * ((d[..., None] - self.centres) * self.inverse_width).square())
            * wave[..., None]
        )


@dataclass
class Surroundings:
    """The neighbours of the heavy atoms, padded to one number K: centres (c,),
    neighbours (c, K), codes of bonds between (c, K).

    `moments` (c, k, 10, K) are 1, the unit vectors and their products; `distances_A`
    (c, k, K); `real` (c, 1, K) marks no padding.
    """

    centres: Tensor
    neighbours: Tensor
    hops: Tensor
    moments: Tensor
    distances_A: Tensor
    real: Tensor


def surroundings(graphs: Graphs, x: Tensor, pairs: Tensor, hops: Tensor) -> Surroundings:
    """The neighbours among `pairs` (p, 2), each of which is a neighbour of either
    end that is no hydrogen.
    """
    heavy = graphs.atom[:, 0] != HYDROGEN
    centre, other = torch.cat([pairs, pairs.flip(1)]).t()
    kept = heavy[centre].nonzero()[:, 0]
    centre, other, code = centre[kept], other[kept], torch.cat([hops, hops])[kept]
    order = torch.argsort(centre, stable=True)
    centre, other, code = centre[order], other[order], code[order]
    centres, row, count = torch.unique_consecutive(centre, return_inverse=True, return_counts=True)
    slot = torch.arange(len(centre), device=centre.device) - (count.cumsum(0) - count)[row]
    width = int(count.max()) if len(count) else 0
    neighbours = centres[:, None].repeat(1, width)
    neighbours[row, slot] = other
    codes = torch.zeros_like(neighbours)
    codes[row, slot] = code
    r = (
        x.index_select(1, neighbours.reshape(-1)).view(3, len(centres), width, -1)
        - x.index_select(1, centres)[:, :, None]
    )
    r = r.transpose(2, 3)  # (3, c, k, K)
    d = (dot(r, r) + 1e-8).sqrt()
    a, b, c = r / d
    one = torch.ones_like(a)
    moments = torch.stack(
        [one, a, b, c, a * a - 1 / 3, b * b - 1 / 3, c * c - 1 / 3, a * b, a * c, b * c], dim=2
    )
    return Surroundings(centres, neighbours, codes, moments, d, (codes > 0)[:, None].to(x.dtype))


class Neighbourhood(nn.Module):
    """Moments of each heavy atom's surroundings up to quadrupoles, and the
    invariants they make.
    """

    def __init__(self, config: EnergyConfig):
        super().__init__()
        w, c = config.width, config.channels
        self.radial = Radial(config.radial, 0.8, config.cutoff_neighbours_A)
        self.filter = nn.Linear(config.radial, c, bias=False)
        self.hop = nn.Embedding(MAX_HOPS + 2, c)
        self.sender = nn.Linear(w, c)
        self.update = perceptron(w + 4 * c, config.hidden, w)
        self.read = perceptron(w, config.hidden // 2, 1)
        begin_small(self.read)

    def forward(self, h: Tensor, around: Surroundings) -> tuple[Tensor, Tensor]:
        """(features (N, k, width), energies (c, k) of the centres) from features h
        (N, 1 or k, width).
        """
        c, k, width = around.distances_A.shape
        sent = (
            self.sender(h)
            .index_select(0, around.neighbours.reshape(-1))
            .view(c, width, h.shape[1], -1)
            .transpose(1, 2)
        )
        sent = sent * (
            self.hop(around.hops)[:, None] * around.real[..., None]
        )  # (c, 1 or k, K, channels)
        weight = self.filter(self.radial(around.distances_A)) * sent
        moment = around.moments @ weight  # (c, k, 10, channels)
        v, q = moment[..., 1:4, :], moment[..., 4:, :]
        scale = q.new_tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])[:, None]
        x, y, z = v.unbind(2)
        products = torch.stack([x * x, y * y, z * z, x * y, x * z, y * z], dim=2)
        invariants = [
            moment[..., 0, :],
            v.square().sum(2),
            (scale * q.square()).sum(2),
            (scale * q * products).sum(2),
        ]
        own = h.index_select(0, around.centres).expand(-1, k, -1)
        change = self.update(torch.cat([own, *invariants], dim=-1))
        state = h.expand(-1, k, -1).index_add(0, around.centres, change)
        return state, self.read(own + change)[..., 0]
