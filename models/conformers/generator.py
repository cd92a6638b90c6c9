"""The generator from noise: x0-prediction over a range of noise levels (EDM, Karras 2022), and its solver.

The estimate is the conformer itself, not its mean over the posterior: at high noise the loss is a median-like one (Huber on
distances and on superposed coordinates), which keeps every estimate a sensible molecule.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equidrift.models.conformers.network import SIGMA_DATA_A
from equidrift.models.conformers.objective import Example, geometry_loss

SIGMA_LOG_MEAN, SIGMA_LOG_STD = 0.0, 1.3
SIGMA_MAX_A, SIGMA_MIN_A = 8.0, 0.02


def generator_loss(network: nn.Module, example: Example) -> Tensor:
    """Error of each stage's estimate of the clean conformer, over the error that its noise level leaves to be expected."""
    outs = network(example.batch, example.start, example.level, example.sigma)
    scale = [0.25] * (len(outs) - 1) + [1.0]
    expected = 0.1 + example.sigma * SIGMA_DATA_A / (example.sigma.square() + SIGMA_DATA_A**2).sqrt()
    return sum((s * geometry_loss(example, x, 1.0 / expected) for s, x in zip(scale, outs)), start=torch.zeros(()))


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
