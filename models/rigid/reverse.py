"""Noise on rotations taken back: the reverse of Brownian motion on SO(3), by a score.

Noise of level eps is R exp(v) with v from IGSO(3), in the body's frame; a score is a
vector in that frame as well. Levels go down geometrically: evenly in log noise, 50 steps
suffice (20 are a tenth too wide; FrameDiff's schedule needs hundreds).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.rigid import igso3, rotations

MOST_EPS, LEAST_EPS = 1.55, 0.03  # radians; at the first the density is nearly uniform
# rotations (n, 3, 3), noise level -> score (n, 3) per radian, in the body's frame
Score = Callable[[Floats, float], Floats]


def mixture_score(weights: Floats, means: Floats, eps: Floats) -> Score:
    """The score of a mixture of IGSO(3) with so much noise more: noise adds to eps^2.

    Parameters
    ----------
    weights, means, eps : (c,), (c, 3, 3) and (c,) array
        Of the components.
    """
    log_w = np.log(np.asarray(weights, np.float64))

    def score(turns: Floats, level: float) -> Floats:
        wide = np.sqrt(np.asarray(eps) ** 2 + level**2)
        arms = rotations.log(np.swapaxes(means, -1, -2) @ turns[:, None])  # (n, c, 3)
        angle = np.linalg.norm(arms, axis=-1)
        log_p = log_w + igso3.log_density(angle, wide)
        share = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        slope = share * igso3.score(angle, wide) / np.maximum(angle, 1e-12)
        out: Floats = (slope[..., None] * arms).sum(axis=1)
        return out

    return score


def levels(steps: int) -> Floats:
    """Noise levels (steps + 1,) from `MOST_EPS` down to `LEAST_EPS`.

    Raises
    ------
    InputError
        If there is no step.
    """
    if steps < 1:
        raise InputError(f"steps must be 1 or more, not {steps}; give for example 50")
    return np.geomspace(MOST_EPS, LEAST_EPS, steps + 1)


def denoised(score: Score, n: int, rng: np.random.Generator, *, steps: int = 50) -> Floats:
    """n rotations (n, 3, 3), drawn uniformly and brought down the levels of noise by
    the reverse equation's Euler steps, R exp(b s + sqrt(b) z), b the loss of eps^2.

    Parameters
    ----------
    score : callable
        Of the noised density, for example `mixture_score`.
    n : int
        Rotations.
    rng : numpy.random.Generator
        Draws the start and the noise.
    steps : int, optional
        Levels.
    """
    turns = rotations.haar(n, rng)
    noise = levels(steps)
    for high, low in pairwise(noise.tolist()):
        lost = high**2 - low**2
        z = rng.standard_normal((n, 3))
        turns = turns @ rotations.exp(lost * score(turns, high) + np.sqrt(lost) * z)
    return turns
