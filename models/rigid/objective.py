"""The loss of a score of poses, denoising score matching on SO(3) x R^3, and its
gradient. numpy only: the network is so small that importing torch would take longer than
training it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.geometry import Floats
from equidrift.models.rigid import igso3, rotations
from equidrift.models.rigid.network import logistic

Singles = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Noised:
    """Poses (k, 3, 3), (k, 3) with noise, and what the network's last layer should say
    of them, (k, 3 or 6).
    """

    turns: Floats
    places: Floats
    wanted: Floats


def noised(
    turns: Floats, places: Floats, sigma: Floats, turning: bool, rng: np.random.Generator
) -> Noised:
    """Noise of levels sigma (k, 1) on clean poses: exp(w) R with w of IGSO(3), u + sigma e.

    sigma times the score of the noise is sigma f'/f (w) along w, and -e; the mean of
    it, given the noised pose, is sigma times the score of noised poses (Vincent,
    doi:10.1162/NECO_a_00142, equation 11). What is wanted is that, scaled as the
    network's outputs are.
    """
    shift = rng.standard_normal(places.shape)
    moved = places + sigma * shift
    wide = np.sqrt(1 + sigma**2)
    wanted = wide * (sigma * moved / wide**2 - shift)
    if not turning:
        return Noised(turns, moved, wanted)
    by = igso3.sample(sigma[:, 0], rng)
    vectors = rotations.log(by)
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    slope = sigma * igso3.score(angle, sigma) / np.maximum(angle, 1e-12)
    return Noised(by @ turns, moved, np.concatenate([wide * slope * vectors, wanted], axis=1))


def score_loss(
    weights: Sequence[Singles], biases: Sequence[Singles], features: Singles, wanted: Singles
) -> tuple[float, list[Singles]]:
    """The mean square of what a network with SiLU says of features (k, inputs) against
    what is wanted (k, outputs), and its gradient along weights, then biases.
    """
    inputs, slopes, last = [features], [], len(weights) - 1
    for n, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        a = inputs[-1] @ weight.T + bias
        if n < last:
            gate = logistic(a)
            a = a * gate
            slopes.append(gate + a * (1 - gate))
        inputs.append(a)
    off = inputs[-1] - wanted
    back = 2 / off.size * off
    along_weights, along_biases = [], []
    for n in range(last, -1, -1):
        along_weights.append(back.T @ inputs[n])
        along_biases.append(back.sum(axis=0))
        if n:
            back = (back @ weights[n]) * slopes[n - 1]
    return float(np.square(off).mean()), along_weights[::-1] + along_biases[::-1]
