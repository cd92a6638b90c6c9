"""A network without rotational symmetry: messages on plain coordinates.

What frame averaging and augmentation make of it is measured against the equivariant
trunks. It keeps the order of nodes and translations, nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.egcl import mlp
from equidrift.models.shared.backbones.pairs import CutoffTrunk
from equidrift.models.shared.backbones.trunk import Features, Inputs, Sizes, Symmetry


class PlainLayer(nn.Module):
    """Messages from coordinates' differences; residual features."""

    def __init__(self, width: int, edge_features: int):
        super().__init__()
        self.ends = nn.Linear(width, 2 * width, bias=False)
        self.edge = nn.Linear(3 + edge_features, width)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.node = mlp(2 * width, width, width)

    def forward(self, h: Tensor, known: Tensor, weight: Tensor) -> Tensor:
        """h (b, n, w); known of pairs (b, n, n, 3 + e); their weight (b, n, n)."""
        left, right = self.ends(h).chunk(2, -1)
        m = self.message(left[:, :, None] + right[:, None] + self.edge(known))
        heard = (m * weight[..., None]).sum(2)
        return h + self.node(torch.cat([h, heard], -1))


class PlainNetwork(CutoffTrunk):
    """A network of the trunks' signature that knows no rotation.

    Parameters
    ----------
    sizes, cutoff
        See `CutoffTrunk`.
    """

    symmetry = Symmetry("none", mirrors=False)

    def __init__(self, sizes: Sizes, cutoff: float = 8.0):
        super().__init__(sizes, cutoff)
        w = sizes.width
        self.embed = nn.Linear(sizes.node_scalars + 3 * sizes.node_vectors, w)
        self.layers = nn.ModuleList([PlainLayer(w, sizes.edges) for _ in range(sizes.layers)])
        self.scalars = nn.Linear(w, sizes.out_scalars)
        self.vectors = nn.Linear(w, 3 * sizes.out_vectors)

    def run(self, inputs: Inputs) -> Features:
        """Scalars of the nodes and, of no symmetry, vectors."""
        scalars, vectors = inputs.told()
        h = self.embed(torch.cat([scalars, vectors.flatten(2)], -1))
        pairs = self.pairs(inputs)
        known = torch.cat([pairs.difference, inputs.edges.features], -1)
        for layer in self.layers:
            h = layer(h, known, pairs.weight)
        return Features(self.scalars(h), self.vectors(h).unflatten(-1, (3, -1)))
