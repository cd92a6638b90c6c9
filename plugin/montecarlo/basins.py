"""What a chain of torsions says: autocorrelation, effective samples, torsional basins
with their populations and free energies.

Chains at one temperature need no multistate estimator: the population of a basin is the
share of its frames, and every error comes from the autocorrelation of the series it is
the mean of (tests hold it against pymbar's statistical inefficiency).

Several chains stand one after the other in the frames, with their `lengths`. Their
autocorrelation is taken about the mean of all, in units of the variance of all, so that
a chain which stays in one basin counts as the one sample that it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError
from equidrift.montecarlo.convergence import LARGEST_R_HAT, chain_slices, torsion_r_hat
from equidrift.text import counted
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV

BINS = 72
SMOOTHING_DEG = 10.0
SHALLOW_KT = 0.7  # two maxima with a lower barrier between them are one basin
MAX_STATES = 10
LEAST_ENTRIES = 10  # of a basin: with fewer, populations and their errors are guesses


@dataclass(frozen=True)
class Basin:
    """A basin of one torsion, or a combination of basins of all of them.

    population_error and free_energy_error_kT are standard errors; NaN if the chain
    never left or entered the basin, so that it tells nothing of them. entries counts
    how often the chain came in. Free energies are relative to the most populated basin.
    """

    torsion: str
    centres_deg: tuple[float, ...]
    population: float
    population_error: float
    free_energy_kT: float
    free_energy_error_kT: float
    entries: int


def correlation_time(
    series: ArrayLike, mean: ArrayLike | None = None, variance: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Integrated autocorrelation time 1 + 2 sum_t rho(t) in frames, by Geyer's initial
    positive sequence (Stat. Sci. 1992, 7, 473).

    Parameters
    ----------
    series : (n,) or (n, k) array
        Observables of one chain.
    mean, variance : () or (k,) array, optional
        Of the distribution if they are known, so that a chain which stayed in one basin
        counts as the one sample that it is; None takes the series' own.

    Returns
    -------
    (k,) or scalar array
        At least 1; n if a series is constant, for it tells nothing.

    Raises
    ------
    InputError
        For fewer than two frames, or values that are not finite.
    """
    x = np.asarray(series, np.float64)
    if x.ndim not in (1, 2) or len(x) < 2 or not np.isfinite(x).all():
        raise InputError(
            f"series must be two or more finite frames, (n,) or (n, k), not of shape {x.shape}"
        )
    columns = x.reshape(len(x), -1)
    means = columns.mean(0) if mean is None else np.broadcast_to(mean, columns.shape[1])
    centred = columns - means
    variances = (
        np.square(centred).mean(0)
        if variance is None
        else np.broadcast_to(variance, columns.shape[1])
    )
    times = np.array(
        [_correlation_time(x, float(v)) for x, v in zip(centred.T, variances, strict=True)]
    )
    return times if x.ndim == 2 else times[0]


def _correlation_time(x: NDArray[np.float64], variance: float) -> float:
    """Of deviations x (n,) from the mean of a distribution of this variance."""
    n = len(x)
    if variance <= 1e-24:
        return float(n)
    size = 1 << (2 * n - 1).bit_length()
    transform = np.fft.rfft(x, size)
    rho = np.fft.irfft(np.abs(transform) ** 2, size)[:n] / (
        n * variance
    )  # biased: damps the noise of long lags
    pairs = rho[0 : n - n % 2 : 2] + rho[1:n:2]  # positive for every reversible chain
    negative = np.flatnonzero(pairs <= 0)
    kept = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    return float(np.clip(2 * kept.sum() - rho[0], 1.0, n))


def mean_correlation_time(
    series: NDArray[np.float64], lengths: Sequence[int] = ()
) -> NDArray[np.float64]:
    """Correlation time (k,) or scalar of the mean over one or more chains: N over it
    independent frames give a mean as good as that of the N frames.

    Parameters
    ----------
    series : (n,) or (n, k) array
        Observables, one chain after the other.
    lengths : sequence of int
        Frames of each chain; empty for a single chain.
    """
    parts = chain_slices(len(series), lengths)
    if len(parts) == 1:
        return correlation_time(series)
    mean, variance = series.mean(axis=0), series.var(axis=0)
    total = sum(
        (part.stop - part.start) * correlation_time(series[part], mean, variance) for part in parts
    )
    return np.asarray(total / len(series))


def standard_error(series: NDArray[np.float64], lengths: Sequence[int] = ()) -> float:
    """Of the mean of a series (n,) along one or more chains."""
    return float(np.sqrt(series.var() * mean_correlation_time(series, lengths) / len(series)))


def effective_samples(torsions_rad: ArrayLike, lengths: Sequence[int] = ()) -> NDArray[np.float64]:
    """Effective samples (m,) of each torsion: frames over the longer of the correlation
    times of its cosine and its sine.

    Parameters
    ----------
    torsions_rad : (n_frames, m) array
        One chain after the other.
    lengths : sequence of int
        Frames of each chain; empty for a single chain.
    """
    phi = _frames(torsions_rad)
    waves = [mean_correlation_time(wave(phi), lengths) for wave in (np.cos, np.sin)]
    return len(phi) / np.maximum(*waves)


