"""Densities on the torus with known normalisation, and Metropolis chains on them: what
the exactness tests share.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from equidrift.models.torsions.series import TrigSeries, centres, pair_index, signed_orders
from equidrift.montecarlo.densities import WrappedMixture

CHAINS = 100_000


def random_series(m: int, seed: int, size: float = 1.0, k1: int = 3, k2: int = 2) -> TrigSeries:
    """A smooth energy with coefficients that fall with the order."""
    rng = np.random.default_rng(seed)
    p = m * (m - 1) // 2
    singles = (rng.normal(size=(m, k1)) + 1j * rng.normal(size=(m, k1))) / np.arange(1, k1 + 1)
    pairs = (rng.normal(size=(p, k2, 2 * k2)) + 1j * rng.normal(size=(p, k2, 2 * k2))) / (
        np.arange(1, k2 + 1)[:, None] + np.abs(signed_orders(k2))
    )
    return TrigSeries(size * singles, 0.7 * size * pairs)


def two_basins(m: int = 2) -> WrappedMixture:
    """A target with three basins of unequal weight, not symmetric under phi -> -phi."""
    return WrappedMixture(
        [0.6, 0.3, 0.1],
        [[-1.2, 1.0, 0.3][:m], [2.4, -0.5, -2.0][:m], [0.9, 2.7, 1.1][:m]],
        np.full((3, m), 0.45),
    )


def grid(bins: int, m: int) -> np.ndarray:
    """(bins ** m, m) centres of cells."""
    axes = np.meshgrid(*[centres(bins)] * m, indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, m)


def integral(log_density: np.ndarray, m: int) -> float:
    """Of a density given on `grid`; the midpoint rule converges faster than any power
    for smooth periodic functions.
    """
    return float(np.exp(log_density).mean() * (2 * np.pi) ** m)


def cells(phi: np.ndarray, bins: int) -> np.ndarray:
    """Index of each state's cell."""
    index = np.floor((phi + np.pi) / (2 * np.pi) * bins).astype(int) % bins
    return np.ravel_multi_index(tuple(index.T), (bins,) * phi.shape[1])


def fits(phi: np.ndarray, log_prob, bins: int = 12, fine: int = 8) -> float:
    """p of a chi-square test of states (k, m) against a density; cells with under ten
    expected are pooled.
    """
    m = phi.shape[1]
    points = grid(bins * fine, m)
    mass = np.bincount(cells(points, bins), weights=np.exp(log_prob(points)), minlength=bins**m)
    expected = mass / mass.sum() * len(phi)
    seen = np.bincount(cells(phi, bins), minlength=bins**m).astype(float)
    small = expected < 10
    if small.any():
        expected, seen = (
            np.append(expected[~small], expected[small].sum()),
            np.append(seen[~small], seen[small].sum()),
        )
    keep = expected > 0
    return float(
        stats.chisquare(seen[keep], expected[keep] * seen[keep].sum() / expected[keep].sum()).pvalue
    )


def balanced(before: np.ndarray, after: np.ndarray, bins: int = 4) -> float:
    """p of the test that the flux between any two cells is the same both ways."""
    n = bins ** before.shape[1]
    flux = np.zeros((n, n))
    np.add.at(flux, (cells(before, bins), cells(after, bins)), 1.0)
    there, back = flux[np.triu_indices(n, 1)], flux.T[np.triu_indices(n, 1)]
    many = there + back >= 20
    square = np.square(there - back)[many] / (there + back)[many]
    return float(stats.chi2.sf(square.sum(), many.sum()))


def independent_step(target, density, phi, log_q, rng, sign: float = 1.0):
    """One Metropolis step of many chains with proposals that do not depend on where
    they stand: (phi, log_q).
    """
    if hasattr(density, "sample_with_log_prob"):
        new, new_q = density.sample_with_log_prob(len(phi), rng)
    else:
        new = density.sample(len(phi), rng)
        new_q = density.log_prob(new)
    ratio = target.log_prob(new) - target.log_prob(phi) + sign * (log_q - new_q)
    yes = np.log(rng.random(len(phi))) < ratio
    return np.where(yes[:, None], new, phi), np.where(yes, new_q, log_q)


def pair_count(m: int) -> int:
    """Pairs of m torsions."""
    return len(pair_index(m)[0])
