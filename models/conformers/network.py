"""The network of the refiner and of the generator: atoms, pairs and vectors, with a learned Newton step as its output.

Every layer is built from distances and unit vectors, so the network is equivariant under rotations, translations and
reflections; handedness enters only through signed volumes of the tetrahedra that the graph prescribes.

The output is system A's Gauss-Newton map (methods A.3, map 3) made learnable. The network predicts, for every pair of atoms,
a target distance and a stiffness; the coordinates move to the least-squares solution. Where the stiffness of a bond is
large, the bond comes out to a few mA, however far the rest still has to go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.conformers.data import ATOM_CODES, LEVELS, MAX_HOPS, PAIR_CODES, Batch


@dataclass
class Held:
    """What is known beforehand: atoms `mask` (b, n) are at `positions` (b, n, 3), distances within `lower` and `upper` (b, n, n), in A."""

    mask: Tensor
    positions: Tensor
    lower: Tensor | None = None
    upper: Tensor | None = None

    def shifted(self, by: Tensor) -> Held:
        """The same in another frame: `by` (b, 1, 3) is added to every position."""
        return Held(self.mask, self.positions + by, self.lower, self.upper)

    def double(self) -> Held:
        """The same in float64."""
        bounds = [None if table is None else table.double() for table in (self.lower, self.upper)]
        return Held(self.mask, self.positions.double(), *bounds)

    def put(self, x: Tensor) -> Tensor:
        """x (b, n, 3) with the held atoms in their places."""
        return torch.where(self.mask[..., None], self.positions, x)


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes: `stages` times (`blocks` message blocks, then `newton` Newton steps). `noise`: reads a noise level sigma."""

    width: int = 128
    pair_width: int = 48
    vectors: int = 8
    radial: int = 20
    stages: int = 2
    blocks: int = 2
    newton: int = 2
    noise: bool = False
    cutoff_A: float = 8.0


class RadialBasis(nn.Module):
    """Gaussians in the distance, narrow where bonds are: centres equally spaced in log(1 + d)."""

    def __init__(self, count: int, cutoff_A: float):
        super().__init__()
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(math.log1p(0.7), math.log1p(cutoff_A), count), persistent=False)
        self.inverse_width = count / (math.log1p(cutoff_A) - math.log1p(0.7))

    def forward(self, d: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((torch.log1p(d)[..., None] - self.centres) * self.inverse_width).square())


