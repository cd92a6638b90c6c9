"""Standard normal noise of samples, each with a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.shared.devices import batch_size
from equidrift.seeds import check_seed, sample_rng, sample_seeds

Noise = Callable[[tuple[int, ...]], NDArray[np.float64]]


def in_batches(
    work: Callable[[slice], Tensor], count: int, size: int, per_batch: int, device: torch.device
) -> Tensor:
    """What `work` makes of all rows, in batches that fit the device.

    Parameters
    ----------
    work : callable
        Makes a tensor (rows, ...) of a slice of the rows; each must depend on its row
        alone.
    count : int
        Number of rows, at least 1.
    size : int
        Of one row, in the unit of `per_batch`: points, or pairs of them; 0 puts all rows
        into one batch.
    per_batch : int
        What a batch may hold on a CPU; see `batch_size`.
    device : torch.device
        Where the work is done.
    """
    step = max(1, batch_size(per_batch, device) // size) if size else count
    return torch.cat([work(slice(k, min(k + step, count))) for k in range(0, count, step)])


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
    first: int = 0,
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
    first : int
        The sample of the first row, if they are drawn in several batches.
    """
    if noise is not None:
        return lambda: torch.as_tensor(noise(shape), dtype=like.dtype, device=like.device)
    streams = [sample_rng(int(s)) for s in sample_seeds(check_seed(seed), first, first + shape[0])]
    return stream_draws(streams, shape[1:], like.dtype, like.device)
