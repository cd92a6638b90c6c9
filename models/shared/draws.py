"""Standard normal noise of samples, each with a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.seeds import check_seed, sample_rng, sample_seeds

Noise = Callable[[tuple[int, ...]], NDArray[np.float64]]


def normal_draws(
    shape: tuple[int, ...], seed: int, dtype: torch.dtype, noise: Noise | None = None
) -> Callable[[], Tensor]:
    """A function that gives fresh standard normal noise of a shape at every call.

    Parameters
    ----------
    shape : tuple of int
        (samples, ...); row k depends on the seed and k alone, however many rows there are.
    seed : int
        Of all samples.
    dtype : torch.dtype
        Of the noise.
    noise : callable, optional
        Gives the noise of a shape in place of the seed's; for tests of equivariance.
    """
    if noise is not None:
        return lambda: torch.as_tensor(noise(shape), dtype=dtype)
    streams = [sample_rng(int(s)) for s in sample_seeds(check_seed(seed), 0, shape[0])]

    def draw() -> Tensor:
        rows = np.stack([stream.standard_normal(shape[1:]) for stream in streams])
        return torch.as_tensor(rows, dtype=dtype)

    return draw
