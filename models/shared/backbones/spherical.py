"""Spherical features: every node holds coefficients of harmonics of all degrees up to L.

Messages are harmonics of the lines between nodes, weighed by what is known of the pair;
each node then multiplies what it heard with itself, by one of the products of
`products`. Degree 0 is scalars, degree 1 vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.egcl import mlp
from equidrift.models.shared.backbones.harmonics import count, degrees, part, solid_harmonics
from equidrift.models.shared.backbones.products import ProductName, make_product
from equidrift.models.shared.backbones.radial import RADIAL, window
from equidrift.models.shared.backbones.trunk import (
    Edges,
    Features,
    Globals,
    ReadOut,
    Sizes,
    Symmetry,
    Trunk,
    VectorEntry,
    squares,
    tell_nodes,
)


class DegreeLinear(nn.Module):
    """A linear map of channels for each degree; a bias at degree 0 alone."""

    def __init__(self, degree: int, inside: int, outside: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(degree + 1, inside, outside) * inside**-0.5)
        self.bias = nn.Parameter(torch.zeros(outside))
        self.degrees: Tensor
        self.register_buffer("degrees", torch.tensor(degrees(degree)), persistent=False)

    def forward(self, f: Tensor) -> Tensor:
        """f (b, n, (L + 1)^2, inside)."""
        out = torch.einsum("bnkc,kcd->bnkd", f, self.weight[self.degrees])
        return torch.cat([out[:, :, :1] + self.bias, out[:, :, 1:]], 2)


class SphericalLayer(nn.Module):
    """Hear the neighbours, multiply, and gate by scalars."""

    def __init__(self, sizes: Sizes, degree: int, product: ProductName):
        super().__init__()
        w = sizes.width
        self.degree = degree
        self.send = nn.Linear(w, w)
        # for each degree: a harmonic times the neighbour's scalars, and its own feature
        self.radial = mlp(RADIAL + sizes.edges, w, 2 * (degree + 1) * w)
        self.left = DegreeLinear(degree, w, w)
        self.right = DegreeLinear(degree, w, w)
        self.product = make_product(product, degree, w)
        self.mix = DegreeLinear(degree, 2 * w, w)
        self.gate = mlp(w, w, (degree + 1) * w)
        self.degrees: Tensor
        self.register_buffer("degrees", torch.tensor(degrees(degree)), persistent=False)

    def forward(self, f: Tensor, harmonics: Tensor, known: Tensor, weight: Tensor) -> Tensor:
        """f (b, n, (L + 1)^2, c), harmonics (b, n, n, (L + 1)^2), known of pairs
        (b, n, n, e), their weight (b, n, n).
        """
        filters = (self.radial(known) * weight[..., None]).unflatten(-1, (2, self.degree + 1, -1))
        ours, theirs = filters[..., self.degrees, :].unbind(3)  # (b, n, n, (L + 1)^2, c)
        spoken = harmonics[..., None] * self.send(f[:, :, 0])[:, None, :, None]
        heard = (ours * spoken + theirs * f[:, None]).sum(2)
        # of one size whatever the number of neighbours: products of small numbers vanish
        heard = heard * (heard.square().sum(2, keepdim=True).mean(-1, keepdim=True) + 1e-3).rsqrt()
        twice = self.product(self.left(heard), self.right(heard))
        new = self.mix(torch.cat([heard, twice], -1))
        gates = self.gate(new[:, :, 0]).unflatten(-1, (self.degree + 1, -1))
        return f + gates[:, :, self.degrees] * new


class SphericalNetwork(Trunk):
    """Layers of spherical features.

    With the Clebsch-Gordan product it makes pseudovectors and pseudoscalars too, and so
    tells R from S; with a Gaunt product it cannot.

    Parameters
    ----------
    sizes : Sizes
        Channels, width and layers.
    degree : int, optional
        Highest degree L, 1 or more.
    product : {"clebsch-gordan", "gaunt-grid", "gaunt-fourier"}, optional
        Which product a node takes of what it heard.
    cutoff : float, optional
        Beyond this distance pairs exchange no messages; in the unit of positions.

    References
    ----------
    Thomas et al., Tensor Field Networks, arXiv:1802.08219; Batatia et al., MACE,
    arXiv:2206.07697, for the product of a node with itself; Luo et al., Gaunt Tensor
    Products, arXiv:2401.10216; Xie et al., The Price of Freedom, arXiv:2506.13523.
    """

    def __init__(
        self,
        sizes: Sizes,
        degree: int = 2,
        product: ProductName = "clebsch-gordan",
        cutoff: float = 8.0,
    ):
        super().__init__(sizes)
        self.symmetry = Symmetry("all", mirrors=product != "clebsch-gordan")
        self.degree, self.cutoff = degree, cutoff
        w = sizes.width
        self.enter_scalars = nn.Linear(sizes.node_scalars + sizes.node_vectors, w)
        self.enter_vectors = VectorEntry(sizes.node_vectors, w)
        self.layers = nn.ModuleList(
            [SphericalLayer(sizes, degree, product) for _ in range(sizes.layers)]
        )
        self.leave = ReadOut(sizes)
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(0.0, 1.0, RADIAL), persistent=False)

    def run(
        self, features: Features, positions: Tensor, edges: Edges, globals: Globals
    ) -> Features:
        """Scalars and vectors of the nodes."""
        scalars, vectors = tell_nodes(features, globals)
        f = self.enter(scalars, vectors)
        difference = positions[:, :, None] - positions[:, None]
        distance = (difference.square().sum(-1) + 1e-12).sqrt()
        weight = window(distance, edges, self.cutoff)
        count_ = (1 + weight.sum(-1, keepdim=True)).sqrt()
        root = (distance / self.cutoff).sqrt()[..., None] - self.centres
        known = torch.cat([(-(root * RADIAL).square()).exp(), edges.features], -1)
        harmonics = solid_harmonics(difference / (distance + 1e-6)[..., None], self.degree)
        for layer in self.layers:
            f = layer(f, harmonics, known, weight / count_)
        return self.leave(f[:, :, 0], f[:, :, part(1)])

    def enter(self, scalars: Tensor, vectors: Tensor) -> Tensor:
        """Features (b, n, (L + 1)^2, c): degree 0 and degree 1, whose order is x, y, z."""
        s = self.enter_scalars(torch.cat([scalars, squares(vectors)], -1))[:, :, None]
        v = self.enter_vectors(vectors)
        rest = v.new_zeros(*v.shape[:2], count(self.degree) - 4, v.shape[-1])
        return torch.cat([s, v, rest], 2)
