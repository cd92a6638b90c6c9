"""Whether chains agree: R-hat over several chains, or over the halves of one.

R-hat is the square root of the variance that all chains have together over that within
them: 1 if they are samples of one distribution. It is taken of ranks, so that it exists
for any distribution, and of the distance from the median too, so that chains which
differ in spread alone are found (Vehtari et al., Bayesian Analysis 2021, 16, 667).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError
from equidrift.geometry import Floats

LEAST_FRAMES = 4  # of a chain: each half needs a variance
# Gelman and Rubin (Stat. Sci. 1992, 7, 457) took 1.1, Vehtari et al. advise 1.01 for 400
# effective samples; a chain with fewer is above that by noise alone
LARGEST_R_HAT = 1.05


def r_hat(series: ArrayLike, lengths: Sequence[int] = ()) -> float:
    """The rank-normalised split R-hat of one observable.

    Parameters
    ----------
    series : (n,) array
        Values along each chain, one chain after the other.
    lengths : sequence of int
        Frames of each chain; empty for a single chain. Longer ones are cut to the
        shortest.

    Returns
    -------
    float
        The larger of bulk and tail R-hat, at least about 1; NaN if a chain has fewer
        than four frames or nothing ever changes.

    Raises
    ------
    InputError
        If values are not finite, or the lengths do not add up to the frames.
    """
    x = np.asarray(series, np.float64)
    parts = chain_slices(len(x), lengths)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise InputError(f"series must be finite numbers (n,), not of shape {x.shape}")
    least = min(part.stop - part.start for part in parts)
    if least < LEAST_FRAMES:
        return float("nan")
    halves = _halves(np.stack([x[part][:least] for part in parts]))
    folded = np.abs(halves - np.median(halves))
    return max(_of_variances(_normal_scores(halves)), _of_variances(_normal_scores(folded)))


def torsion_r_hat(torsions_rad: ArrayLike, lengths: Sequence[int] = ()) -> Floats:
    """R-hat (m,) of each torsion: the larger of those of its cosine and its sine.

    Both arguments are those of `equidrift.montecarlo.basins.effective_samples`.
    """
    phi = np.asarray(torsions_rad, np.float64)
    values = [[r_hat(wave(column), lengths) for wave in (np.cos, np.sin)] for column in phi.T]
    largest: Floats = np.array(values, np.float64).reshape(-1, 2).max(axis=1)
    return largest


def chain_slices(frames: int, lengths: Sequence[int] = ()) -> list[slice]:
    """Where each chain lies in frames that hold one after the other.

    Raises
    ------
    InputError
        If the lengths do not add up to the frames.
    """
    given = [frames] if len(lengths) == 0 else [int(length) for length in lengths]
    if sum(given) != frames or min(given) < 1:
        raise InputError(f"chains of {given} frames are not the {frames} that are there")
    ends = np.cumsum(given).tolist()
    return [slice(end - length, end) for end, length in zip(ends, given, strict=True)]


def _halves(chains: Floats) -> Floats:
    """(2 k, n // 2) first and last halves of chains (k, n); an odd frame is left out."""
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, -half:]])


def _normal_scores(x: Floats) -> Floats:
    """Each value by its rank among all, as a quantile of the normal distribution; ties
    share their mean rank.
    """
    from scipy.special import ndtri

    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)]
    scores: NDArray[np.float64] = ndtri((ranks - 0.375) / (x.size + 0.25))
    return scores.reshape(x.shape)


def _of_variances(chains: Floats) -> float:
    """R-hat of chains (k, n) from the variances within and between them."""
    n = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean()
    between = chains.mean(axis=1).var(ddof=1)
    if within == 0:
        return float("nan")
    return float(np.sqrt((n - 1) / n + between / within))
