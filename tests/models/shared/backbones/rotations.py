"""Rotations for tests."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def random_rotations(count: int, seed: int = 11) -> Tensor:
    """Rotation matrices (count, 3, 3), uniform, in float64."""
    draw = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=draw, dtype=torch.float64))
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    return q * torch.linalg.det(q).sign()[:, None, None]


def icosahedral() -> Tensor:
    """The 60 rotations (60, 3, 3) of the icosahedron with corners (0, +-1, +-phi) and
    their cyclic permutations: products of two of them, until there are no new ones.
    """
    phi = (1 + 5**0.5) / 2
    fifth = 0.5 * torch.tensor(
        [[phi - 1, phi, 1], [-phi, 1, 1 - phi], [-1, 1 - phi, phi]], dtype=torch.float64
    )
    third = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)
    found = [torch.eye(3, dtype=torch.float64)]
    for one in found:
        for other in (fifth, third):
            new = one @ other
            if all((new - old).abs().max() > 1e-9 for old in found):
                found.append(new)
    return torch.stack(found)


def about(axis: Tensor, angle: float) -> Tensor:
    """The rotation (3, 3) about a unit vector by an angle in rad."""
    x, y, z = axis
    generator = torch.zeros(3, 3, dtype=axis.dtype)
    for (i, j), value in zip(itertools.combinations(range(3), 2), (-z, y, -x), strict=True):
        generator[i, j], generator[j, i] = value, -value
    return torch.linalg.matrix_exp(angle * generator)
