"""Circular rational-quadratic splines (Durkan et al., arXiv:1906.04032; Rezende et al.,
arXiv:2002.02428).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

_LEAST = 1e-3  # width and height of a bin, as shares of an even one
_SLOPE_ONE = math.log(math.e - 1)  # softplus of it is 1


def circular_spline(x: Tensor, numbers: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
    """A monotone rational-quadratic map of the circle [0, 1) onto itself, and the log
    of its slope (of its inverse's, with `inverse`).

    Parameters
    ----------
    x : Tensor, shape (k,)
        On the circle.
    numbers : Tensor, shape (k, 3 bins)
        Logits of the bins' widths and heights, and the slopes at their borders, the
        first slope also the last.
    """
    widths, heights, slopes = numbers.chunk(3, dim=1)
    bins = widths.shape[1]
    widths, heights = (
        torch.softmax(v, dim=1) * (1 - _LEAST) + _LEAST / bins for v in (widths, heights)
    )
    slopes = softplus(slopes + _SLOPE_ONE) + _LEAST
    left, low = (
        torch.cat([v.new_zeros(len(v), 1), v.cumsum(1)[:, :-1]], dim=1) for v in (widths, heights)
    )
    edges = low if inverse else left
    k = (
        torch.searchsorted(
            edges.detach().contiguous(), x.detach()[:, None].contiguous(), right=True
        )
        - 1
    ).clamp(0, bins - 1)
    after = torch.remainder(k + 1, bins)
    width, height, x0, y0, d0 = (v.gather(1, k)[:, 0] for v in (widths, heights, left, low, slopes))
    d1, s = slopes.gather(1, after)[:, 0], height / width
    if inverse:
        rise, bend = x - y0, d0 + d1 - 2 * s
        a, b, c = height * (s - d0) + rise * bend, height * d0 - rise * bend, -s * rise
        z = 2 * c / (-b - torch.sqrt((b**2 - 4 * a * c).clamp_min(0.0)))
    else:
        z = (x - x0) / width
    across = z * (1 - z)
    below = s + (d0 + d1 - 2 * s) * across
    slope = s**2 * (d1 * z**2 + 2 * s * across + d0 * (1 - z) ** 2) / below**2
    if inverse:
        return x0 + z * width, -slope.log()
    return y0 + height * (s * z**2 + d0 * across) / below, slope.log()