class Block(nn.Module):
    """One round of messages: pairs -> vectors on atoms -> invariants of those on pairs -> pairs -> atoms."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        w, p, v = config.width, config.pair_width, config.vectors
        self.to_vectors = nn.Linear(p, v, bias=False)
        self.pair_norm, self.atom_norm, self.mlp_norm = nn.LayerNorm(p), nn.LayerNorm(w), nn.LayerNorm(w)
        self.from_atoms = nn.Linear(w, 2 * p, bias=False)
        self.pair_in = nn.Linear(p + 4 * v, 2 * p)
        self.pair_out = nn.Linear(2 * p, p, bias=False)
        self.heads = 8
        self.to_attention = nn.Linear(p, self.heads)
        self.values = nn.Linear(w, w)
        self.from_pairs = nn.Linear(2 * p, w)
        self.from_attention = nn.Linear(w, w)
        self.mlp = nn.Sequential(nn.Linear(w + v, 2 * w), nn.SiLU(), nn.Linear(2 * w, w))

    def forward(self, h: Tensor, p: Tensor, unit: Tensor, pair_mask: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """h (b, n, width), p (b, n, n, pair_width), unit (b, n, n, 3), pair_mask and attention bias (b, n, n)."""
        b, n, w = h.shape
        left, right = self.from_atoms(self.atom_norm(h)).chunk(2, dim=-1)
        q = self.pair_norm(p) + left[:, :, None] + right[:, None]
        weight = self.to_vectors(q) * pair_mask[..., None]  # (b, i, j, v)
        vector = weight.transpose(2, 3) @ unit  # (b, i, v, x)
        along = unit @ vector.transpose(2, 3)  # V_i . u_ij
        back = -torch.einsum("bjvx,bijx->bijv", vector, unit)  # V_j . u_ji
        dot = torch.einsum("bivx,bjvx->bijv", vector, vector)
        # ReLU, not SiLU: on pair tensors the exponential would be a fifth of the time
        hidden = functional.relu(self.pair_in(torch.cat([q, along, back, dot, along * back], dim=-1)))
        p = torch.addmm(p.reshape(b * n * n, -1), hidden.view(b * n * n, -1), self.pair_out.weight.t()).view(p.shape)
        attention = (self.to_attention(p) + bias[..., None]).softmax(dim=2)  # over j
        value = self.values(h).view(b, n, self.heads, -1)
        mixed = torch.einsum("bijh,bjhc->bihc", attention, value).reshape(b, n, w)
        summed = (pair_mask[:, :, None] @ hidden)[:, :, 0]
        h = h + self.from_attention(mixed) + self.from_pairs(summed * 0.25)
        size = vector.square().sum(-1)
        return h + self.mlp(torch.cat([self.mlp_norm(h), size], dim=-1)), p


SCALE = 0.3  # of a distance correction: it makes the first steps of the training small
RESTRAINT_STIFFNESS = 30.0  # of a violated distance bound; bonds have about 5
MAX_MOVE_A = 4.0  # of an atom in one Newton step; longer steps are shortened as a whole
SIGMA_DATA_A = 1.4  # spread of the coordinates of a conformer


class NewtonHead(nn.Module):
    """Target distances and stiffnesses of all pairs, and the Newton steps towards them."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        p = config.pair_width
        self.steps = config.newton
        self.norm = nn.LayerNorm(p)
        self.hidden = nn.Linear(p, p)
        self.out = nn.Linear(p, 2)
        self.anchor = nn.Linear(config.width, 1)
        self.by_hops = nn.Parameter(torch.tensor([0.0, 0.0, 4.0, 2.0, 0.0] + [-2.0] * (MAX_HOPS - 3)))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        nn.init.zeros_(self.anchor.weight)
        nn.init.constant_(self.anchor.bias, -1.0)

    def forward(self, x: Tensor, h: Tensor, p: Tensor, hops: Tensor, pair_mask: Tensor, held: Held | None = None) -> Tensor:
        raw = self.out(functional.silu(self.hidden(self.norm(p))))
        raw = raw + raw.transpose(1, 2)
        stiffness = functional.softplus(raw[..., 1] + self.by_hops[hops]) * pair_mask
        anchor = functional.softplus(self.anchor(h))[..., 0] + 1e-3
        target = distances(x)[1] + SCALE * raw[..., 0]
        if held is not None:
            x = held.put(x)
        start = x
        for _ in range(self.steps):
            x = newton_step(x, start, target, stiffness, anchor, held)
        return x


def distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (b, n, n, 3) from j to i and distances (b, n, n); safe to differentiate where atoms coincide."""
    r = x[:, :, None] - x[:, None]
    d = (r.square().sum(-1) + 1e-8).sqrt()
    return r / d[..., None], d


def newton_step(x: Tensor, start: Tensor, target: Tensor, stiffness: Tensor, anchor: Tensor, held: Held | None = None) -> Tensor:
    """One Gauss-Newton step on sum_ij w_ij (d_ij - t_ij)^2 / 2 + sum_i a_i |x_i - s_i|^2 (methods A.3, map 3).

    Shapes: x, start (b, n, 3); target, stiffness (b, n, n), symmetric; anchor (b, n), positive. `held` atoms stay where x has them: their
    anchors are infinitely stiff, so that their rows and columns leave the matrix. A violated bound pulls to its nearer end.

    Without gradients the step is solved in float64: the matrix has condition numbers of 1e5, by which float32 would carry the
    rounding of a batch's order into the fourth digit of an Angstrom.
    """
    if x.dtype == torch.float32 and not torch.is_grad_enabled() and x.device.type != "mps":
        wide = None if held is None else held.double()
        return newton_step(x.double(), start.double(), target.double(), stiffness.double(), anchor.double(), wide).float()
    b, n, _ = x.shape
    unit, d = distances(x)
    if held is not None and held.lower is not None and held.upper is not None:
        within = torch.minimum(torch.maximum(d, held.lower), held.upper)
        extra = RESTRAINT_STIFFNESS * (within != d).to(x.dtype)
        target = (stiffness * target + extra * within) / (stiffness + extra).clamp_min(1e-6)
        stiffness = stiffness + extra
    block = torch.einsum("bij,bijx,bijy->bixjy", stiffness, unit, unit)
    diagonal = block.sum(3)
    trace = diagonal.detach().diagonal(dim1=-2, dim2=-1).sum(-1)  # the same in every frame
    floor = 1e-5 * trace.amax(1)  # keeps the matrix positive definite in float32
    diagonal = diagonal + (anchor + floor[:, None])[..., None, None] * torch.eye(3, dtype=x.dtype, device=x.device)
    matrix = torch.diag_embed(diagonal.permute(0, 2, 3, 1)).permute(0, 3, 1, 4, 2) - block
    pull = stiffness * (target - d)
    force = torch.einsum("bij,bijx->bix", pull, unit) + anchor[..., None] * (start - x)
    if held is not None:
        free = (~held.mask).to(x.dtype)
        keep = free[:, :, None, None, None] * free[:, None, None, :, None]
        matrix = matrix * keep + torch.diag_embed((1 - free)[..., None].expand(b, n, 3).reshape(b, 3 * n)).view(b, n, 3, n, 3)
        force = force * free[..., None]
    factor, _ = torch.linalg.cholesky_ex(matrix.reshape(b, 3 * n, 3 * n))
    move = torch.cholesky_solve(force.reshape(b, 3 * n, 1), factor).view(b, n, 3)
    longest = move.detach().square().sum(-1).amax(1).sqrt()
    return x + move * (MAX_MOVE_A / longest.clamp_min(MAX_MOVE_A))[:, None, None]


class NoiseAndHand(nn.Module):
    """What only the generator reads: the noise level, and by how much each prescribed tetrahedron has the wrong hand."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        w = config.width
        self.sigma = nn.Sequential(nn.Linear(16, w), nn.SiLU(), nn.Linear(w, w))
        self.volume = nn.ModuleList([nn.Sequential(nn.Linear(3, w), nn.SiLU(), nn.Linear(w, w)) for _ in range(config.stages)])
        turns = [nn.Linear(w, 1) for _ in range(config.stages)]
        self.turn = nn.ModuleList(turns)
        # zero at first, so that a refiner's network can be turned into a generator's without losing what it knows
        last = [module[-1] if isinstance(module, nn.Sequential) else module for module in (self.sigma, *self.volume, *turns)]
        for parameter in (p for module in last for p in module.parameters()):
            nn.init.zeros_(parameter)
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.arange(1, 9) * 0.5, persistent=False)

    def of_sigma(self, sigma: Tensor) -> Tensor:
        """Features (b, width) of noise levels in A."""
        phase = sigma.clamp_min(1e-3).log()[:, None] * self.frequencies
        return self.sigma(torch.cat([phase.sin(), phase.cos()], dim=-1))

    def of_volumes(self, stage: int, x: Tensor, h: Tensor, tetrahedral: Tensor) -> tuple[Tensor, Tensor]:
        """(change of h, displacement of x): signed volumes enter the centres, and atoms move along the volumes' gradients."""
        if tetrahedral.shape[1] == 0:
            return torch.zeros_like(h), torch.zeros_like(x)
        b, _, w = h.shape
        real = (tetrahedral[..., :1] >= 0).to(x.dtype)
        index = tetrahedral.clamp_min(0)
        corner = x.gather(1, index[..., 1:].reshape(b, -1, 1).expand(-1, -1, 3)).view(b, -1, 4, 3)
        volume, gradient = signed_volume(corner)
        features = torch.stack([volume, torch.tanh(volume), (volume < 0).to(x.dtype)], dim=-1).clamp(-8, 8)
        message = self.volume[stage](features) * real
        centre = index[..., :1].expand(-1, -1, w)
        dh = torch.zeros_like(h).scatter_add(1, centre, message)
        strength = self.turn[stage](h.gather(1, centre) + message) * real
        push = (strength[..., None] * gradient).reshape(b, -1, 3)
        dx = torch.zeros_like(x).scatter_add(1, index[..., 1:].reshape(b, -1, 1).expand(-1, -1, 3), push)
        return dh, dx


