"""The radial vector network: scalars and vectors on nodes, messages by radial filters.

The trunk of our fields, and the kit's control. Its messages are linear in the filters;
only differences of positions, lengths and dot products enter, so that rotations,
reflections and translations pass through. The layers are PaiNN's in kind (Schutt et
al., arXiv:2102.03150), with all pairs at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.ends import ReadOut, VectorEntry
from equidrift.models.shared.backbones.pairs import RADIAL, CutoffTrunk, Pairs, RootGaussians
from equidrift.models.shared.backbones.trunk import Edges, Features, Inputs, Sizes, Symmetry

FEW_POINTS = 30  # up to which `FewPairs` is the faster form, in two and in three dimensions


@dataclass(frozen=True)
class FewPairs:
    """Sums over the pairs of a few points: a weight for each pair and channel is made.

    Parameters
    ----------
    filters : Tensor
        Radial filters f_r(i, j), shape (B, radial, n, n).
    line : Tensor
        Unit vectors e_ij, shape (B, n, n, d).
    """

    filters: Tensor
    line: Tensor

    def heard(self, radial: Tensor, vectors: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """What points hear: vectors (B, n, d, c) and scalars (B, n, c).

        Parameters
        ----------
        radial : Tensor, shape (4, c, radial)
            Weights of the filters for the neighbour's vector, the part of it along the
            line, the line times its scalar, and its scalar.
        vectors, scalars : Tensor, shapes (B, n, d, c) and (B, n, c)
            What points say.
        """
        weights = torch.einsum(
            "kcr,brij->bkcij", radial.to(self.filters.dtype), self.filters
        )  # a matrix (n, n) for each channel
        whole, along, out, scalar = weights.unbind(1)
        said = vectors.permute(0, 3, 1, 2)  # (B, c, n, d)
        dot = torch.einsum("bijd,bcjd->bcij", self.line, said)  # v_j . e_ij, of every pair
        lines = along * dot + out * scalars.transpose(1, 2)[:, :, None]
        moved = whole @ said + torch.einsum("bcij,bijd->bcid", lines, self.line)
        heard = (scalar @ scalars.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        return moved.permute(0, 2, 3, 1), heard


@dataclass(frozen=True)
class ManyPairs:
    """The same sums as two matrices, which all layers share.

    The weights are multiplied to what the n points say, never to the n^2 pairs. That
    pays from some 30 points on: half the time at 60, a third at 125.

    Parameters
    ----------
    near : Tensor
        f_r(i, j), shape (B, n, radial n).
    along : Tensor
        f_r(i, j) e_ij (e_ij, 1), shape (B, n d, radial (d + 1) n).
    """

    near: Tensor
    along: Tensor

    @classmethod
    def of(cls, filters: Tensor, line: Tensor) -> ManyPairs:
        """Those of the filters and unit vectors of `FewPairs`."""
        b, radial, n, _ = filters.shape
        d = line.shape[-1]
        rows = filters.transpose(1, 2)  # (B, n, radial, n)
        lines = torch.cat([line, torch.ones_like(line[..., :1])], -1)
        pairs = (line[..., None] * lines[..., None, :]).permute(0, 1, 3, 4, 2)  # (B, n, d, d+1, n)
        along = rows[:, :, None, :, None] * pairs[:, :, :, None]
        kept = product_dtype(filters)
        return cls(
            rows.reshape(b, n, radial * n).to(kept),
            along.reshape(b, n * d, radial * (d + 1) * n).to(kept),
        )

    def heard(self, radial: Tensor, vectors: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """As `FewPairs.heard`."""
        b, n, d, c = vectors.shape
        whole, along, out, scalar = radial.to(vectors.dtype).mT.unbind(0)  # (radial, c) each
        near = torch.cat([whole[:, None].expand(-1, d, -1), scalar[:, None]], 1)
        lines = torch.cat([along[:, None].expand(-1, d, -1), out[:, None]], 1)
        both = torch.cat([vectors, scalars[:, :, None]], 2)  # (B, n, d + 1, c)
        said = (near[:, None] * both[:, None]).reshape(b, -1, (d + 1) * c)
        heard = _sum(self.near, said).reshape(b, n, d + 1, c)
        said = (lines[:, :, None] * both.transpose(1, 2)[:, None]).reshape(b, -1, c)
        turned = _sum(self.along, said).reshape(b, n, d, c)
        return heard[:, :, :-1] + turned, heard[:, :, -1]


PairSums = FewPairs | ManyPairs


def pair_sums(filters: Tensor, line: Tensor) -> PairSums:
    """The sums over pairs, in the form that is faster for that many points."""
    if filters.shape[-1] > FEW_POINTS:
        return ManyPairs.of(filters, line)
    return FewPairs(filters, line)


def product_dtype(like: Tensor) -> torch.dtype:
    """What matrix products of such a tensor are computed in: bfloat16 under autocast.

    A matrix that many products share is then converted once, and not by each of them.
    """
    one = like.new_ones(1, 1)
    return (one @ one).dtype


def _sum(matrix: Tensor, said: Tensor) -> Tensor:
    """matrix (B or 1, m, k) @ said (B, k, c); one matrix is not copied for each of B."""
    if len(matrix) == len(said):
        return matrix @ said
    return torch.einsum("mk,bkc->bmc", matrix[0], said)


class VectorLayer(nn.Module):
    """One round of messages between the points: scalars s (B, n, c) and vectors v (B, n,
    d, c), by `pair_sums`.
    """

    def __init__(self, c: int, radial: int):
        super().__init__()
        self.radial = nn.Parameter(torch.randn(4, c, radial) * radial**-0.5)
        self.norm = nn.LayerNorm(c)
        self.send = nn.Linear(c, c)
        self.vectors = nn.Linear(c, 2 * c, bias=False)
        self.mix = nn.Sequential(nn.Linear(3 * c, 2 * c), nn.SiLU(), nn.Linear(2 * c, 4 * c))
        self.update = nn.Linear(2 * c, c, bias=False)

    def forward(self, s: Tensor, v: Tensor, sums: PairSums) -> tuple[Tensor, Tensor]:
        """Scalars and vectors after the round."""
        scale = (v.square().sum(2, keepdim=True).mean(-1, keepdim=True) + 1e-3).rsqrt()
        left, right = self.vectors(v * scale).chunk(2, -1)
        normed = self.norm(s)
        moved, heard = sums.heard(self.radial, left, self.send(normed))
        told = torch.cat([normed, heard, torch.log1p((moved * right).sum(2).abs())], -1)
        gate, turn, keep, ds = self.mix(told).chunk(4, -1)
        both = torch.cat([gate[:, :, None] * moved, turn[:, :, None] * right], -1)
        return s + ds, v + self.update(both) + 0.1 * keep[:, :, None] * v


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
        sums = pair_sums(self.filters(pairs, inputs.edges), pairs.unit)
        for layer in self.layers:
            s, v = layer(s, v, sums)
        return self.leave(s, v)

    def filters(self, pairs: Pairs, edges: Edges) -> Tensor:
        """Filters (b, radial (1 + e), n, n), of distances and the edges' features."""
        weight = pairs.weight
        radial = self.radial(pairs.distance) * weight[..., None]
        known = torch.cat([torch.ones_like(weight)[..., None], edges.features], -1)
        every = (radial[..., None] * known[..., None, :]).flatten(-2)  # (b, n, n, radial (1 + e))
        count = (1 + weight.sum(-1)).sqrt()
        return every.permute(0, 3, 1, 2) / count[:, None, :, None]
