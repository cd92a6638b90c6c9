"""The deterministic two-step solver for samples in few network calls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

LARGEST_RATIO = 10.0  # of noise levels; over longer steps an extrapolated error would grow


@dataclass
class TwoStep:
    """DPM-Solver++(2M) for noise that is added to data: x = clean + sigma noise.

    The clean estimate is extrapolated over the logarithm of the noise level from the
    last two calls, so that few steps keep the spread of the data. Steps by a factor of
    10 and more are taken without extrapolation (DDIM).

    References
    ----------
    Lu et al., DPM-Solver++, arXiv:2211.01095, algorithm 2 with alpha = 1.
    """

    _before: tuple[Tensor, float] | None = field(default=None, init=False)

    def step(self, x: Tensor, clean: Tensor, sigma: float, following: float) -> Tensor:
        """x of the noise level `sigma` at the level `following`; 0 gives `clean`."""
        if following == 0.0:
            return clean
        ahead = clean
        earlier, level = self._before or (clean, math.inf)
        if max(level / sigma, sigma / following) < LARGEST_RATIO:
            ratio = math.log(level / sigma) / math.log(sigma / following)
            ahead = clean + (clean - earlier) / (2 * ratio)
        self._before = clean, sigma
        return following / sigma * x + (1 - following / sigma) * ahead
