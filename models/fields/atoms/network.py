"""Networks for fields on the atoms of molecules: the index of the field is the molecule
itself, elements and positions.

One equivariant network over atoms (the trunk) gives the limiting GP its mean
m(x) and its kernel K(x, x), which is positive by construction; a second, smaller one is
the score's. A point is (x, y, z, atomic number): position in A, and 0 where a batch is
padded. Values are scalars (1 component), vectors (3) or symmetric tensors (6, so scaled
that lengths are those of the 3 x 3 matrix).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from equidrift.models.fields.functions.gram import Gram
from equidrift.models.shared.backbones.choice import make_trunk
from equidrift.models.shared.backbones.radial import VectorLayer, pair_sums
from equidrift.models.shared.backbones.trunk import Edges as SharedEdges
from equidrift.models.shared.backbones.trunk import Features, Globals, Sizes
from equidrift.models.shared.backbones.trunk import Trunk as SharedTrunk

Rank = Literal["scalar", "vector", "tensor"]
COMPONENTS = {"scalar": 1, "vector": 3, "tensor": 6}
PLACES = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))  # of the six components
MAX_NUMBER = 100
RADIAL = "radial"  # the trunk of this module
Edges = tuple[
    Tensor, Tensor
]  # radial filters (B, radial, n, n) and unit vectors from j to i (B, n, n, 3)


@dataclass(frozen=True)
class AtomConfig:
    """Sizes of an atom field's networks.

    rank : what a value is.
    balanced : the values of a molecule sum to zero, as charges and forces do; vectors
        exert no torque either.
    backbone : the trunk that gives atoms their features; "radial", or another name of
        `models.shared.backbones.choice`.
    noise : standard deviation of the white part, in units of the standardised values.
    features : rank of the low-rank parts of the kernel.
    """

    rank: Rank = "vector"
    balanced: bool = False
    width: int = 48
    layers: int = 4
    radial: int = 16
    cutoff_A: float = 6.0
    features: int = 16
    score_width: int = 24
    score_layers: int = 2
    noise: float = 1e-3
    backbone: str = RADIAL

    @property
    def components(self) -> int:
        """Numbers a value has."""
        return COMPONENTS[self.rank]


def to_six(tensor: Tensor) -> Tensor:
    """Symmetric matrices (..., 3, 3) as (..., 6), of the same length."""
    return torch.stack(
        [tensor[..., i, j] * (1.0 if i == j else math.sqrt(2.0)) for i, j in PLACES], -1
    )


def to_matrix(six: Tensor) -> Tensor:
    """The inverse of `to_six`."""
    out = six.new_zeros(*six.shape[:-1], 3, 3)
    for k, (i, j) in enumerate(PLACES):
        out[..., i, j] = out[..., j, i] = six[..., k] / (1.0 if i == j else math.sqrt(2.0))
    return out


def edges(x: Tensor, radial: int, cutoff_A: float) -> Edges:
    """Gaussians of all distances below the cutoff, which fall off smoothly, divided by
    the root of the neighbours' number.
    """
    exists = x[..., 3] > 0
    difference = x[:, :, None, :3] - x[:, None, :, :3]
    distance = (difference.square().sum(-1) + 1e-12).sqrt()
    near = distance / cutoff_A
    window = torch.where(near < 1, 0.5 * (1 + (math.pi * near).cos()), torch.zeros_like(near))
    window = (
        window
        * (exists[:, :, None] & exists[:, None])
        * (1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
    )
    centres = torch.linspace(0.6 / cutoff_A, 1.0, radial, dtype=x.dtype, device=x.device)
    filters = (-((near[..., None] - centres) * radial).square()).exp() * window[..., None]
    return filters.permute(0, 3, 1, 2) / (1 + window.sum(-1))[
        :, None, :, None
    ].sqrt(), difference / (distance + 1e-6)[..., None]


class Trunk(nn.Module):
    """Scalars (B, n, C) and vectors (B, n, 3, C) of every atom, from elements and
    positions alone.
    """

    def __init__(self, config: AtomConfig):
        super().__init__()
        self.config = config
        self.element = nn.Embedding(MAX_NUMBER, config.width)
        count = config.layers if config.backbone == RADIAL else 0
        self.layers = nn.ModuleList(
            [VectorLayer(config.width, config.radial) for _ in range(count)]
        )
        self.other: SharedTrunk | None = None
        if config.backbone != RADIAL:
            self.other = make_trunk(config.backbone, sizes_of(config))
        # where a value depends on the frame's origin (r x f), atoms must know their place in the
        # molecule
        self.place = nn.Parameter(torch.randn(config.width)) if config.rank == "tensor" else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Edges]:
        """x (B, n, 4)."""
        s = self.element(x[..., 3].long())
        v = x.new_zeros(*x.shape[:2], 3, self.config.width)
        if self.place is not None:
            keep = (x[..., 3:] > 0).to(x.dtype)
            v = (
                (x[..., :3] - (x[..., :3] * keep).sum(1, keepdim=True) / keep.sum(1, keepdim=True))
                * keep
            )[..., None] * self.place
        pairs = edges(x, self.config.radial, self.config.cutoff_A)
        sums = pair_sums(*pairs)
        for layer in self.layers:
            s, v = layer(s, v, sums)
        if self.other is not None:
            s, v = by_trunk(self.other, s, v, x)
        return s, v, pairs


def sizes_of(config: AtomConfig) -> Sizes:
    """Those of a shared trunk in the place of ours: its features are as many."""
    w = config.width
    return Sizes(w, w, out_scalars=w, out_vectors=w, width=w, layers=config.layers)


def by_trunk(trunk: SharedTrunk, s: Tensor, v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Scalars and vectors of atoms x (B, n, 4) by a shared trunk, from those that they
    begin with.
    """
    b, n, _ = x.shape
    edges = SharedEdges.complete(x[..., 3] > 0, x.new_zeros(b, n, n, 0))
    made: Features = trunk(Features(s, v), x[..., :3], edges, Globals.none(x))
    return made


