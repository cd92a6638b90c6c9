"""Subequivariance: symmetric about given axes, and free off them.

A field, gravity or a surface's normal leaves of all rotations those about its direction.
Every trunk takes such vectors as `Globals.vectors`; this one is made for them. Its
messages are combinations of vectors Z, the global ones among them, with coefficients
that depend on all their dot products:

    phi(Z, h) = Z V,   V = MLP(Z^T Z, h).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.egcl import mlp
from equidrift.models.shared.backbones.ends import ReadOut, VectorEntry
from equidrift.models.shared.backbones.pairs import CutoffTrunk
from equidrift.models.shared.backbones.trunk import Features, Inputs, Sizes, Symmetry

CHANNELS_PER_VECTOR = 8  # vectors are `width` / 8: dot products grow with their square


class GramMap(nn.Module):
    """Vectors and scalars from vectors Z (..., 3, m) and scalars h (..., s).

    Parameters
    ----------
    vectors, scalars : int
        m and s.
    width, out : int
        Scalars and vectors that come out.
    """

    def __init__(self, vectors: int, scalars: int, width: int, out: int):
        super().__init__()
        self.out, self.width = out, width
        upper = torch.triu_indices(vectors, vectors)
        self.rows: Tensor
        self.columns: Tensor
        self.register_buffer("rows", upper[0], persistent=False)
        self.register_buffer("columns", upper[1], persistent=False)
        self.net = mlp(len(upper[0]) + 1 + scalars, width, width + vectors * out)

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Scalars (..., width) and vectors (..., 3, out)."""
        gram = z.mT @ z
        # on a scale where long vectors do not drown the rest, as in SGRL's code
        size = 1 + (gram.square().sum((-1, -2)) + 1e-12).sqrt()[..., None]
        dots = gram[..., self.rows, self.columns] / size
        scalars, mixing = self.net(torch.cat([dots, size.log(), h], -1)).split(
            [self.width, z.shape[-1] * self.out], -1
        )
        return scalars, z @ mixing.unflatten(-1, (z.shape[-1], self.out)) / size[..., None].sqrt()


class SubequivariantLayer(nn.Module):
    """Messages from both ends' vectors, the line between and the global vectors; then an
    update of the nodes by the same kind of map.
    """

    def __init__(self, sizes: Sizes, channels: int):
        super().__init__()
        w, k = sizes.width, sizes.global_vectors
        self.message = GramMap(2 * channels + 1 + k, 2 * w + sizes.edges + 1, w, channels)
        self.update = GramMap(2 * channels + k, 2 * w, w, channels)

    def forward(
        self, h: Tensor, v: Tensor, lines: Tensor, known: Tensor, weight: Tensor, field: Tensor
    ) -> tuple[Tensor, Tensor]:
        """h (b, n, w), v (b, n, 3, c), lines (b, n, n, 3, 1), known of pairs (b, n, n, e),
        their weight (b, n, n), global vectors (b, 3, k).
        """
        b, n, w = h.shape
        both = (b, n, n, -1, -1)
        ends = [v[:, :, None].expand(both), v[:, None].expand(both)]
        told = [h[:, :, None].expand(b, n, n, w), h[:, None].expand(b, n, n, w), known]
        scalars, vectors = self.message(
            torch.cat([*ends, lines, field[:, None, None].expand(both)], -1), torch.cat(told, -1)
        )
        heard = (scalars * weight[..., None]).sum(2)
        pushed = (vectors * weight[..., None, None]).sum(2)
        around = field[:, None].expand(b, n, -1, -1)
        dh, dv = self.update(torch.cat([v, pushed, around], -1), torch.cat([h, heard], -1))
        return h + dh, v + dv


class SubequivariantNetwork(CutoffTrunk):
    """Layers of dot products, with global vectors in every one of them.

    With a global vector g and the nodes turned alone, it is exact under rotations about
    g and free under others; where g turns with the nodes, it is equivariant. Without
    global vectors, or where they are zero, all of O(3) is back. It is blind to the
    mirrors that hold g, and so to chirality.

    Parameters
    ----------
    sizes : Sizes
        Channels, width and layers; `global_vectors` is the number of axes. Give vectors
        a length of about 1: 9.81 would drown the other dot products.
    cutoff : float, optional
        See `CutoffTrunk`.

    References
    ----------
    Han et al., Learning Physical Dynamics with Subequivariant Graph Neural Networks,
    arXiv:2210.06876, equation 6; Chen et al., Subequivariant Graph Reinforcement
    Learning, arXiv:2305.18951.
    """

    symmetry = Symmetry("all", mirrors=True)

    def __init__(self, sizes: Sizes, cutoff: float = 8.0):
        super().__init__(sizes, cutoff)
        w, channels = sizes.width, max(2, sizes.width // CHANNELS_PER_VECTOR)
        self.enter_scalars = nn.Linear(sizes.node_scalars + sizes.node_vectors, w)
        self.enter_vectors = VectorEntry(sizes.node_vectors, channels)
        self.layers = nn.ModuleList(
            [SubequivariantLayer(sizes, channels) for _ in range(sizes.layers)]
        )
        self.widen = VectorEntry(channels, w)
        self.leave = ReadOut(sizes)

    def run(self, inputs: Inputs) -> Features:
        """Scalars and vectors of the nodes."""
        told = inputs.told()
        h, v = self.enter_scalars(told.invariants()), self.enter_vectors(told.vectors)
        pairs = self.pairs(inputs)
        lines = (pairs.difference / (1 + pairs.distance)[..., None])[..., None]  # (b, n, n, 3, 1)
        known = torch.cat([pairs.distance[..., None], inputs.edges.features], -1)
        share, field = pairs.share, inputs.globals.vectors
        for layer in self.layers:
            h, v = layer(h, v, lines, known, share, field)
        return self.leave(h, self.widen(v))
