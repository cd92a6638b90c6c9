"""The degenerate set: molecules whose moments of inertia coincide, vanish, or do not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Inputs, Sizes

NUMBERS = {"H": 1.0, "C": 6.0, "N": 7.0, "O": 8.0, "F": 9.0, "Cl": 17.0, "Br": 35.0}
TETRAHEDRON = torch.tensor(
    [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64
) / math.sqrt(3.0)


def _pyramid(height: float, radius: float) -> Tensor:
    turn = 2 * math.pi * torch.arange(3, dtype=torch.float64) / 3
    ring = torch.stack([radius * turn.cos(), radius * turn.sin(), 0 * turn - height], -1)
    return torch.cat([torch.zeros(1, 3, dtype=torch.float64), ring])


def _rings(*radii: float) -> Tensor:
    turn = math.pi * torch.arange(6, dtype=torch.float64) / 3
    ring = torch.stack([turn.cos(), turn.sin(), 0 * turn], -1)
    return torch.cat([radius * ring for radius in radii])


def _centred(*lengths: float) -> Tensor:
    arms = torch.tensor(lengths, dtype=torch.float64)[:, None] * TETRAHEDRON
    return torch.cat([torch.zeros(1, 3, dtype=torch.float64), arms])


def _bent(length: float, angle: float) -> Tensor:
    half = math.radians(angle / 2)
    x, y = length * math.sin(half), length * math.cos(half)
    return torch.tensor([[0, 0, 0], [x, y, 0], [-x, y, 0]], dtype=torch.float64)


# name -> elements, positions in A
MOLECULES: dict[str, tuple[str, Tensor]] = {
    "NH3": ("N H H H", _pyramid(0.38, 0.94)),
    "CH4": ("C H H H H", _centred(1.09, 1.09, 1.09, 1.09)),
    "benzene": ("C C C C C C H H H H H H", _rings(1.39, 2.48)),
    "CO2": ("C O O", _bent(1.16, 180.0)),
    "water": ("O H H", _bent(0.96, 104.5)),
    "CHFClBr": ("C H F Cl Br", _centred(1.09, 1.36, 1.76, 1.93)),
}


def inputs(
    name: str, sizes: Sizes, dtype: torch.dtype, *, vectors: bool = False, seed: int = 3
) -> Inputs:
    """What a trunk of `sizes` takes of a molecule, as one batch of one system.

    Scalars and edges' features are made of elements alone, so that like atoms are alike;
    `vectors`: random ones on nodes, else zero.
    """
    elements, positions = MOLECULES[name]
    z = torch.tensor([NUMBERS[e] for e in elements.split()], dtype=torch.float64)
    n, draw = len(z), torch.Generator().manual_seed(seed)
    powers = torch.arange(1, sizes.scalars + 1, dtype=torch.float64)
    scalars = (0.3 * z[:, None]).log() * powers.cos()
    pairs = (0.1 * z[:, None] * z).log()[..., None] / torch.arange(
        2.0, 2.0 + sizes.edges, dtype=torch.float64
    )
    on_nodes = torch.randn(n, 3, sizes.vectors, generator=draw, dtype=torch.float64) * vectors
    known = Globals(
        torch.randn(1, sizes.global_scalars, generator=draw, dtype=torch.float64),
        torch.randn(1, 3, sizes.global_vectors, generator=draw, dtype=torch.float64),
    )
    exists = torch.ones(1, n, dtype=torch.bool)
    return Inputs(
        Features(scalars[None].to(dtype), on_nodes[None].to(dtype)),
        positions[None].to(dtype),
        Edges.complete(exists, pairs[None].to(dtype)),
        Globals(*(part.to(dtype) for part in known)),
    )