def _frames(torsions_rad: ArrayLike) -> NDArray[np.float64]:
    phi = np.asarray(torsions_rad, np.float64)
    if phi.ndim != 2 or len(phi) < 2:
        raise InputError(
            f"torsions_rad must be (n_frames, n_torsions) with two frames or more, not of "
            f"shape {phi.shape}"
        )
    return phi


def basin_edges(torsion_rad: ArrayLike) -> NDArray[np.float64]:
    """Borders (k,) in rad, ascending in -pi .. pi, between the k basins of one torsion;
    empty if there is one basin only.

    The minima of the smoothed histogram, the shallowest removed until every barrier is
    `SHALLOW_KT` above the lower of its maxima.
    """
    angles = np.asarray(torsion_rad, np.float64)
    counts, _ = np.histogram(np.mod(angles + np.pi, 2 * np.pi), BINS, (0, 2 * np.pi))
    offset = (np.arange(BINS) + BINS // 2) % BINS - BINS // 2
    kernel = np.exp(-0.5 * (offset * 360 / BINS / SMOOTHING_DEG) ** 2)
    density = np.fft.irfft(np.fft.rfft(counts) * np.fft.rfft(kernel / kernel.sum()), BINS)
    energy = -np.log(
        np.maximum(density, 0) + 0.1 * len(angles) / BINS / 100 + 1e-12
    )  # in kT; the floor keeps noise from making basins
    minima, barriers = _extrema(energy)
    while len(minima) > 1:
        around = [
            (k, energy[barriers[k]] - max(energy[minima[k]], energy[minima[(k + 1) % len(minima)]]))
            for k in range(len(minima))
        ]
        k, height = min(around, key=lambda pair: pair[1])
        if height >= SHALLOW_KT:
            return np.sort(barriers * 2 * np.pi / BINS - np.pi + np.pi / BINS)
        after = (k + 1) % len(minima)
        minima = np.delete(minima, k if energy[minima[k]] > energy[minima[after]] else after)
        barriers = np.delete(barriers, k)
        minima, barriers = np.sort(minima), _align(np.sort(minima), np.sort(barriers))
    return np.zeros(0)


def _extrema(energy: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Minima of a circular profile in ascending order, and the maximum after each of
    them.
    """
    n = len(energy)
    minima = np.flatnonzero((energy < np.roll(energy, 1)) & (energy <= np.roll(energy, -1)))
    ends = np.append(minima[1:], minima[:1] + n) if len(minima) else minima
    walks = [np.arange(first, last + 1) for first, last in zip(minima, ends, strict=True)]
    return minima, np.array([walk[np.argmax(energy[walk % n])] % n for walk in walks], np.int64)


def _align(minima: NDArray[np.int64], barriers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The barriers in the order of the minima that they follow."""
    return (
        np.roll(barriers, -int(np.searchsorted(barriers, minima[0]))) if len(minima) else barriers
    )


def assign(torsion_rad: ArrayLike, edges_rad: NDArray[np.float64]) -> NDArray[np.int64]:
    """The basin 0 .. k-1 of each frame: basin j begins at edge j, the last wraps
    around.
    """
    phi = (np.asarray(torsion_rad, np.float64) + np.pi) % (2 * np.pi) - np.pi
    if not len(edges_rad):
        return np.zeros(len(phi), np.int64)
    return (np.searchsorted(edges_rad, phi, side="right") - 1) % len(edges_rad)


def torsion_basins(
    torsions_rad: ArrayLike, labels: Sequence[str], lengths: Sequence[int] = ()
) -> list[list[Basin]]:
    """The basins of each torsion, most populated first, with standard errors from the
    autocorrelation of the chains.

    Parameters
    ----------
    torsions_rad : (n_frames, m) array
        In the order of the chain, one chain after the other.
    labels : sequence of str
        (m,) names of the torsions.
    lengths : sequence of int
        Frames of each chain; empty for a single chain.
    """
    phi = _frames(torsions_rad)
    if len(labels) != phi.shape[1]:
        raise InputError(
            f"labels has {counted(len(labels), 'entry')} for {counted(phi.shape[1], 'torsion')}"
        )
    result = []
    for column, label in zip(phi.T, labels, strict=True):
        state = assign(column, basin_edges(column))
        centres = [(_mean_deg(column[state == k]),) for k in range(state.max() + 1)]
        result.append(_basins(state, label, centres, lengths))
    return result


def joint_basins(
    torsions_rad: ArrayLike, limit: int = MAX_STATES, lengths: Sequence[int] = ()
) -> list[Basin]:
    """The most populated combinations of the torsions' basins, at most `limit`; see
    `torsion_basins`.
    """
    phi = _frames(torsions_rad)
    states = np.stack([assign(column, basin_edges(column)) for column in phi.T], axis=1)
    _, state = np.unique(states, axis=0, return_inverse=True)
    state = state.reshape(-1)
    centres = [
        tuple(_mean_deg(column) for column in phi[state == k].T) for k in range(state.max() + 1)
    ]
    return _basins(state, "all", centres, lengths, limit)


def _mean_deg(angles: NDArray[np.float64]) -> float:
    return (
        float(np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())))
        if len(angles)
        else float("nan")
    )


