"""Local frames: every node sees its neighbours in axes of its own.

Directions of neighbours, read in the hearer's frame, are invariants; their spherical
harmonics weigh full matrices of channels (S-GCN). Residues have canonical frames; atoms
have not, so two directions u and w are learned here, as sums of lines with invariant
weights, and the axes are

    e1 = u / sqrt(|u|^2 + s),  e3 = u x w / sqrt(|u x w|^2 + s),  e2 = e3 x e1.

Where symmetry leaves a direction undefined (the carbon of methane) its axis shrinks to
zero instead of jumping, so that the network is exact and smooth everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.egcl import mlp
from equidrift.models.shared.backbones.ends import VectorEntry
from equidrift.models.shared.backbones.harmonics import solid_harmonics
from equidrift.models.shared.backbones.pairs import RADIAL, CutoffTrunk, Pairs, RootGaussians
from equidrift.models.shared.backbones.trunk import Features, Inputs, Sizes, Symmetry

SOFT = 1e-2  # s above: squared lengths below it do not define an axis


def soft_axes(u: Tensor, w: Tensor) -> Tensor:
    """Axes (..., 3, 3), in columns, of directions u and w (..., 3).

    A rotation where both are defined; columns shrink to 0 where one is not.
    """
    third = torch.linalg.cross(u, w)
    first, third = (
        part / (part.square().sum(-1, keepdim=True) + SOFT).sqrt() for part in (u, third)
    )
    return torch.stack([first, torch.linalg.cross(third, first), third], -1)


class SphericalGraphLayer(nn.Module):
    """H' = H + sigma(H W + sum_lm S_lm H W_lm + b), S_lm harmonics in the hearers' frames.

    Parameters
    ----------
    width : int
        Channels.
    order : int
        K: degrees 0 to K - 1, K^2 matrices.
    known : int
        Invariants of a pair, from which the radial part of S comes.
    """

    def __init__(self, width: int, order: int, known: int):
        super().__init__()
        self.order = order
        self.norm = nn.LayerNorm(width)
        self.own = nn.Linear(width, width)
        self.radial = mlp(known, width, order * width)
        self.matrices = nn.Parameter(
            torch.randn(order**2, width, width) * (order**2 * width) ** -0.5
        )
        self.degrees: Tensor
        each = [k for k in range(order) for _ in range(2 * k + 1)]
        self.register_buffer("degrees", torch.tensor(each), persistent=False)

    def forward(self, h: Tensor, harmonics: Tensor, known: Tensor, weight: Tensor) -> Tensor:
        """h (b, n, w), harmonics (b, n, n, K^2), known (b, n, n, e), weight (b, n, n)."""
        sent = self.norm(h)
        radial = (self.radial(known) * weight[..., None]).unflatten(-1, (self.order, -1))
        by_order = radial[..., self.degrees, :] * harmonics[..., None]  # (b, n, n, K^2, w)
        heard = torch.einsum("bijkc,bjc->bikc", by_order, sent)
        mixed = torch.einsum("bikc,kcd->bid", heard, self.matrices)
        return h + nn.functional.silu(self.own(sent) + mixed)


class LocalFrameNetwork(CutoffTrunk):
    """S-GCN with learned frames. The frames are right-handed: R and S are told apart.

    Parameters
    ----------
    sizes, cutoff
        See `CutoffTrunk`.
    order : int, optional
        K: harmonics of degrees 0 to K - 1. K = 1 sees no directions.

    References
    ----------
    Igashov et al., Spherical convolutions on molecular graphs for protein model quality
    assessment, arXiv:2011.07980. The published network has the frames of backbones.
    """

    symmetry = Symmetry("all", mirrors=False)

    def __init__(self, sizes: Sizes, order: int = 3, cutoff: float = 8.0):
        super().__init__(sizes)
        self.cutoff, self.order = cutoff, order
        w, known = sizes.width, sizes.node_vectors
        self.embed = nn.Linear(sizes.node_scalars + known, w)
        pair = RADIAL + sizes.edges
        self.directions = mlp(2 * w + pair, w, 2)
        self.pointers = VectorEntry(known, 2)
        self.inside = VectorEntry(3 * known, w)
        self.layers = nn.ModuleList(
            [SphericalGraphLayer(w, order, pair) for _ in range(sizes.layers)]
        )
        self.leave = nn.Linear(w, sizes.out_scalars)
        self.coefficients = mlp(w, w, (3 + known) * sizes.out_vectors)
        self.radial = RootGaussians(cutoff)

    def run(self, inputs: Inputs) -> Features:
        """Scalars and vectors of the nodes."""
        told = inputs.told()
        h = self.embed(told.invariants())
        pairs = self.pairs(inputs)
        known = torch.cat([self.radial(pairs.distance), inputs.edges.features], -1)
        axes = self.axes(h, pairs, known, told.vectors)
        h = h + self.inside((axes.mT @ told.vectors).flatten(2))
        to_others = -pairs.unit @ axes  # (b, n, n, 3), from i to j in i's frame
        harmonics, share = solid_harmonics(to_others, self.order - 1), pairs.share
        for layer in self.layers:
            h = layer(h, harmonics, known, share)
        every = torch.cat([axes, told.vectors], -1)  # (b, n, 3, 3 + v)
        coefficients = self.coefficients(h).unflatten(-1, (-1, self.sizes.out_vectors))
        return Features(self.leave(h), every @ coefficients)

    def axes(self, h: Tensor, pairs: Pairs, known: Tensor, vectors: Tensor) -> Tensor:
        """The nodes' axes (b, n, 3, 3), in columns."""
        b, n, w = h.shape
        ends = [h[:, :, None].expand(b, n, n, w), h[:, None].expand(b, n, n, w)]
        # sums of lines, of unit size at a bond's length
        share = self.directions(torch.cat([*ends, known], -1)) * pairs.weight[..., None]
        lines = torch.einsum("bijk,bijx->bikx", share, -pairs.difference)
        found = lines + self.pointers(vectors).mT
        return soft_axes(found[:, :, 0], found[:, :, 1])
