"""Wrapped normal noise on the circle: its score and the score's mean square."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from equidrift.geometry import Floats

SIGMA_MAX_RAD, SIGMA_MIN_RAD = 3.0, 0.08  # trained levels; at the upper the noise is flat to 2 %
_MOST_TURNS = 4  # images on either side; the next one adds less than 1e-12 at sigma 3
_TABLE_RAD = np.geomspace(0.01, 4.0, 240)
_POINTS = 4096


def wrapped_score(delta: Tensor, sigma: Tensor) -> Tensor:
    """d log WN(delta; sigma) / d delta, of angles and noise of one shape."""
    turns = torch.arange(-_MOST_TURNS, _MOST_TURNS + 1, device=delta.device)
    images = delta[..., None] + (turns * (2 * torch.pi)).to(delta.dtype)
    weight = torch.softmax(-0.5 * (images / sigma[..., None]).square(), dim=-1)
    return -(weight * images).sum(-1) / sigma.square()


@lru_cache(maxsize=1)
def _rms_table() -> Floats:
    """Logarithm of the root mean square score at each of `_TABLE_RAD`, by quadrature."""
    x = (np.arange(_POINTS) + 0.5) * (2 * np.pi / _POINTS) - np.pi
    images = x[:, None] + 2 * np.pi * np.arange(-_MOST_TURNS, _MOST_TURNS + 1)
    out = []
    for sigma in _TABLE_RAD:
        weight = np.exp(-0.5 * np.square(images / sigma))
        density = weight.sum(axis=1)
        slope = -(weight * images).sum(axis=1) / np.maximum(density, 1e-300) / sigma**2
        out.append(0.5 * np.log((density * slope**2).sum() / density.sum()))
    return np.array(out)


def rms_score(sigmas: Floats) -> Floats:
    """Root of E |d log WN / d x|^2 at noise `sigmas`, in 1/rad: 1 / sigma if narrow,
    sqrt(2) exp(-sigma^2 / 2) if wide.
    """
    return np.exp(np.interp(np.log(sigmas), np.log(_TABLE_RAD), _rms_table()))


def rms_score_of(sigmas: Tensor) -> Tensor:
    """`rms_score` of a tensor, interpolated in float64, in the type of `sigmas`."""
    return torch.from_numpy(rms_score(sigmas.cpu().numpy())).to(sigmas)