class Tensors(nn.Module):
    """Symmetric tensors (B, n, 6, q) of scalars and vectors: products of two vectors,
    and multiples of the unit matrix.
    """

    def __init__(self, width: int, count: int):
        super().__init__()
        self.left, self.right = (
            nn.Linear(width, count, bias=False),
            nn.Linear(width, count, bias=False),
        )
        self.trace = nn.Linear(width, count)
        nn.init.zeros_(self.trace.weight)

    def forward(self, s: Tensor, v: Tensor) -> Tensor:
        """From s (B, n, C) and v (B, n, 3, C)."""
        a, b = self.left(v).transpose(2, 3), self.right(v).transpose(2, 3)  # (B, n, q, 3)
        product = 0.5 * (a[..., :, None] * b[..., None, :] + b[..., :, None] * a[..., None, :])
        unit = torch.eye(3, dtype=s.dtype, device=s.device)
        return to_six(product + self.trace(s)[..., None, None] * unit).transpose(2, 3)


class AtomKernel(nn.Module):
    """Mean and kernel of the limiting GP over the atoms of a molecule.

    K = P (A A^T + D^2) P + sum of F_q F_q^T + pairs + noise: A and D are invariants of
    the atoms, times the unit matrix of the components; F_q are equivariant features
    (vectors or tensors); `pairs` are equal and opposite forces of random size along all
    lines between two atoms, the kernel of pairwise potentials; P takes out net values
    and torques where the field has none. Each term is positive.
    """

    def __init__(self, config: AtomConfig):
        super().__init__()
        self.config, self.components = config, config.components
        c, q = config.width, config.features
        self.trunk = Trunk(config)
        self.invariants = nn.Linear(c, q + 1)
        self.pair = nn.Linear(c, 8) if config.rank == "vector" else None
        self.pair_radial = (
            nn.Parameter(0.1 * torch.randn(8, config.radial)) if config.rank == "vector" else None
        )
        if config.rank == "scalar":
            self.mean_out: nn.Module = nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, 1))
            self.features: nn.Module | None = None
        elif config.rank == "vector":
            self.mean_out, self.features = nn.Linear(c, 1, bias=False), nn.Linear(c, q, bias=False)
        else:
            self.mean_out, self.features = Tensors(c, 1), Tensors(c, q)
        self.log_noise = nn.Parameter(torch.tensor(2 * math.log(config.noise)), requires_grad=False)
        self.log_scale = nn.Parameter(
            torch.zeros(()), requires_grad=False
        )  # calibration: factor of all but the noise

    def law(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, AtomGram]:
        """Mean (B, n, p) and Gram matrix of molecules x (B, n, 4), of the atoms in
        `mask` (B, n), or of all.
        """
        s, v, pairs = self.trunk(x)
        s, v = s.to(x.dtype), v.to(x.dtype)
        exists = x[..., 3] > 0
        keep = exists if mask is None else exists & mask
        project = balance(x, self.config.rank) if self.config.balanced else None
        with torch.autocast("cpu", enabled=False):
            gram = self._gram(s, v, pairs, project, exists, keep)
            gram.known = s, v, pairs
            return self._mean(s, v, project, exists), gram

    def gram(self, x: Tensor, mask: Tensor | None = None) -> AtomGram:
        """Gram matrix alone, as `kernels.Kernel` has it."""
        return self.law(x, mask)[1]

    def _mean(self, s: Tensor, v: Tensor, project: Tensor | None, exists: Tensor) -> Tensor:
        if self.config.rank == "scalar":
            mean: Tensor = self.mean_out(s)
        elif self.config.rank == "vector":
            mean = self.mean_out(v)[..., 0]
        else:
            mean = self.mean_out(s, v)[..., 0]
        mean = mean * exists[..., None]
        if project is None:
            return mean
        return (
            (project @ mean.reshape(len(mean), -1, 1).to(project.dtype))
            .reshape(mean.shape)
            .to(mean.dtype)
        )

    def _gram(
        self,
        s: Tensor,
        v: Tensor,
        pairs: Edges,
        project: Tensor | None,
        exists: Tensor,
        keep: Tensor,
    ) -> AtomGram:
        b, n, _ = s.shape
        p = self.components
        here = exists.to(s.dtype)
        a, d = (self.invariants(s) * here[..., None]).split([self.config.features, 1], -1)
        spread = 0.1 * (a @ a.mT) + torch.diag_embed(
            torch.nn.functional.softplus(d[..., 0] - 1.0).square() * here
        )
        unit = torch.eye(p, dtype=s.dtype, device=s.device)
        matrix = (spread[:, :, None, :, None] * unit[:, None]).reshape(b, n * p, n * p).double()
        if self.features is not None:
            f = self.features(v) if self.config.rank == "vector" else self.features(s, v)
            f = (0.1 * f * here[..., None, None]).reshape(b, n * p, -1).double()
            matrix = matrix + f @ f.mT
        if project is not None:
            matrix = project @ matrix @ project
        if self.pair is not None and self.pair_radial is not None:
            matrix = matrix + self._pairs(s, pairs, here)
        matrix = self.log_scale.exp().double() * matrix
        noise = self.log_noise.exp().double()
        total = noise + (
            matrix.diagonal(dim1=1, dim2=2).reshape(b, -1).sum(1) / (p * here.sum(1))
        ).clamp(min=1e-6)
        rows = keep[:, :, None].expand(b, n, p).reshape(b, -1).double()
        matrix = matrix * rows[:, :, None] * rows[:, None] + torch.diag_embed(
            rows * noise + (1 - rows) * total[:, None]
        )
        return AtomGram(matrix, float(total.detach().mean()), n, p, keep)

    def _pairs(self, s: Tensor, pairs: Edges, here: Tensor) -> Tensor:
        assert self.pair is not None and self.pair_radial is not None
        filters, line = pairs
        h = self.pair(s) * here[..., None]
        sizes = torch.einsum("bic,bjc,cr,brij->bij", h, h, self.pair_radial, filters)
        strength = (0.5 * (sizes + sizes.mT)).square().double()
        line = line.double()
        blocks = (
            strength[..., None, None] * line[..., :, None] * line[..., None, :]
        )  # (B, n, n, 3, 3)
        b, n = s.shape[:2]
        own = torch.diag_embed(blocks.sum(2).permute(0, 2, 3, 1)).permute(0, 3, 4, 1, 2)
        return (own - blocks).permute(0, 1, 3, 2, 4).reshape(b, 3 * n, 3 * n)


