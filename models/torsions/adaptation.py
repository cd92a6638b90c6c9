"""Fitting the scores of one system in closed form: score matching for a trigonometric
series is a linear least-squares problem.

With U = theta . f the loss of Hyvaerinen, E[|grad U|^2 / 2 - lap U], is quadratic in
theta. Its matrix and vector need only means of exp(i (kappa +- kappa') phi) over the
frames, and wrapped normal noise multiplies such a mean by exp(-|kappa +- kappa'|^2
sigma^2 / 2): one pass over the frames gives the noised fit at every level, with no
noise drawn. Coefficients may depend linearly on features of the frozen local geometry.
Pseudo-frames spread over the torus hold theta at its prior (the transferable model, or
flat): without them score matching at low noise is free to invent basins where nothing
was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.geometry import Floats
from equidrift.graph import Graph
from equidrift.models.torsions.series import (
    Complexes,
    TrigSeries,
    centres,
    pair_index,
    signed_orders,
)
from equidrift.montecarlo.densities import WrappedMixture
from equidrift.torsions import TorsionTree

PRIOR_FRAMES = 100  # frames that the prior is worth
_SMOOTHNESS = (
    2.0  # frames that the prior is worth further, times the fourth power of the wave number
)
_FEATURE_ORDER = 3  # geometry enters coefficients up to this order
_CHUNK = 4096  # frames held as waves at a time


def modes(m: int, k1: int, k2: int) -> NDArray[np.int64]:
    """(M, m) integer wave vectors in the order of a series' coefficients: singles, then
    pairs.
    """
    eye = np.eye(m, dtype=np.int64)
    singles = [eye[i] * n for i in range(m) for n in range(1, k1 + 1)]
    pairs = [
        eye[i] * n + eye[j] * l
        for i, j in zip(*pair_index(m), strict=True)
        for n in range(1, k2 + 1)
        for l in signed_orders(k2)
    ]
    return np.array(singles + pairs, np.int64).reshape(-1, m)


def flat(series: TrigSeries) -> Complexes:
    """(M,) coefficients in the order of `modes`."""
    return np.concatenate([series.singles.ravel(), series.pairs.ravel()])


def as_series(coefficients: Complexes, m: int, k1: int, k2: int) -> TrigSeries:
    """The series of (M,) coefficients."""
    return TrigSeries(
        coefficients[: m * k1].reshape(m, k1), coefficients[m * k1 :].reshape(-1, k2, 2 * k2)
    )


@dataclass(frozen=True, eq=False)
class Columns:
    """What a coefficient multiplies: a wave (index into kappa), and a feature of the
    geometry (0 is the constant).
    """

    kappa: NDArray[np.int64]
    wave: NDArray[np.int64]
    feature: NDArray[np.int64]

    @classmethod
    def of(cls, m: int, orders: tuple[int, int], n_features: int) -> Columns:
        """Every wave with the constant, and the slow ones with each feature."""
        kappa = modes(m, *orders)
        slow = (
            np.flatnonzero(np.abs(kappa).max(axis=1) <= _FEATURE_ORDER)
            if n_features
            else np.zeros(0, np.int64)
        )
        wave = np.concatenate([np.arange(len(kappa)), np.repeat(slow, n_features)])
        feature = np.concatenate(
            [np.zeros(len(kappa), np.int64), np.tile(np.arange(1, n_features + 1), len(slow))]
        )
        return cls(kappa, wave, feature)

    def coefficients(self, theta: Complexes, features: Floats) -> Complexes:
        """(..., M) coefficients at features (q,) from theta (..., C)."""
        count, q = len(self.kappa), len(features)
        out: Complexes = theta[..., :count].copy()
        if q:
            slow = self.wave[count::q]  # the waves that the geometry enters, q columns each
            out[..., slow] += theta[..., count:].reshape(*theta.shape[:-1], -1, q) @ features
        return out


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over frames that every fit needs; those of two sets of frames add up, so a
    run can go on collecting.

    With w (C,) a column's exp(i kappa phi) times its feature: same sums w w'*, flipped
    sums w w', linear sums w.
    """

    columns: Columns
    frames: int
    same: Complexes
    flipped: Complexes
    linear: Complexes

    @classmethod
    def of(cls, columns: Columns, phi: Floats, features: Floats) -> Moments:
        """Of frames phi (k, m) with standardised features (k, q)."""
        size = len(columns.wave)
        same, flipped, linear = (
            np.zeros((size, size), complex),
            np.zeros((size, size), complex),
            np.zeros(size, complex),
        )
        g = np.hstack([np.ones((len(phi), 1)), features])
        for start in range(0, len(phi), _CHUNK):
            part = slice(start, start + _CHUNK)
            waves = (
                np.exp(1j * phi[part] @ columns.kappa.T)[:, columns.wave]
                * g[part][:, columns.feature]
            )
            same += waves.T @ waves.conj()
            flipped += waves.T @ waves
            linear += waves.sum(axis=0)
        return cls(columns, len(phi), same, flipped, linear)

    def plus(self, other: Moments) -> Moments:
        """The moments of both sets of frames."""
        same, flipped, linear = (
            self.same + other.same,
            self.flipped + other.flipped,
            self.linear + other.linear,
        )
        return Moments(self.columns, self.frames + other.frames, same, flipped, linear)


