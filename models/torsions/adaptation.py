"""Fitting the scores of one system in closed form: score matching for a trigonometric series is a linear least-squares problem.

With U = theta . f the loss of Hyvaerinen, E[|grad U|^2 / 2 - lap U], is quadratic in theta. Its matrix and vector need only means of
exp(i (kappa +- kappa') phi) over the frames, and wrapped normal noise multiplies such a mean by exp(-|kappa +- kappa'|^2 sigma^2 / 2):
one pass over the frames gives the noised fit at every level, with no noise drawn. A prior (the transferable model) is where theta
goes when frames are few. Coefficients may depend linearly on the frozen local geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.torsions.flow import Diffusion
from equidrift.models.torsions.series import Complexes, TrigSeries, pair_index, signed_orders
from equidrift.torsions import Floats

_CHUNK = 4096  # frames held as waves at a time


def modes(m: int, k1: int, k2: int) -> NDArray[np.int64]:
    """(M, m) integer wave vectors in the order of a series' coefficients: singles, then pairs."""
    singles = [np.eye(m, dtype=int)[i] * n for i in range(m) for n in range(1, k1 + 1)]
    pairs = [
        np.eye(m, dtype=int)[i] * n + np.eye(m, dtype=int)[j] * l
        for i, j in zip(*pair_index(m))
        for n in range(1, k2 + 1)
        for l in signed_orders(k2)
    ]
    return np.array(singles + pairs, np.int64).reshape(-1, m)


@dataclass(frozen=True, eq=False)
class Moments:
    """Means over frames that every fit needs; those of two sets of frames are added, so a run can go on collecting.

    kappa (M, m); weight: number of frames; geometry columns g = (1, standardised features) of length q + 1.
    same, flipped: (M (q+1), M (q+1)) sums of w w'* and w w' with w = exp(i kappa phi) x g; linear: (M (q+1),) sums of w.
    """

    kappa: NDArray[np.int64]
    weight: float
    same: Complexes
    flipped: Complexes
    linear: Complexes

    @classmethod
    def of(cls, phi: Floats, orders: tuple[int, int], geometry: Floats | None = None) -> Moments:
        """Of frames phi (k, m) with standardised geometry features (k, q)."""
        kappa = modes(phi.shape[1], *orders)
        g = np.ones((len(phi), 1)) if geometry is None else np.hstack([np.ones((len(phi), 1)), geometry])
        size = len(kappa) * g.shape[1]
        same, flipped, linear = np.zeros((size, size), complex), np.zeros((size, size), complex), np.zeros(size, complex)
        for start in range(0, len(phi), _CHUNK):
            part = slice(start, start + _CHUNK)
            waves = (np.exp(1j * phi[part] @ kappa.T)[:, :, None] * g[part, None, :]).reshape(-1, size)
            same += waves.T @ waves.conj()
            flipped += waves.T @ waves
            linear += waves.sum(axis=0)
        return cls(kappa, float(len(phi)), same, flipped, linear)

    def plus(self, other: Moments) -> Moments:
        """The moments of both sets of frames."""
        return Moments(
            self.kappa, self.weight + other.weight, self.same + other.same, self.flipped + other.flipped, self.linear + other.linear
        )


def fit(moments: Moments, sigma: float, prior: Complexes, strength: float) -> Complexes:
    """Coefficients (M, q + 1) of the energy at noise sigma.

    Parameters
    ----------
    prior : (M, q + 1) coefficients where no data speaks.
    strength : frames that the prior is worth: the penalty is strength * sum |kappa|^4 |theta - prior|^2, times sigma^2 as the score shrinks.
    """
    kappa, total = moments.kappa, moments.weight
    q = len(moments.linear) // len(kappa)
    dots = (kappa @ kappa.T).astype(float)
    square = np.diag(dots)

    def spread(a: Floats) -> Floats:
        return np.repeat(np.repeat(a, q, 0), q, 1)

    # E over noise: |kappa -+ kappa'|^2 = |kappa|^2 + |kappa'|^2 -+ 2 kappa.kappa'
    total_sq = square[:, None] + square[None, :]
    same = spread(dots * np.exp(-0.5 * sigma**2 * (total_sq - 2 * dots))) * moments.same / total
    flipped = spread(dots * np.exp(-0.5 * sigma**2 * (total_sq + 2 * dots))) * moments.flipped / total
    # f = (cos, sin) and grad f = kappa (-sin, cos): products of sines and cosines as real and imaginary parts of the two means
    ss, cc = 0.5 * (same - flipped).real, 0.5 * (same + flipped).real
    sc = 0.5 * (same + flipped).imag  # sin of the row's wave times cos of the column's
    sc = 0.5 * (flipped + same).imag
    cs = 0.5 * (flipped - same).imag
    matrix = np.block([[ss, -sc], [-cs, cc]])
    laplacian = -np.repeat(square * np.exp(-0.5 * sigma**2 * square), q) * moments.linear / total
    vector = np.concatenate([laplacian.real, laplacian.imag])
    start = np.concatenate([prior.real.ravel(), prior.imag.ravel()])
    penalty = np.tile(np.repeat(square**2, q), 2) * strength / total
    theta = start + np.linalg.solve(matrix + np.diag(penalty), vector - matrix @ start)
    half = theta.size // 2
    # U = sum c cos + s sin = Re sum (c - i s) exp(i kappa phi)
    out: Complexes = (theta[:half] - 1j * theta[half:]).reshape(-1, q)
    return out
