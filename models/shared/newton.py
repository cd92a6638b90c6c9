"""Gauss-Newton steps from wanted distances to coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Held:
    """What is known beforehand: atoms `mask` (b, n) are at `positions` (b, n, 3),
    distances within `lower` and `upper` (b, n, n), in A.
    """

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


RESTRAINT_STIFFNESS = 30.0  # of a violated distance bound; bonds have about 5


MAX_MOVE_A = 4.0  # of an atom in one Newton step; longer steps are shortened as a whole


def distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (b, n, n, 3) from j to i and distances (b, n, n); safe to
    differentiate where atoms coincide.
    """
    r = x[:, :, None] - x[:, None]
    d = (r.square().sum(-1) + 1e-8).sqrt()
    return r / d[..., None], d


def newton_step(
    x: Tensor,
    start: Tensor,
    target: Tensor,
    stiffness: Tensor,
    anchor: Tensor,
    held: Held | None = None,
) -> Tensor:
    """One Gauss-Newton step on sum_ij w_ij (d_ij - t_ij)^2 / 2 + sum_i a_i |x_i -
    s_i|^2 (arXiv:2403.01430, Gauss-Newton form of the map).

    Shapes: x, start (b, n, 3); target, stiffness (b, n, n), symmetric; anchor (b, n),
    positive. `held` atoms stay where x has them: their anchors are infinitely stiff, so
    that their rows and columns leave the matrix. A violated bound pulls to its nearer
    end.

    Without gradients the step is solved in float64: the matrix has condition numbers of
    1e5, by which float32 would carry the rounding of a batch's order into the fourth
    digit of an Angstrom.
    """
    if x.dtype == torch.float32 and not torch.is_grad_enabled() and x.device.type != "mps":
        wide = None if held is None else held.double()
        return newton_step(
            x.double(), start.double(), target.double(), stiffness.double(), anchor.double(), wide
        ).float()
    b, n, _ = x.shape
    unit, d = distances(x)
    if held is not None:
        target, stiffness = _restrained(d, target, stiffness, held)
    block = torch.einsum("bij,bijx,bijy->bixjy", stiffness, unit, unit)
    diagonal = block.sum(3)
    trace = diagonal.detach().diagonal(dim1=-2, dim2=-1).sum(-1)  # the same in every frame
    floor = 1e-5 * trace.amax(1)  # keeps the matrix positive definite in float32
    diagonal = diagonal + (anchor + floor[:, None])[..., None, None] * torch.eye(
        3, dtype=x.dtype, device=x.device
    )
    matrix = torch.diag_embed(diagonal.permute(0, 2, 3, 1)).permute(0, 3, 1, 4, 2) - block
    pull = stiffness * (target - d)
    force = torch.einsum("bij,bijx->bix", pull, unit) + anchor[..., None] * (start - x)
    if held is not None:
        free = (~held.mask).to(x.dtype)
        keep = free[:, :, None, None, None] * free[:, None, None, :, None]
        matrix = matrix * keep + torch.diag_embed(
            (1 - free)[..., None].expand(b, n, 3).reshape(b, 3 * n)
        ).view(b, n, 3, n, 3)
        force = force * free[..., None]
    factor, _ = torch.linalg.cholesky_ex(matrix.reshape(b, 3 * n, 3 * n))
    move = torch.cholesky_solve(force.reshape(b, 3 * n, 1), factor).view(b, n, 3)
    longest = move.detach().square().sum(-1).amax(1).sqrt()
    return x + move * (MAX_MOVE_A / longest.clamp_min(MAX_MOVE_A))[:, None, None]


def _restrained(d: Tensor, target: Tensor, stiffness: Tensor, held: Held) -> tuple[Tensor, Tensor]:
    """Targets and stiffnesses (b, n, n) at distances d, the violated bounds among them."""
    if held.lower is None or held.upper is None:
        return target, stiffness
    within = torch.minimum(torch.maximum(d, held.lower), held.upper)
    extra = RESTRAINT_STIFFNESS * (within != d).to(d.dtype)
    target = (stiffness * target + extra * within) / (stiffness + extra).clamp_min(1e-6)
    return target, stiffness + extra
