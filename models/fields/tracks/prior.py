"""The Gaussian process that stands for a distribution of tracks as long as the sphere
is flat.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.fields.functions.kernels import Kernel, fit_kernel
from equidrift.models.fields.tracks.sphere import tangent

FASTEST = 10.0  # largest Langevin step of a mode, over the noise's variance
FLAT_TO = 1.51  # variance at which 3 B exp(-B), falling, passes 1


class TrackPrior(nn.Module):
    """A Gaussian process for tracks as curves in space: what the network corrects, and
    what it is given.

    Along each of three axes (those of the tracks' covariance) a point is mean +
    root(spread) g(t), with g a GP in time. As long as the noise is small the sphere is
    flat, and the score of a noised track is the tangent part of this process's.
    """

    def __init__(self, kernel: Kernel, mean: Tensor, axes: Tensor, spread: Tensor):
        super().__init__()
        self.kernel = kernel
        self.mean, self.axes, self.spread = (
            nn.Parameter(u.double(), requires_grad=False) for u in (mean, axes, spread)
        )

    @classmethod
    def fit(cls, t: Tensor, y: Tensor, seed: int = 0) -> TrackPrior:
        """By moments in space and maximum marginal likelihood in time; t (n,), y (F, n,
        3).
        """
        flat = y.reshape(-1, 3)
        mean = flat.mean(0)
        spread, axes = torch.linalg.eigh(
            torch.cov(flat.T) + 1e-8 * torch.eye(3, dtype=y.dtype, device=y.device)
        )
        g = ((y - mean) @ axes / spread.sqrt()).permute(0, 2, 1).reshape(-1, len(t), 1)
        kernel = time_kernel(float(t[-1] - t[0]) or 1.0)
        fit_kernel(
            kernel,
            t[None, :, None].expand(len(g), -1, -1),
            g,
            seed=seed,
            noise_floor=1e-7,
            steps=120,
        )
        return cls(kernel, mean, axes, spread)

    def score(self, x: Tensor, y: Tensor, variance: Tensor) -> Tensor:
        """Tangent score (B, n, 3) of noised tracks y at moments x (1 or B, n, 1) and
        variances (B, 1, 1), in float64.

        Euclidean noise would give (K + variance)^-1 (mean - y); far beyond a radian the
        sphere's own law, 3 exp(-variance) towards the mean, takes the place of 1 /
        variance.
        """
        shared = x[:1] if bool((x == x[:1]).all()) else x
        values, vectors = torch.linalg.eigh(
            self.kernel.between(shared.double(), shared.double())[:, :, 0, :, 0]
        )
        y = y.double()
        seen = vectors.mT @ ((self.mean - y) @ self.axes)  # (B, n, 3)
        noise = self.kernel.noise + values.clamp(min=0)[..., None]
        pulled = vectors @ (seen / (self.spread * noise + variance.double())) @ self.axes.T
        return torch.where(
            variance > FLAT_TO, 3 * variance * (-variance).exp(), torch.ones_like(variance)
        ) * tangent(y, pulled)

    def conditional_root(self, x: Tensor, variance: float, free: Tensor) -> Tensor:
        """Roots (3, f, f), one per axis, of the noised process's covariance of the free
        points given the others.
        """
        matrix = self.kernel.gram(x.double()).dense
        total = self.spread[:, None, None] * matrix + variance * torch.eye(
            matrix.shape[-1], dtype=torch.float64, device=matrix.device
        )
        carried = torch.linalg.solve(total[:, ~free][:, :, ~free], total[:, ~free][:, :, free])
        values, vectors = torch.linalg.eigh(
            total[:, free][:, :, free] - total[:, free][:, :, ~free] @ carried
        )
        # the network's errors of slow modes are multiplied by what a mode's variance is over the
        # noise's
        out: Tensor = vectors * values.clamp(min=0, max=FASTEST * variance).sqrt()[:, None]
        return out


def time_kernel(span: float) -> Kernel:
    """What the kernels in time are fitted from: nearly constant, slow, and rough parts."""
    return Kernel(
        ["se", "se", "matern52"],
        variance=[1.0, 0.1, 0.01],
        length=[10 * span, span, span / 4],
        noise=1e-4,
    )