def balance(x: Tensor, rank: Rank) -> Tensor:
    """Projection (B, n p, n p) onto fields without net value and, for vectors, without
    net torque; in float64.
    """
    x = x.double()
    exists = (x[..., 3] > 0).double()
    b, n = exists.shape
    p = COMPONENTS[rank]
    columns = exists[:, :, None, None] * torch.eye(
        p, dtype=x.dtype, device=x.device
    )  # (B, n, p, p)
    if rank == "vector":
        centre = (x[..., :3] * exists[..., None]).sum(1, keepdim=True) / exists.sum(1)[
            :, None, None
        ]
        arm = (x[..., :3] - centre) * exists[..., None]
        turns = torch.linalg.cross(
            torch.eye(3, dtype=x.dtype, device=x.device).expand(b, n, 3, 3), arm[:, :, None], dim=-1
        )  # rows: turns about x, y, z
        columns = torch.cat([columns, turns.transpose(2, 3)], -1)
    basis = columns.reshape(b, n * p, -1)
    inner = basis.mT @ basis
    out: Tensor = (
        torch.diag_embed(torch.ones(b, n * p, dtype=x.dtype, device=x.device))
        - basis @ torch.linalg.pinv(inner, hermitian=True, rtol=1e-9) @ basis.mT
    )
    return out


class AtomGram(Gram):
    """A Gram matrix whose root is the symmetric one for every rank: it turns with the
    frame and with the order of the atoms.

    `known` is what the trunk has found on the atoms, which the score's network starts
    from.
    """

    known: tuple[Tensor, Tensor, Edges]

    @cached_property
    def _roots(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            values, vectors = torch.linalg.eigh(self.dense)
            values = values.clamp(min=1e-12 * self.variance).sqrt()
            return (vectors * values[:, None]) @ vectors.mT, (
                vectors / values[:, None]
            ) @ vectors.mT

    def root(self, z: Tensor) -> Tensor:
        """K^1/2 z."""
        return self._apply(self._roots[0].to(z.dtype), z)

    def root_cheap(self, z: Tensor) -> Tensor:
        """K^1/2 z."""
        return self.root(z)

    def whiten(self, y: Tensor) -> Tensor:
        """K^-1/2 y."""
        return self._apply(self._roots[1].to(y.dtype), y)
