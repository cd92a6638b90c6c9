"""Noise levels."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

Share = TypeVar("Share", float, Tensor)
SIGMA_MAX_A, SIGMA_MIN_A = 8.0, 0.02  # of the conformer generator


def noise_level(share: Share, highest: float, lowest: float, rho: float = 3.0) -> Share:
    """The noise level after a `share` of the way from `highest` (0) to `lowest` (1).

    References
    ----------
    Karras et al., NeurIPS 2022, doi:10.48550/arXiv.2206.00364, equation 5.
    """
    high, low = highest ** (1 / rho), lowest ** (1 / rho)
    level: Share = (high + share * (low - high)) ** rho
    return level


def noise_levels(
    steps: int, *, highest: float = SIGMA_MAX_A, lowest: float = SIGMA_MIN_A, rho: float = 3.0
) -> list[float]:
    """`steps` + 1 noise levels from `highest` to `lowest`, and 0 at the end; see
    `noise_level`.
    """
    if steps == 1:
        return [highest, 0.0]
    return [noise_level(k / (steps - 1), highest, lowest, rho) for k in range(steps)] + [0.0]


def churn_level(sigma: float, following: float, eta: float) -> tuple[float, float]:
    """(sigma to go down to, noise to add) of an ancestral step with churn `eta`; 0 is
    the ODE.
    """
    if following == 0.0 or eta == 0.0:
        return following, 0.0
    up = min(following, eta * math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2))
    return math.sqrt(following**2 - up**2), up
