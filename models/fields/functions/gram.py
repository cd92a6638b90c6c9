"""Gram matrices of kernels. A `Gram` knows when its matrix is a multiple of the unit
matrix and then never builds one.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from equidrift.errors import InputError

# shares of the variance; above the last one a Gram matrix is called singular
JITTER_STEPS = (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3)
QUIET_JITTER = 1e-6


class JitterWarning(UserWarning):
    """More than 1e-6 of the variance was added to the diagonal of a Gram matrix."""


class Gram:
    """Gram matrix of n points with p components: a dense matrix (B or 1, n p, n p), or
    a multiple of the unit matrix.

    Fields are (B, n, p); a Gram of batch 1 serves every one of them.
    """

    def __init__(
        self,
        matrix: Tensor | None,
        variance: float,
        n: int,
        p: int,
        mask: Tensor | None = None,
        device: torch.device | None = None,
    ):
        self.device = matrix.device if matrix is not None else device or torch.device("cpu")
        self.matrix, self.variance, self.n, self.p, self.mask = matrix, variance, n, p, mask
        self.jitter = 0.0
        self._factor: Tensor | None = None
        self._root: Tensor | None = None
        self._weights: tuple[Tensor, Tensor] | None = None  # of the last `free` in `project`

    @property
    def factor(self) -> Tensor:
        """Lower Cholesky factor, with as little jitter as it takes.

        Raises
        ------
        InputError
            where 1e-3 of the variance is not enough; `JitterWarning` reports more than
            1e-6.
        """
        if self._factor is None:
            self._factor, self.jitter = _cholesky(self.dense, self.variance)
        return self._factor

    @property
    def dense(self) -> Tensor:
        """The matrix, built where it is a multiple of the unit matrix."""
        return (
            self.variance
            * torch.eye(self.n * self.p, dtype=torch.float64, device=self.device)[None]
            if self.matrix is None
            else self.matrix
        )

    def _apply(self, matrix: Tensor, y: Tensor) -> Tensor:
        flat = y.reshape(y.shape[0], -1)
        flat = flat @ matrix[0].T if len(matrix) == 1 else (matrix @ flat[..., None])[..., 0]
        return flat.reshape(y.shape)

    def mul(self, y: Tensor) -> Tensor:
        """K y."""
        return self.variance * y if self.matrix is None else self._apply(self.matrix, y)

    def root(self, z: Tensor) -> Tensor:
        """S z with S S^T = K: S is the Cholesky factor for scalars, the symmetric root
        for vectors, which turns with the frame.
        """
        if self.matrix is None:
            return math.sqrt(self.variance) * z
        if self.p == 1:
            return self._apply(self.factor, z)
        if self._root is None:
            self._root = _symmetric_root(self.matrix, self.variance)
        return self._apply(self._root, z)

    def root_cheap(self, z: Tensor) -> Tensor:
        """S z by the Cholesky factor, for training, where only the distribution counts."""
        return math.sqrt(self.variance) * z if self.matrix is None else self._apply(self.factor, z)

    def solve_root(self, y: Tensor, transposed: bool = False) -> Tensor:
        """S^-1 y or S^-T y, with the Cholesky factor S."""
        if self.matrix is None:
            return y / math.sqrt(self.variance)
        factor = self.factor.expand(len(y), -1, -1) if len(self.factor) != len(y) else self.factor
        flat = y.reshape(len(y), -1, 1)
        solved = torch.linalg.solve_triangular(
            factor.mT if transposed else factor, flat, upper=transposed
        )
        out: Tensor = solved.reshape(y.shape)
        return out

    def solve(self, y: Tensor) -> Tensor:
        """K^-1 y."""
        if self.matrix is None:
            return y / self.variance
        if len(self.factor) == 1:
            flat = y.reshape(len(y), -1)
            return torch.cholesky_solve(flat.T, self.factor[0]).T.reshape(y.shape)
        return torch.cholesky_solve(y.reshape(len(y), -1, 1), self.factor).reshape(y.shape)

    def log_prob(self, y: Tensor) -> Tensor:
        """log N(y; 0, K) of fields (B, n, p), over the points that are not masked."""
        keep = (
            torch.ones(y.shape[:2], dtype=y.dtype, device=y.device)
            if self.mask is None
            else self.mask.to(y.dtype).expand(y.shape[:2])
        )
        y = y * keep[..., None]
        count = keep.sum(-1) * self.p
        if self.matrix is None:
            return -0.5 * (
                y.square().sum((1, 2)) / self.variance
                + count * math.log(2 * math.pi * self.variance)
            )
        flat = keep[..., None].expand(*keep.shape, self.p).reshape(len(y), -1)
        logs = (self.factor.diagonal(dim1=1, dim2=2).log() * flat).sum(-1)
        return (
            -0.5 * self.solve_root(y).square().sum((1, 2))
            - logs
            - 0.5 * count * math.log(2 * math.pi)
        )

    def project(self, v: Tensor, free: Tensor) -> Tensor:
        """v_free - K_fk K_kk^-1 v_known at free points, 0 at known ones; free: bool
        (n,).

        Applied to K grad log p it gives G grad_free log p, and to a draw of N(0, K) one
        of N(0, G), where G is the covariance that the limiting GP leaves to the free
        points: the natural metric of their Langevin dynamics.
        """
        spread = free[None, :, None].expand(1, self.n, self.p)
        if self.matrix is None or bool(free.all()):
            return torch.where(spread, v, torch.zeros_like(v))
        flat = spread.reshape(-1)
        if len(self.matrix) != 1:
            raise InputError(
                f"conditioning needs all samples at the same points, not {len(self.matrix)} sets "
                "of points"
            )
        matrix = self.matrix[0]
        if self._weights is None or not torch.equal(self._weights[0], flat):
            factor, _ = _cholesky(matrix[~flat][:, ~flat][None], self.variance)
            self._weights = flat, torch.cholesky_solve(matrix[~flat][:, flat], factor[0])
        carried = v.reshape(len(v), -1)[:, ~flat] @ self._weights[1]
        out = torch.zeros_like(v).reshape(len(v), -1)
        out[:, flat] = v.reshape(len(v), -1)[:, flat] - carried
        return out.reshape(v.shape)


def _cholesky(matrix: Tensor, variance: float) -> tuple[Tensor, float]:
    """(factor, jitter as a share of the variance)."""
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for share in JITTER_STEPS:
        factor, info = torch.linalg.cholesky_ex(matrix + share * variance * unit)
        if not bool(info.any()):
            if share > QUIET_JITTER:
                warnings.warn(
                    f"the Gram matrix of {matrix.shape[-1]} values is nearly singular: a jitter "
                    f"of {share:.0e} of the variance was added; "
                    "give the kernel a white part (noise=) or move points apart",
                    JitterWarning,
                    stacklevel=3,
                )
            return factor, share
    raise InputError(
        f"the Gram matrix of {matrix.shape[-1]} values is singular, even with a jitter of 1e-3 of "
        "the variance: "
        "points coincide or hold NaN; give each point once, or a kernel with a white part (noise=)"
    )


def _symmetric_root(matrix: Tensor, variance: float) -> Tensor:
    """K^1/2 by eigenvalues; those below zero by more than rounding are an error."""
    values, vectors = torch.linalg.eigh(matrix)
    if not bool(torch.isfinite(values).all()) or float(values.min()) < -1e-3 * variance:
        least = f"{float(values.min()):.2e}"
        raise InputError(
            f"the Gram matrix is not positive (smallest eigenvalue {least}); check the points for "
            "NaN and repeats"
        )
    out: Tensor = (vectors * values.clamp(min=0).sqrt()[:, None]) @ vectors.mT
    return out
