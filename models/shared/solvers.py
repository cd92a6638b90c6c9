"""Steps from one noise level to the next, given an estimate of what is clean."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from equidrift.models.shared.schedules import churn_level

Noise = Tensor | Callable[[], Tensor] | None


def ancestral_step(
    x: Tensor, clean: Tensor, sigma: float, following: float, churn: float = 0, noise: Noise = None
) -> Tensor:
    """x of noise level `sigma` at the level `following`.

    Parameters
    ----------
    clean : Tensor
        The estimate of x without noise, in the shape of x.
    churn : float
        Share of an ancestral step's fresh noise: 0 is the probability flow, 1 the
        ancestral sampler.
    noise : Noise
        Standard normal numbers in the shape of x, or a function that draws them; it is
        called only if noise is added. None with churn 0.
    """
    down, up = churn_level(sigma, following, churn)
    moved = clean + (x - clean) * (down / sigma)
    if up == 0 or noise is None:
        return moved
    return moved + up * (noise() if callable(noise) else noise)
