"""Standard normal noise of samples, each with a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.seeds import check_seed, sample_rng, sample_seeds

Noise = Callable[[tuple[int, ...]], NDArray[np.float64]]


def stream_draws(
    streams: Sequence[np.random.Generator],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Callable[[], Tensor]:
    """A function that gives fresh standard normal noise at every call.

    The numbers are drawn on the CPU and then moved, so that they are the same on every
    device.

    Parameters
    ----------
    streams : sequence of np.random.Generator
        One per sample.
    shape : tuple of int
        Of one sample's noise.
    dtype, device : torch.dtype, torch.device
        Of the noise.
    """

    def draw() -> Tensor:
        rows = np.stack([stream.standard_normal(shape) for stream in streams])
        return torch.from_numpy(rows).to(device, dtype)

    return draw


def normal_draws(
    shape: tuple[int, ...],
    seed: int,
    like: Tensor,
    noise: Noise | None = None,
) -> Callable[[], Tensor]:
    """A function that gives fresh standard normal noise of a shape at every call.

    Parameters
    ----------
    shape : tuple of int
        (samples, ...); row k depends on the seed and k alone, however many rows there are.
    seed : int
        Of all samples.
    like : Tensor
        Whose type and device the noise takes.
    noise : callable, optional
        Gives the noise of a shape in place of the seed's; for tests of equivariance.
    """
    if noise is not None:
        return lambda: torch.as_tensor(noise(shape), dtype=like.dtype, device=like.device)
    streams = [sample_rng(int(s)) for s in sample_seeds(check_seed(seed), 0, shape[0])]
    return stream_draws(streams, shape[1:], like.dtype, like.device)
