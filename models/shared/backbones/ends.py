"""The layers at both ends of a trunk: how vectors come in, and how answers leave."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.trunk import Features, Sizes


class VectorEntry(nn.Module):
    """From a trunk's input vectors (..., 3, v) to its `width`; v may be 0."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, width) * max(1, channels) ** -0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (..., 3, width)."""
        return vectors @ self.weight


class ReadOut(nn.Module):
    """From `width` scalars and vectors per node to those that were asked for."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.scalars = nn.Linear(sizes.width, sizes.out_scalars)
        self.vectors = nn.Linear(sizes.width, sizes.out_vectors, bias=False)

    def forward(self, scalars: Tensor, vectors: Tensor) -> Features:
        """Scalars (b, n, out_scalars) and vectors (b, n, 3, out_vectors)."""
        return Features(self.scalars(scalars), self.vectors(vectors))