def _basins(
    state: NDArray[np.int64],
    label: str,
    centres: Sequence[tuple[float, ...]],
    lengths: Sequence[int],
    limit: int | None = None,
) -> list[Basin]:
    """Populations p_k and F_k = -ln(p_k / p_0) in kT; the error of F is that of the
    mean of I_k / p_k - I_0 / p_0 (delta method).
    """
    counts = np.bincount(state, minlength=len(centres))
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k]][:limit]
    n, top = len(state), order[0]
    first = (state == top) / (counts[top] / n)
    basins = []
    for k in order:
        inside = (state == k).astype(np.float64)
        p = counts[k] / n
        steps = _steps(inside, lengths)
        error = spread = float("nan")
        if steps.any():
            error = standard_error(inside, lengths)
            spread = standard_error(inside / p - first, lengths)
        if k == top:
            spread = 0.0
        energy, entries = float(-np.log(p * n / counts[top])), int(np.count_nonzero(steps > 0))
        basins.append(Basin(label, centres[k], float(p), error, energy, spread, entries))
    return basins


def _steps(inside: NDArray[np.float64], lengths: Sequence[int]) -> NDArray[np.float64]:
    """Change from each frame to the next of the same chain: 1 enters, -1 leaves."""
    return np.concatenate([np.diff(inside[part]) for part in chain_slices(len(inside), lengths)])


def summary(
    torsions_rad: ArrayLike,
    labels: Sequence[str],
    temperature_K: float,
    lengths: Sequence[int] = (),
) -> dict[str, Any]:
    """ESS, R-hat, basins of each torsion and joint basins as plain values.

    Free energies are in kT and kJ/mol, as the name says. "warnings" names the basins of
    a torsion that were entered fewer than `LEAST_ENTRIES` times, and torsions on which
    chains disagree.

    Parameters
    ----------
    torsions_rad : (n_frames, m) array
        One chain after the other.
    labels : sequence of str
        (m,) names of the torsions.
    temperature_K : float
        Of the chains.
    lengths : sequence of int
        Frames of each chain; empty for a single chain.
    """
    phi = _frames(torsions_rad)
    per_kT = BOLTZMANN_EV_PER_K * temperature_K * KJ_MOL_PER_EV
    ess = effective_samples(phi, lengths) if phi.shape[1] else np.zeros(0)
    r_hats = torsion_r_hat(phi, lengths)
    found = torsion_basins(phi, labels, lengths)
    torsions = [
        {
            "torsion": label,
            "ess": float(samples),
            "r_hat": _or_none(float(agreement)),
            "basins": [_row(basin, per_kT) for basin in basins],
        }
        for label, samples, agreement, basins in zip(labels, ess, r_hats, found, strict=True)
    ]
    joint = joint_basins(phi, lengths=lengths) if phi.shape[1] else []
    warned = [text for basins in found for text in rare_entries(basins)]
    warned += disagreements(labels, r_hats)
    states = [_row(basin, per_kT) for basin in joint]
    return {"frames": len(phi), "torsions": torsions, "states": states, "warnings": warned}


def _row(basin: Basin, per_kT: float) -> dict[str, Any]:
    """A basin as plain values; per_kT in kJ/mol."""
    values = {
        key: _or_none(value) if isinstance(value, float) else value
        for key, value in vars(basin).items()
    }
    error = values["free_energy_error_kT"]
    values["free_energy_kJ_mol"] = basin.free_energy_kT * per_kT
    values["free_energy_error_kJ_mol"] = None if error is None else error * per_kT
    return values


def _or_none(value: float) -> float | None:
    """None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def disagreements(labels: Sequence[str], r_hats: NDArray[np.float64]) -> list[str]:
    """A line for each torsion on which chains, or the halves of one, disagree."""
    return [
        f"torsion {label}: R-hat is {value:.2f} (at most {LARGEST_R_HAT} is wanted): chains, or "
        "the halves of one, have not seen the same distribution; run longer"
        for label, value in zip(labels, r_hats.tolist(), strict=True)
        if value > LARGEST_R_HAT
    ]


def rare_entries(basins: Sequence[Basin]) -> list[str]:
    """A line for each basin of a torsion that was entered too seldom for its population
    to be trusted; none if there is one basin.
    """
    if len(basins) < 2:
        return []
    return [
        f"torsion {basin.torsion}: the basin at {basin.centres_deg[0]:.0f} degrees was "
        f"entered {basin.entries} times (at least "
        f"{LEAST_ENTRIES} are wanted), so its population and error are not reliable; run longer"
        for basin in basins
        if basin.entries < LEAST_ENTRIES
    ]