def signed_volume(corner: Tensor) -> tuple[Tensor, Tensor]:
    """(a - d) . ((b - d) x (c - d)) of corners (..., 4, 3), and its gradient with respect to them, of bounded length."""
    a, b, c = (corner[..., k, :] - corner[..., 3, :] for k in range(3))
    bc, ca, ab = torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)
    gradient = torch.stack([bc, ca, ab, -(bc + ca + ab)], dim=-2)
    length = gradient.square().sum((-1, -2), keepdim=True).add(1.0).sqrt()
    return (a * bc).sum(-1), gradient / length


class ConformerNetwork(nn.Module):
    """Positions in, positions out: the estimate of the clean conformer, one a stage."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        w, p = config.width, config.pair_width
        self.atom = nn.ModuleList([nn.Embedding(size, w) for size in ATOM_CODES])
        self.pair = nn.ModuleList([nn.Embedding(size, p) for size in PAIR_CODES])
        self.level = nn.Embedding(len(LEVELS), w)
        self.radial = RadialBasis(config.radial, config.cutoff_A)
        self.outer = nn.Linear(w, 2 * p, bias=False)
        self.distance = nn.ModuleList([nn.Linear(config.radial, p) for _ in range(config.stages)])
        self.blocks = nn.ModuleList([nn.ModuleList([Block(config) for _ in range(config.blocks)]) for _ in range(config.stages)])
        self.newton = nn.ModuleList([NewtonHead(config) for _ in range(config.stages)])
        self.noise = NoiseAndHand(config) if config.noise else None

    def forward(
        self,
        batch: Batch,
        x: Tensor,
        level: Tensor,
        sigma: Tensor | None = None,
        held: Held | None = None,
        condition: Tensor | None = None,
    ) -> list[Tensor]:
        """Estimates after each stage, last the best; `held` atoms are in their places in each of them.

        x (b, n, 3) in A, centred; level (b,) indices into `LEVELS`; sigma (b,) in A, for a network that reads noise levels:
        x is then scaled to the spread of the data first (EDM's c_in), so that the radial basis sees it. `condition` (b, width) is added to
        every atom's features: what else is known of the conformer, from whoever calls.
        """
        atom, pair = batch.atom.int(), batch.pair.int()
        h = sum(table(atom[..., k]) for k, table in enumerate(self.atom)) + self.level(level)[:, None]
        if condition is not None:
            h = h + condition[:, None]
        left, right = self.outer(h).chunk(2, dim=-1)
        p = sum(table(pair[..., k]) for k, table in enumerate(self.pair)) + left[:, :, None] + right[:, None]
        both = batch.mask[:, :, None] & batch.mask[:, None]
        bias = torch.zeros(both.shape, dtype=x.dtype, device=x.device).masked_fill(~both, -1e9)
        both = both & ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        pair_mask = both.to(x.dtype)
        hops, out = pair[..., 1].long(), []
        if self.noise is not None and sigma is not None:
            h = h + self.noise.of_sigma(sigma)[:, None]
            x = x * (SIGMA_DATA_A / (sigma.square() + SIGMA_DATA_A**2).sqrt())[:, None, None]
        for stage, (distance, blocks, newton) in enumerate(zip(self.distance, self.blocks, self.newton)):
            if self.noise is not None:
                dh, dx = self.noise.of_volumes(stage, x, h, batch.tetrahedral)
                h, x = h + dh, x + dx
            unit, d = distances(x)
            p = p + distance(self.radial(d))
            for block in cast(nn.ModuleList, blocks):
                h, p = block(h, p, unit, pair_mask, bias)
            x = newton(x, h, p, hops, pair_mask, held)
            out.append(x)
        return out
