"""Spherical features: every node holds coefficients of harmonics of all degrees up to L.

Messages are harmonics of the lines between nodes, weighed by what is known of the pair;
each node then multiplies what it heard with itself, by one of the products of
`products`. Degree 0 is scalars, degree 1 vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.egcl import mlp
from equidrift.models.shared.backbones.ends import ReadOut, VectorEntry
from equidrift.models.shared.backbones.harmonics import count, degrees, part, solid_harmonics
from equidrift.models.shared.backbones.pairs import RADIAL, CutoffTrunk, RootGaussians
from equidrift.models.shared.backbones.products import ProductName, make_product
from equidrift.models.shared.backbones.trunk import Features, Inputs, Sizes, Symmetry


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


class SphericalNetwork(CutoffTrunk):
    """Layers of spherical features.

    With the Clebsch-Gordan product it makes pseudovectors and pseudoscalars too, and so
    tells R from S; with a Gaunt product it cannot.

    Parameters
    ----------
    sizes, cutoff
        See `CutoffTrunk`.
    degree : int, optional
        Highest degree L, 1 or more.
    product : {"clebsch-gordan", "gaunt-grid", "gaunt-fourier"}, optional
        Which product a node takes of what it heard.

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
        super().__init__(sizes, cutoff)
        self.symmetry = Symmetry("all", mirrors=product != "clebsch-gordan")
        self.degree = degree
        w = sizes.width
        self.enter_scalars = nn.Linear(sizes.node_scalars + sizes.node_vectors, w)
        self.enter_vectors = VectorEntry(sizes.node_vectors, w)
        self.layers = nn.ModuleList(
            [SphericalLayer(sizes, degree, product) for _ in range(sizes.layers)]
        )
        self.leave = ReadOut(sizes)
        self.radial = RootGaussians(cutoff)

    def run(self, inputs: Inputs) -> Features:
        """Scalars and vectors of the nodes."""
        f = self.enter(inputs.told())
        pairs = self.pairs(inputs)
        known = torch.cat([self.radial(pairs.distance), inputs.edges.features], -1)
        harmonics, share = solid_harmonics(pairs.unit, self.degree), pairs.share
        for layer in self.layers:
            f = layer(f, harmonics, known, share)
        return self.leave(f[:, :, 0], f[:, :, part(1)])

    def enter(self, told: Features) -> Tensor:
        """Features (b, n, (L + 1)^2, c): degree 0 and degree 1, whose order is x, y, z."""
        s = self.enter_scalars(told.invariants())[:, :, None]
        v = self.enter_vectors(told.vectors)
        rest = v.new_zeros(*v.shape[:2], count(self.degree) - 4, v.shape[-1])
        return torch.cat([s, v, rest], 2)
