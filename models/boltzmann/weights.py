"""Weights of samples of known density, and what follows from them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError
from equidrift.units import BOLTZMANN_EV_PER_K

Floats = NDArray[np.float64]
_BOOTSTRAPS = 200


def log_weights(log_prob: ArrayLike, energies_eV: ArrayLike, temperature_K: float) -> Floats:
    """(k,) log w = -U / kT - log q; -inf where an energy is not finite.

    Raises
    ------
    InputError
        where the shapes differ or the temperature is not positive.
    """
    log_q, u = np.asarray(log_prob, np.float64), np.asarray(energies_eV, np.float64)
    if log_q.ndim != 1 or log_q.shape != u.shape or not len(u):
        raise InputError(
            f"log_prob and energies_eV must be (k,) each, one per sample; got {log_q.shape} and "
            f"{u.shape}"
        )
    if not temperature_K > 0:
        raise InputError(
            f"temperature_K must be positive, not {temperature_K}; give for example 300"
        )
    finite = np.isfinite(u) & np.isfinite(log_q)
    out: Floats = np.full(len(u), -np.inf)
    out[finite] = -u[finite] / (BOLTZMANN_EV_PER_K * temperature_K) - log_q[finite]
    return out


def importance_weights(log_w: ArrayLike) -> Floats:
    """(k,) weights that add up to 1, of log-weights.

    Raises `InputError` where none is finite.
    """
    log_w = np.asarray(log_w, np.float64)
    allowed = np.isfinite(log_w) | np.isneginf(log_w)
    if log_w.ndim != 1 or not np.isfinite(log_w).any() or not allowed.all():
        raise InputError(
            "log-weights must be (k,), -inf or finite, at least one finite; got shape "
            f"{log_w.shape}"
        )
    w = np.exp(log_w - log_w.max())
    out: Floats = w / w.sum()
    return out


def ess(log_w: ArrayLike) -> float:
    """Kish's effective sample size over the number of samples, (sum w)^2 / (k sum w^2):
    1 for a perfect generator.
    """
    w = importance_weights(log_w)
    return float(1.0 / (len(w) * np.sum(w**2)))


def free_energy_difference(
    log_w_a: ArrayLike, log_w_b: ArrayLike, seed: int = 0
) -> tuple[float, float]:
    """F_b - F_a in kT and its standard error by bootstrap.

    Parameters
    ----------
    log_w_a, log_w_b : array_like, shape (k,)
        Log-weights of samples drawn within each region, each from a density normalised
        there (`sample(first_torsion_rad=...)`). For one set of samples over everything
        give it twice, -inf where a sample is not in the region.
    """
    a, b = (np.asarray(v, np.float64) for v in (log_w_a, log_w_b))
    importance_weights(a), importance_weights(b)  # checks them
    rng = np.random.default_rng(seed)
    # two regions of one set of samples are drawn together
    same = a.shape == b.shape and bool(np.all(np.isneginf(a) | np.isneginf(b)))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = []
        for _ in range(_BOOTSTRAPS):
            rows = rng.integers(len(a), size=len(a))
            others = rows if same else rng.integers(len(b), size=len(b))
            spread.append(_log_mean(a[rows]) - _log_mean(b[others]))
    finite = np.array(spread)[np.isfinite(spread)]
    return float(_log_mean(a) - _log_mean(b)), float(finite.std()) if len(finite) > 1 else math.inf


def _log_mean(log_w: Floats) -> float:
    top = log_w.max()
    return float(top + np.log(np.mean(np.exp(log_w - top)))) if np.isfinite(top) else -math.inf
