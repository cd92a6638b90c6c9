"""The distance network of labelled points: clean distances of every pair from noisy
coordinates.

As `distance.network`, whose encoder of molecules knows elements and bonds, but every
point and every pair has an embedding of its own, and the preconditioning is that of the
pair: its mean distance mu and its spread s over the training sets. A rigid pair has
s = 0, so its clean distance is mu whatever the noise; nothing of it must be learnt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from equidrift.models.conformers.distance.network import (
    GlobalLayer,
    noise_features,
    pair_indices,
)

LEAST_SPREAD = 1e-3  # of a rigid pair, in units of the sets' radius


@dataclass(frozen=True)
class PointSizes:
    """Sizes of the network; stored in the weights' card."""

    n_points: int
    hidden: int = 64
    layers: int = 4


def silence(layers: nn.Sequential) -> None:
    """Let the last layer begin with zeros."""
    last = cast(nn.Linear, layers[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


class PairLayer(nn.Module):
    """Update of the pairs' features by those of their two ends; (P, B, h)."""

    def __init__(self, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.ends = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden))
        silence(self.out)

    def forward(self, edges: Tensor, x: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """See `torch.nn.Module.forward`."""
        ends = self.ends(x)
        updated: Tensor = edges + self.out(self.norm(edges) + ends[i] + ends[j])
        return updated


class PointNetwork(nn.Module):
    """Clean distances of the pairs of K labelled points from noisy coordinates;
    invariant to E(3), so blind to mirror images.

    Parameters
    ----------
    sizes : PointSizes
        Number of points and widths.
    mean, spread : Tensor, shape (P,), optional
        Of the pairs' distances in the training sets, in the order of `pair_indices`.
        Left out where weights are loaded.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, sizes: PointSizes, mean: Tensor | None = None, spread: Tensor | None = None):
        super().__init__()
        self.config, h = sizes, sizes.hidden
        count = sizes.n_points * (sizes.n_points - 1) // 2
        self.points = nn.Embedding(sizes.n_points, h)
        self.pairs = nn.Embedding(count, h)
        self.noise = nn.Sequential(nn.Linear(9, h), nn.SiLU(), nn.Linear(h, 2 * h))
        self.length = nn.Linear(4, h)
        self.length_out = nn.Sequential(nn.SiLU(), nn.Linear(h, h), nn.SiLU())
        self.messages = nn.ModuleList(GlobalLayer(h) for _ in range(sizes.layers))
        self.updates = nn.ModuleList(PairLayer(h) for _ in range(sizes.layers))
        self.head = nn.Sequential(nn.LayerNorm(h), nn.Linear(h, h), nn.SiLU(), nn.Linear(h, 1))
        silence(self.head)
        for name, values in (("mean", mean), ("spread", spread)):
            given = torch.zeros(count, device="cpu") if values is None else values.float()
            self.register_buffer(name, given)

    def forward(self, positions: Tensor, sigma: Tensor) -> Tensor:
        """Clean distances (B, P) in the order of `pair_indices(K)`.

        Parameters
        ----------
        positions : Tensor, shape (B, K, 3)
            Noisy coordinates, in units of the sets' radius.
        sigma : Tensor, shape (B,)
            Noise level of a coordinate, in the same unit.
        """
        return self._denoised(positions, sigma)[0]

    def residuals(self, positions: Tensor, sigma: Tensor, clean: Tensor) -> Tensor:
        """Errors (B, P) of the clean distances, in units of what a Gaussian prior of
        the pair leaves unknown.
        """
        predicted, unknown = self._denoised(positions, sigma)
        return (predicted - clean) / unknown

    def _denoised(self, positions: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        i, j, _ = pair_indices(self.config.n_points, positions.device)
        x = positions.transpose(0, 1)
        e = (x[i] - x[j]).square().sum(-1).clamp_min(1e-12).sqrt()
        mean, spread = self.mean[:, None], self.spread[:, None]
        both = 2.0 * sigma**2
        skip = spread**2 / (spread**2 + both)
        unknown = torch.sqrt(both * skip)
        edges, atoms = self._features(e, (e - mean) / torch.sqrt(spread**2 + both), sigma)
        scale = torch.full_like(sigma, 1.0 / math.sqrt(self.config.n_points))[:, None]
        whole = torch.ones_like(edges[..., :1])
        for message, update in zip(self.messages, self.updates, strict=True):
            atoms = message(atoms, edges, whole, scale)
            edges = update(edges, atoms, i, j)
        d = skip * e + (1.0 - skip) * mean + unknown * self.head(edges).squeeze(-1)
        return d.T, unknown.T

    def _features(self, e: Tensor, whitened: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """First features of the pairs (P, B, h) and of the points (K, B, h)."""
        of_pairs, of_points = self.noise(noise_features(sigma)).chunk(2, -1)
        lengths = torch.stack(
            [
                whitened,
                whitened.square().clamp_max(25.0) - 1.0,
                e * torch.rsqrt(1 + 6 * sigma**2),
                torch.log1p(e / sigma) - 2.0,
            ],
            -1,
        )
        edges = self.length_out(self.length(lengths) + of_pairs + self.pairs.weight[:, None])
        return edges, self.points.weight[:, None] + of_points
