"""Noise levels."""

from __future__ import annotations

import math

SIGMA_MAX_A, SIGMA_MIN_A = 8.0, 0.02


def noise_levels(steps: int, *, sigma_max_A: float = SIGMA_MAX_A, sigma_min_A: float = SIGMA_MIN_A, rho: float = 3.0) -> list[float]:
    """`steps` + 1 noise levels from sigma_max down to 0 (Karras 2022, equation 5)."""
    if steps == 1:
        return [sigma_max_A, 0.0]
    high, low = sigma_max_A ** (1 / rho), sigma_min_A ** (1 / rho)
    return [(high + k / (steps - 1) * (low - high)) ** rho for k in range(steps)] + [0.0]


def churn_level(sigma: float, following: float, eta: float) -> tuple[float, float]:
    """(sigma to go down to, noise to add) of an ancestral step with churn `eta`; 0 is the ODE."""
    if following == 0.0 or eta == 0.0:
        return following, 0.0
    up = min(following, eta * math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2))
    return math.sqrt(following**2 - up**2), up
