"""The radial vector network: scalars and vectors on nodes, messages by radial filters.

The trunk of our fields, and the kit's control. Its messages are linear in the filters;
only differences of positions, lengths and dot products enter, so that rotations,
reflections and translations pass through. The layers are PaiNN's in kind (Schutt et
al., arXiv:2102.03150), with all pairs at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.ends import ReadOut, VectorEntry
from equidrift.models.shared.backbones.pairs import RADIAL, CutoffTrunk, Pairs, RootGaussians
from equidrift.models.shared.backbones.trunk import Edges, Features, Inputs, Sizes, Symmetry


class VectorLayer(nn.Module):
    """One round of messages between the points: scalars s (B, n, c) and vectors v (B, n,
    3, c), by radial filters (B, radial, n, n) and unit vectors (B, n, n, 3).
    """

    def __init__(self, c: int, radial: int):
        super().__init__()
        self.radial = nn.Parameter(torch.randn(4, c, radial) * radial**-0.5)
        self.norm = nn.LayerNorm(c)
        self.send = nn.Linear(c, c)
        self.vectors = nn.Linear(c, 2 * c, bias=False)
        self.mix = nn.Sequential(nn.Linear(3 * c, 2 * c), nn.SiLU(), nn.Linear(2 * c, 4 * c))
        self.update = nn.Linear(2 * c, c, bias=False)

    def forward(self, s: Tensor, v: Tensor, filters: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
        """Scalars and vectors after the round."""
        scale = (v.square().sum(2, keepdim=True).mean(-1, keepdim=True) + 1e-3).rsqrt()
        left, right = self.vectors(v * scale).chunk(2, -1)
        sent = self.send(self.norm(s))
        weights = torch.einsum(
            "kcr,brij->bkcij", self.radial.to(filters.dtype), filters
        )  # a matrix (n, n) for each channel
        whole, along, out, scalar = weights.unbind(1)
        vectors = left.permute(0, 3, 1, 2)  # (B, C, n, d)
        moved = whole @ vectors
        dot = torch.einsum("bijd,bcjd->bcij", line, vectors)  # v_j . e_ij, of every pair
        moved = moved + torch.einsum(
            "bcij,bijd->bcid", along * dot + out * sent.transpose(1, 2)[:, :, None], line
        )
        moved = moved.permute(0, 2, 3, 1)
        heard = (scalar @ sent.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        gate, turn, keep, ds = self.mix(
            torch.cat([self.norm(s), heard, torch.log1p((moved * right).sum(2).abs())], -1)
        ).chunk(4, -1)
        v = (
            v
            + self.update(torch.cat([gate[:, :, None] * moved, turn[:, :, None] * right], -1))
            + 0.1 * keep[:, :, None] * v
        )
        return s + ds, v


class RadialNetwork(CutoffTrunk):
    """Layers of `VectorLayer`, whose filters know the edges' features.

    Parameters
    ----------
    sizes, cutoff
        See `CutoffTrunk`.

    References
    ----------
    Schutt, Unke and Gastegger, arXiv:2102.03150; Mathieu et al., Geometric Neural
    Diffusion Processes, arXiv:2307.05431, for whose vector fields it was written.
    """

    symmetry = Symmetry("all", mirrors=True)

    def __init__(self, sizes: Sizes, cutoff: float = 8.0):
        super().__init__(sizes, cutoff)
        c = sizes.width
        self.enter_vectors = VectorEntry(sizes.node_vectors, c)
        self.enter_scalars = nn.Linear(sizes.node_scalars + sizes.node_vectors, c)
        filters = RADIAL * (1 + sizes.edges)
        self.layers = nn.ModuleList([VectorLayer(c, filters) for _ in range(sizes.layers)])
        self.leave = ReadOut(sizes)
        self.radial = RootGaussians(cutoff)

    def run(self, inputs: Inputs) -> Features:
        """Scalars and vectors of the nodes."""
        told = inputs.told()
        s, v = self.enter_scalars(told.invariants()), self.enter_vectors(told.vectors)
        pairs = self.pairs(inputs)
        filters, unit = self.filters(pairs, inputs.edges), pairs.unit
        for layer in self.layers:
            s, v = layer(s, v, filters, unit)
        return self.leave(s, v)

    def filters(self, pairs: Pairs, edges: Edges) -> Tensor:
        """Filters (b, radial (1 + e), n, n), of distances and the edges' features."""
        weight = pairs.weight
        radial = self.radial(pairs.distance) * weight[..., None]
        known = torch.cat([torch.ones_like(weight)[..., None], edges.features], -1)
        every = (radial[..., None] * known[..., None, :]).flatten(-2)  # (b, n, n, radial (1 + e))
        count = (1 + weight.sum(-1)).sqrt()
        return every.permute(0, 3, 1, 2) / count[:, None, :, None]
