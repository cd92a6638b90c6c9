"""Pairs of nodes as trunks see them: lines, distances, and how much each one counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.trunk import Edges, Inputs, Sizes, Trunk

RADIAL = 12  # Gaussians between 0 and the cutoff


@dataclass(frozen=True)
class Pairs:
    """Where the nodes of each pair lie; the first node hears, the second one speaks.

    Parameters
    ----------
    difference : Tensor
        From the second node to the first one, (b, n, n, 3).
    distance : Tensor
        (b, n, n); its gradient is finite at 0.
    weight : Tensor
        How much the first node hears of the second one, (b, n, n); see `window`.
    """

    difference: Tensor
    distance: Tensor
    weight: Tensor

    @classmethod
    def within(cls, positions: Tensor, edges: Edges, cutoff: float) -> Pairs:
        """Those of nodes at `positions` (b, n, 3), linked by `edges`."""
        difference = positions[:, :, None] - positions[:, None]
        distance = (difference.square().sum(-1) + 1e-12).sqrt()
        return cls(difference, distance, window(distance, edges, cutoff))

    @property
    def unit(self) -> Tensor:
        """Directions (b, n, n, 3), 0 where two nodes coincide."""
        return self.difference / (self.distance + 1e-6)[..., None]

    @property
    def share(self) -> Tensor:
        """Weights (b, n, n) that keep the size of a sum whatever a node's neighbours."""
        return self.weight / (1 + self.weight.sum(-1, keepdim=True)).sqrt()


def window(distance: Tensor, edges: Edges, cutoff: float) -> Tensor:
    """Weight (b, n, n) of each linked pair: 1 at distance 0, 0 from the cutoff on."""
    near = distance / cutoff
    fall = torch.where(near < 1, 0.5 * (1 + (math.pi * near).cos()), torch.zeros_like(near))
    return fall * edges.linked.to(distance.dtype)


class CutoffTrunk(Trunk):
    """A trunk whose nodes exchange messages with their neighbours alone.

    Parameters
    ----------
    sizes : Sizes
        Channels, width and layers.
    cutoff : float, optional
        Beyond this distance pairs exchange no messages; in the unit of positions.
    """

    def __init__(self, sizes: Sizes, cutoff: float = 8.0):
        super().__init__(sizes)
        self.cutoff = cutoff

    def pairs(self, inputs: Inputs) -> Pairs:
        """Lines and weights of all pairs."""
        return Pairs.within(inputs.positions, inputs.edges, self.cutoff)


class RootGaussians(nn.Module):
    """Gaussians even in the root of the distance: more of them where functions change.

    Parameters
    ----------
    cutoff : float
        Where the last one stands; in the unit of distances.
    """

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(0.0, 1.0, RADIAL), persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        """Values (..., RADIAL) at distances (...)."""
        root = (distance / self.cutoff).sqrt()[..., None] - self.centres
        return (-(root * RADIAL).square()).exp()
