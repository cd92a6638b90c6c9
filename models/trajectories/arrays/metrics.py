"""Figures of merit of trajectories (arXiv:2410.13027, metrics), on plain arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def jensen_shannon(
    first: Array, second: Array, bins: int = 100, bounds: tuple[float, float] | None = None
) -> float:
    """Jensen-Shannon distance (natural logarithm, 0 to sqrt(ln 2)) of the histograms of
    two sets of numbers.
    """
    low, high = bounds or (
        float(min(first.min(), second.min())),
        float(max(first.max(), second.max())),
    )
    p, q = (
        np.histogram(np.clip(a, low, high), bins, (low, high if high > low else low + 1.0))[
            0
        ].astype(float)
        for a in (first, second)
    )
    p, q = p / p.sum(), q / q.sum()
    m = 0.5 * (p + q)

    def divergence(a: Array) -> float:
        some = a > 0
        return float((a[some] * np.log(a[some] / m[some])).sum())

    return float(np.sqrt(max(0.0, 0.5 * divergence(p) + 0.5 * divergence(q))))


def marginal(made: Array, truth: Array, bins: int = 50) -> float:
    """Mean absolute difference of the densities of two sets of numbers in the truth's
    bins (arXiv:2410.13027, metrics).
    """
    edges = np.histogram_bin_edges(truth.ravel(), bins)
    densities = [
        np.histogram(np.clip(a.ravel(), edges[0], edges[-1]), edges, density=True)[0]
        for a in (made, truth)
    ]
    return float(np.abs(densities[0] - densities[1]).mean())


def torsions(positions: Array, quads: NDArray[np.int64]) -> Array:
    """Dihedral angles (..., q) in radians of atom quadruples (q, 4) in positions (...,
    n, 3).
    """
    a, b, c, d = (positions[..., quads[:, k], :] for k in range(4))
    first, axis, last = b - a, c - b, d - c
    u, w = np.cross(first, axis), np.cross(axis, last)
    angle: Array = np.arctan2(
        (np.cross(u, w) * axis).sum(-1) / np.maximum(np.linalg.norm(axis, axis=-1), 1e-12),
        (u * w).sum(-1),
    )
    return angle


def velocity_correlation(frames: Array, lags: int) -> Array:
    """Normalised autocorrelation (lags,) of frame-to-frame displacements of
    trajectories (k, t, n, 3), their common drift removed.
    """
    v = np.diff(frames, axis=1)
    v = v - v.mean(2, keepdims=True)
    raw = np.array([(v[:, : v.shape[1] - k] * v[:, k:]).sum(-1).mean() for k in range(lags)])
    found: Array = raw / raw[0]
    return found