def expansion(
    log_prob: Callable[[Floats], Floats], m: int, orders: tuple[int, int], bins: int = 64
) -> Complexes:
    """(M,) coefficients of -log_prob of one or two torsions, cut off at the orders."""
    axes = np.meshgrid(*[centres(bins)] * m, indexing="ij")
    values = -log_prob(np.stack(axes, axis=-1).reshape(-1, m)).reshape((bins,) * m)
    kappa = modes(m, *orders)
    shift = np.exp(
        -1j * kappa.sum(axis=1) * (np.pi / bins - np.pi)
    )  # the grid starts half a cell above -pi
    # both signs of a wave vector fold into one coefficient
    out: Complexes = 2 * np.fft.fftn(values)[tuple(kappa.T)] / bins**m * shift
    return out


def mixture_prior(phi: Floats, sigmas: Floats, orders: tuple[int, int]) -> Complexes:
    """(L, M) energies of a mixture of wrapped normals fitted to frames phi (k, 1 or 2),
    noised in closed form.

    Likelihood makes better use of few frames than score matching does; the fit then
    adds what a mixture cannot say.
    """
    mixture = WrappedMixture.fit(phi, int(np.clip(len(phi) // 20, 4, 32)))
    noised = (
        WrappedMixture(mixture.weights, mixture.means, np.hypot(mixture.sigmas, sigma))
        for sigma in sigmas
    )
    return np.array([expansion(density.log_prob, phi.shape[1], orders) for density in noised])


def fit(moments: Moments, sigma: float, prior: Complexes) -> Complexes:
    """theta (C,) of the energy at noise sigma; `prior` (C,) is where it stays without
    frames.
    """
    kappa = moments.columns.kappa[moments.columns.wave].astype(float)
    dots = kappa @ kappa.T
    square = np.diag(dots)
    both = square[:, None] + square[None, :]
    # over noise, exp(i (kappa -+ kappa') phi) shrinks by exp(-|kappa -+ kappa'|^2 sigma^2 / 2)
    same = dots * np.exp(-0.5 * sigma**2 * (both - 2 * dots)) * moments.same / moments.frames
    flipped = dots * np.exp(-0.5 * sigma**2 * (both + 2 * dots)) * moments.flipped / moments.frames
    # U = sum c cos + s sin; gradients -kappa sin and kappa cos; their products are parts of
    # the two means
    sin_sin, cos_cos = 0.5 * (same - flipped).real, 0.5 * (same + flipped).real
    sin_cos = 0.5 * (flipped + same).imag
    matrix = np.block([[sin_sin, -sin_cos], [-sin_cos.T, cos_cos]])
    laplacian = -square * np.exp(-0.5 * sigma**2 * square) * moments.linear / moments.frames
    vector = np.concatenate([laplacian.real, laplacian.imag])
    start = np.concatenate([prior.real, -prior.imag])
    share = PRIOR_FRAMES / (moments.frames + PRIOR_FRAMES)
    penalty = np.tile(square * (0.5 * share + _SMOOTHNESS * square**2 / moments.frames), 2)
    theta = start + np.linalg.solve(matrix + np.diag(penalty), vector - matrix @ start)
    half = len(square)
    out: Complexes = theta[:half] - 1j * theta[half:]
    return out


class LocalGeometry:
    """Cosines of the bond angles at the ends of the rotatable bonds: features that no
    torsion changes.

    Standardised by the frames of `learn`, and clipped at four standard deviations.
    """

    def __init__(self, tree: TorsionTree):
        graph = Graph(tree.n_atoms, tree.bonds)
        seen: dict[tuple[frozenset[int], int], tuple[int, int, int]] = {}
        for _, j, k, _ in tree.atoms.tolist():
            for centre, other in ((j, k), (k, j)):
                for a in graph.neighbours[centre]:
                    if a != other:
                        seen.setdefault((frozenset((a, other)), centre), (a, centre, other))
        self.angles = np.array(list(seen.values()), np.int64).reshape(-1, 3)
        self.mean, self.deviation = np.zeros(len(self.angles)), np.ones(len(self.angles))

    def learn(self, positions_A: Floats) -> None:
        """Take mean and deviation from frames (k, n, 3)."""
        values = self._cosines(positions_A)
        self.mean, self.deviation = values.mean(axis=0), values.std(axis=0).clip(1e-6)

    def __call__(self, positions_A: Floats) -> Floats:
        """(..., q) standardised features."""
        out: Floats = ((self._cosines(positions_A) - self.mean) / self.deviation).clip(-4.0, 4.0)
        return out

    def _cosines(self, positions_A: Floats) -> Floats:
        a, b, c = (positions_A[..., column, :] for column in self.angles.T)
        left, right = a - b, c - b
        out: Floats = np.einsum("...i,...i->...", left, right) / np.sqrt(
            np.einsum("...i,...i->...", left, left) * np.einsum("...i,...i->...", right, right)
        )
        return out
