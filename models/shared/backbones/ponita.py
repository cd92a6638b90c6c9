"""PONITA: functions of position and orientation, on R^3 x S^2.

Every node carries a function on the sphere, sampled on one grid of orientations o that
all nodes share. Messages weigh by what is invariant of a pair and an orientation,

    a = r . o,   b = |r - a o|        (r from the node that hears to the one that speaks),

and along the sphere by c = o . o'. Vectors come in as the function v . o and leave as the
mean of a function times o: no Clebsch-Gordan coefficient is needed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.shared.backbones.pairs import CutoffTrunk, window
from equidrift.models.shared.backbones.trunk import Edges, Features, Inputs, Sizes, Symmetry
from equidrift.models.shared.layers import pairs_of

Orientations = Literal[12, 20, 32]
GOLDEN = (1 + 5**0.5) / 2
WIDER = 4  # times the width, inside of a layer (ConvNeXt)


def orientations(count: Orientations) -> Tensor:
    """Unit vectors (count, 3), in float64, whose group is that of the icosahedron.

    The corners of an icosahedron (12), of a dodecahedron (20), or both (32). Each set is
    a spherical 2-design: the mean of o o^T is I / 3, so that vectors come out unbent.
    """
    corners = [(0.0, s, t * GOLDEN) for s in (1, -1) for t in (1, -1)]
    cube = [(float(s), float(t), float(u)) for s in (1, -1) for t in (1, -1) for u in (1, -1)]
    more = [(0.0, s * GOLDEN, t / GOLDEN) for s in (1, -1) for t in (1, -1)]
    icosahedron = [v[k:] + v[:k] for v in corners for k in range(3)]
    dodecahedron = cube + [v[k:] + v[:k] for v in more for k in range(3)]
    sets = {12: icosahedron, 20: dodecahedron, 32: icosahedron + dodecahedron}
    if count not in sets:
        raise InputError(f"{count} orientations; an icosahedral set has 12, 20 or 32 of them")
    found = torch.tensor(sets[count], dtype=torch.float64, device="cpu")
    return found / found.norm(dim=-1, keepdim=True)


def monomials(*parts: Tensor) -> Tensor:
    """All products (..., m) of one to three of the parts (...)."""
    last, found = list(enumerate(parts)), list(parts)
    for _ in range(2):
        last = [(k, part * parts[k]) for j, part in last for k in range(j, len(parts))]
        found += [part for _, part in last]
    return torch.stack(found, -1)


def basis(inside: int, width: int) -> nn.Sequential:
    """The basis of the kernels: two layers."""
    return nn.Sequential(nn.Linear(inside, width), nn.GELU(), nn.Linear(width, width), nn.GELU())


class PonitaLayer(nn.Module):
    """A separable convolution, over positions and then over orientations, each depthwise;
    then a network on channels (ConvNeXt).
    """

    def __init__(self, width: int):
        super().__init__()
        self.spatial = nn.Linear(width, width, bias=False)
        self.fibre = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))
        self.mix = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, WIDER * width),
            nn.GELU(),
            nn.Linear(WIDER * width, width),
        )

    def over_positions(self, h: Tensor, phi: Tensor) -> Tensor:
        """h (b, n, o, c) and the basis phi (b, n, n, o, c): (b, n, o, c)."""
        return (self.spatial(phi) * h[:, None]).sum(2)

    def over_orientations(self, h: Tensor, psi: Tensor) -> Tensor:
        """h (b, n, o, c) and the basis psi (o, o, c): (b, n, o, c)."""
        return torch.einsum("pqc,bnpc->bnqc", self.fibre(psi), h) / h.shape[2]

    def forward(self, h: Tensor, phi: Tensor, psi: Tensor) -> Tensor:
        """The function h (b, n, o, c) after the layer."""
        heard = self.over_orientations(self.over_positions(h, phi), psi) + self.bias
        return h + self.mix(heard)


class PonitaNetwork(CutoffTrunk):
    """PONITA on all pairs of nodes.

    It is exact under the 60 rotations of its grid and their mirror images, and close to
    it under others: training with random rotations shrinks the gap, and the orientations
    may be changed after training, for more of them cost more and err less. Forces by
    autograd are conservative, but have a net torque of the size of that gap:
    `torque.without_torque` takes it out, for a long simulation.

    The kernels know the invariants of O(3): mirror images have the same scalars. R and S
    cannot be told apart, whatever the training.

    Parameters
    ----------
    sizes, cutoff
        See `CutoffTrunk`.
    count : {12, 20, 32}, optional
        Orientations of the grid.

    References
    ----------
    Bekkers et al., Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in
    Position-Orientation Space, arXiv:2310.02970.
    """

    symmetry = Symmetry("icosahedral", mirrors=True)

    def __init__(self, sizes: Sizes, cutoff: float = 8.0, count: Orientations = 12):
        super().__init__(sizes, cutoff)
        w = sizes.width
        self.enter = nn.Linear(sizes.node_scalars + sizes.node_vectors, w, bias=False)
        self.of_pairs = basis(9 + sizes.edges, w)  # 9 monomials of a and b
        self.of_orientations = basis(3, w)  # 3 of c
        self.layers = nn.ModuleList([PonitaLayer(w) for _ in range(sizes.layers)])
        self.leave = nn.Linear(w, sizes.out_scalars + sizes.out_vectors)
        self.grid: Tensor
        # float64 until the network is moved: .double() then finds it exact
        self.register_buffer("grid", orientations(count), persistent=False)

    def run(self, inputs: Inputs) -> Features:
        """Scalars and vectors of the nodes."""
        h = self.lift(inputs)
        phi, psi = self.bases(inputs.positions, inputs.edges)
        for layer in self.layers:
            h = layer(h, phi, psi)
        return self.read(h)

    def lift(self, inputs: Inputs) -> Tensor:
        """Functions (b, n, o, c): scalars are constant on the sphere, v is v . o."""
        scalars, vectors = inputs.told()
        constant = scalars[:, :, None].expand(-1, -1, len(self.grid), -1)
        return self.enter(torch.cat([constant, self.grid.to(vectors.dtype) @ vectors], -1))

    def bases(self, positions: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """Bases of the kernels over positions (b, n, n, o, c), a node with itself too,
        and over orientations (o, o, c); all layers share them.
        """
        grid = self.grid.to(positions.dtype)
        r = positions[:, None] - positions[:, :, None]
        square = r.square().sum(-1)
        along = r @ grid.mT  # (b, n, n, o)
        # the sum of squares may fall below zero by rounding
        across = ((square[..., None] - along.square()).clamp_min(0) + 1e-12).sqrt()
        known = edges.features[:, :, :, None].expand(*along.shape, -1)
        own = edges.nodes[:, :, None] & edges.nodes[:, None] & ~pairs_of(edges.nodes)
        every = Edges(edges.features, edges.linked | own, edges.nodes)
        weight = window((square + 1e-12).sqrt(), every, self.cutoff)
        phi = self.of_pairs(torch.cat([monomials(along, across), known], -1))
        psi = self.of_orientations(monomials(grid @ grid.mT))
        return phi * weight[..., None, None], psi

    def read(self, h: Tensor) -> Features:
        """Means over orientations, of values and of values times orientations."""
        found = self.leave(h)
        scalars, functions = found.split([self.sizes.out_scalars, self.sizes.out_vectors], -1)
        # the mean of o o^T is I / 3
        grid = self.grid.to(h.dtype)
        vectors = 3 * torch.einsum("ox,bnov->bnxv", grid, functions) / len(grid)
        return Features(scalars.mean(2), vectors)

    @torch.no_grad()
    def calibrate(self, inputs: Inputs) -> None:
        """Scale the kernels of a fresh network so that, on this batch, no convolution
        changes the spread of its input. Call it once, before training.
        """
        h = self.lift(inputs)
        phi, psi = self.bases(inputs.positions, inputs.edges)
        here = inputs.edges.nodes
        for layer in self.layers:
            assert isinstance(layer, PonitaLayer)
            first = layer.over_positions(h, phi)
            layer.spatial.weight.mul_(h[here].std() / first[here].std())
            first = layer.over_positions(h, phi)
            second = layer.over_orientations(first, psi)
            layer.fibre.weight.mul_(first[here].std() / second[here].std())
            h = layer(h, phi, psi)
