"""A head that answers with a rotation: votes for 60 fixed ones, and their mean.

The mean of rotations is a matrix; the nearest rotation to it (by singular values) is the
answer. It has no sign to choose, as a quaternion has, and so does not jump. Where the
votes come from a network that looks at its input from all 60 orientations, the answer
turns with the input, exactly under those 60 rotations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

GOLDEN = (1 + 5**0.5) / 2


def icosahedral_rotations() -> Tensor:
    """The 60 rotations (60, 3, 3) of an icosahedron, in float64, the identity first.

    As unit quaternions, up to sign: (1, 0, 0, 0), (1, 1, 1, 1) / 2 and (phi, 1, 1 / phi,
    0) / 2 with all signs, in odd orders.
    """
    halves = [(2.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (GOLDEN, 1.0, 1 / GOLDEN, 0.0)]
    found: list[Tensor] = []
    for values, order, signs in itertools.product(
        halves, itertools.permutations(range(4)), itertools.product((1, -1), repeat=4)
    ):
        if sum(a > b for a, b in itertools.combinations(order, 2)) % 2 == 0:
            continue
        quaternion = [0.5 * s * values[k] for s, k in zip(signs, order, strict=True)]
        one = torch.tensor(quaternion, dtype=torch.float64, device="cpu")
        if all((one - other).norm() > 1e-6 and (one + other).norm() > 1e-6 for other in found):
            found.append(one)
    return matrices(torch.stack(found))


def matrices(quaternions: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4), the real part first."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


class _NearestRotation(torch.autograd.Function):
    """U diag(1, 1, d) V^T; its derivative needs sums of singular values, not differences,
    and so is finite where they coincide.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        """The rotation nearest to each matrix."""
        u, s, vt = torch.linalg.svd(matrix)
        sign = torch.linalg.det(u @ vt)
        scale = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
        rotation = (u * scale[..., None, :]) @ vt
        ctx.save_for_backward(rotation, vt, s * scale)
        return rotation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """With M = R P: R^T dM - dM^T R = W P + P W for R^T dR = W."""
        rotation, vt, s = ctx.saved_tensors
        inside = vt @ rotation.mT @ gradient @ vt.mT
        sums = s[..., :, None] + s[..., None, :]
        turn = (inside - inside.mT) / sums.clamp_min(torch.finfo(s.dtype).eps)
        return rotation @ vt.mT @ turn @ vt


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation (..., 3, 3) nearest to each matrix, with a derivative.

    It is unique where the two smallest singular values do not cancel.
    """
    found: Tensor = _NearestRotation.apply(matrix)
    return found


class RotationVotes(nn.Module):
    """From the logits of 60 votes to a rotation.

    References
    ----------
    Feng et al., Generalizing Neural Human Fitting to Unseen Poses With Articulated SE(3)
    Equivariance (ArtEq), arXiv:2304.10528, equation 6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.anchors: Tensor
        # float64 until the head is moved: .double() then finds them exact
        self.register_buffer("anchors", icosahedral_rotations(), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """logits (..., 60): rotations (..., 3, 3)."""
        mean = torch.einsum("...a,axy->...xy", logits.softmax(-1), self.anchors.to(logits.dtype))
        return nearest_rotation(mean)


class RotationHead(nn.Module):
    """The rotation of a set of points, by a network that sees it from 60 orientations.

    Parameters
    ----------
    network : callable
        Of positions (m, n, 3), centred: one logit (m,) for how well they stand in the
        pose that rotation I stands for. It need not know any symmetry.

    Notes
    -----
    If the points are turned by g, the answer is g times the one before: exactly so for g
    among the 60, and as well as was learned for others.
    """

    def __init__(self, network: Callable[[Tensor], Tensor]):
        super().__init__()
        self.network = network
        self.votes = RotationVotes()

    def forward(self, positions: Tensor) -> Tensor:
        """Positions (b, n, 3): rotations (b, 3, 3)."""
        y = positions - positions.mean(1, keepdim=True)
        seen = y[:, None] @ self.votes.anchors.to(y.dtype)  # rows: R^T y
        logits = self.network(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        return self.votes(logits)
