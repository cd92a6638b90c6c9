"""Layers that several networks are built from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of `stages` times `blocks` message blocks."""

    width: int = 128  # of the state of an atom
    pair_width: int = 48  # of the state of a pair
    vectors: int = 8  # on each atom, in a message
    radial: int = 20  # Gaussians that a distance is expanded in
    stages: int = 2
    blocks: int = 2  # of a stage
    cutoff_A: float = 8.0  # centre of the last Gaussian


@dataclass(frozen=True)
class NetworkConfig(BlockSizes):
    """Sizes of a network whose blocks alternate with Newton steps."""

    newton: int = 2  # Newton steps after the blocks of each stage
    noise: bool = False  # whether it reads a noise level sigma


def embedded(tables: Iterable[nn.Module], codes: Tensor) -> Tensor:
    """The sum (..., width) of the embeddings of codes (..., k), one table per code."""
    parts: Iterator[Tensor] = (table(codes[..., k]) for k, table in enumerate(tables))
    return reduce(torch.add, parts)


class Gaussians(nn.Module):
    """Gaussians of unit height at `count` even steps from `low` to `high`."""

    def __init__(self, low: float, high: float, count: int, inverse_width: float):
        super().__init__()
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(low, high, count), persistent=False)
        self.inverse_width = inverse_width

    def exponent(self, u: Tensor) -> Tensor:
        """Minus the logarithm (..., count) of the Gaussians at u (...)."""
        return 0.5 * ((u[..., None] - self.centres) * self.inverse_width).square()


class RadialBasis(Gaussians):
    """Gaussians in the distance, narrow where bonds are: even steps in log(1 + d), from
    0.7 A on.
    """

    def __init__(self, count: int, cutoff_A: float):
        low, high = math.log1p(0.7), math.log1p(cutoff_A)
        super().__init__(low, high, count, count / (high - low))

    def forward(self, d: Tensor) -> Tensor:
        """(..., count) of distances (...), in A."""
        return torch.exp(-self.exponent(torch.log1p(d)))


class LogRadialBasis(Gaussians):
    """Gaussians in the distance at even steps in log(d), for lengths of any unit."""

    def __init__(self, count: int, shortest: float, longest: float):
        low, high = math.log(shortest), math.log(longest)
        super().__init__(low, high, count, (count - 1) / (high - low))

    def forward(self, d: Tensor) -> Tensor:
        """(..., count) of distances (...)."""
        # what is smaller would be subnormal, and slow every product by ten
        return torch.exp(-self.exponent(d.log()).clamp_max(30.0))


def pairs_of(mask: Tensor) -> Tensor:
    """Which pairs (b, n, n) are of two different nodes of mask (b, n)."""
    apart = ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return mask[:, :, None] & mask[:, None] & apart


def attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention's logits (b, n, n): 0 between nodes of mask (b, n),
    -1e9 elsewhere.
    """
    both = mask[:, :, None] & mask[:, None]
    return torch.zeros(both.shape, dtype=dtype, device=mask.device).masked_fill(~both, -1e9)


def block_masks(mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What a `Block` reads of mask (b, n): attention's bias, and which pairs are of two
    different nodes, (b, n, n) each.
    """
    return attention_bias(mask, dtype), pairs_of(mask).to(dtype)


class Block(nn.Module):
    """One round of messages: pairs -> vectors on atoms -> invariants of those on pairs
    -> pairs -> atoms.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        w, p, v = config.width, config.pair_width, config.vectors
        self.to_vectors = nn.Linear(p, v, bias=False)
        self.pair_norm, self.atom_norm, self.mlp_norm = (
            nn.LayerNorm(p),
            nn.LayerNorm(w),
            nn.LayerNorm(w),
        )
        self.from_atoms = nn.Linear(w, 2 * p, bias=False)
        self.pair_in = nn.Linear(p + 4 * v, 2 * p)
        self.pair_out = nn.Linear(2 * p, p, bias=False)
        self.heads = 8
        self.to_attention = nn.Linear(p, self.heads)
        self.values = nn.Linear(w, w)
        self.from_pairs = nn.Linear(2 * p, w)
        self.from_attention = nn.Linear(w, w)
        self.mlp = nn.Sequential(nn.Linear(w + v, 2 * w), nn.SiLU(), nn.Linear(2 * w, w))

    def forward(
        self, h: Tensor, p: Tensor, unit: Tensor, pair_mask: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """h (b, n, width), p (b, n, n, pair_width), unit (b, n, n, 3), pair_mask and
        attention bias (b, n, n).
        """
        b, n, w = h.shape
        left, right = self.from_atoms(self.atom_norm(h)).chunk(2, dim=-1)
        q = self.pair_norm(p) + left[:, :, None] + right[:, None]
        weight = self.to_vectors(q) * pair_mask[..., None]  # (b, i, j, v)
        vector = weight.transpose(2, 3) @ unit  # (b, i, v, x)
        along = unit @ vector.transpose(2, 3)  # V_i . u_ij
        back = -torch.einsum("bjvx,bijx->bijv", vector, unit)  # V_j . u_ji
        dot = torch.einsum("bivx,bjvx->bijv", vector, vector)
        # ReLU, not SiLU: on pair tensors the exponential would be a fifth of the time
        hidden = functional.relu(
            self.pair_in(torch.cat([q, along, back, dot, along * back], dim=-1))
        )
        p = torch.addmm(
            p.reshape(b * n * n, -1), hidden.view(b * n * n, -1), self.pair_out.weight.t()
        ).view(p.shape)
        attention = (self.to_attention(p) + bias[..., None]).softmax(dim=2)  # over j
        value = self.values(h).view(b, n, self.heads, -1)
        mixed = torch.einsum("bijh,bjhc->bihc", attention, value).reshape(b, n, w)
        summed = (pair_mask[:, :, None] @ hidden)[:, :, 0]
        h = h + self.from_attention(mixed) + self.from_pairs(summed * 0.25)
        size = vector.square().sum(-1)
        return h + self.mlp(torch.cat([self.mlp_norm(h), size], dim=-1)), p


SIGMA_DATA_A = 1.4  # spread of the coordinates of a conformer


def signed_volume(corner: Tensor) -> tuple[Tensor, Tensor]:
    """(a - d) . ((b - d) x (c - d)) of corners (..., 4, 3), and its gradient with
    respect to them, of bounded length.
    """
    a, b, c = (corner[..., k, :] - corner[..., 3, :] for k in range(3))
    bc, ca, ab = torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)
    gradient = torch.stack([bc, ca, ab, -(bc + ca + ab)], dim=-2)
    length = gradient.square().sum((-1, -2), keepdim=True).add(1.0).sqrt()
    return (a * bc).sum(-1), gradient / length
