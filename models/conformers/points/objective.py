"""What `PointModel` learns: noisy coordinates, clean distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.conformers.distance.network import pair_indices
from equidrift.models.conformers.distance.objective import stratified_log_sigma
from equidrift.models.conformers.points.handedness import Handedness
from equidrift.models.conformers.points.network import LEAST_SPREAD, PointNetwork
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.split import HELD_OUT, split

SIGMA_MIN, SIGMA_MAX = 0.002, 5.0  # of the training, in units of the sets' radius
FEWEST = 10  # sets
MOST_POINTS = 200


@dataclass(frozen=True)
class PointData:
    """Sets of points in units of their radius, centred; see `PointData.of`.

    Attributes
    ----------
    train, held_out : Tensor, shape (N, K, 3)
    radius : float
        Root mean square distance from the centre, in the user's unit.
    mean, spread : Tensor, shape (P,)
        Of the pairs' distances in `train`.
    handedness : Handedness
        Of `train`.
    """

    train: Tensor
    held_out: Tensor
    radius: float
    mean: Tensor
    spread: Tensor
    handedness: Handedness

    @property
    def n_points(self) -> int:
        """K."""
        return self.train.shape[1]

    @classmethod
    def of(cls, points: ArrayLike, seed: int) -> PointData:
        """A user's sets, checked; raises `InputError`, see `PointModel.fit`."""
        x = checked(points)
        x = x - x.mean(1, keepdims=True)
        radius = float(np.sqrt(np.square(x).sum(-1).mean()))
        if radius == 0.0:
            raise InputError("points: all points of every set lie in one place")
        rows, held = split(range(len(x)), HELD_OUT, seed)
        train = x[rows] / radius
        distances = pair_distances(torch.from_numpy(train))
        spread = distances.std(0)
        if float(spread.max()) < 1e-6:
            raise InputError("points: every set has the same shape; there is nothing to learn")
        return cls(
            torch.from_numpy(train).float(),
            torch.from_numpy(x[held] / radius).float(),
            radius,
            distances.mean(0),
            spread.clamp_min(LEAST_SPREAD),
            Handedness.of(train, seed),
        )


def checked(points: ArrayLike) -> NDArray[np.float64]:
    """Sets of points (N, K, 3) as floats.

    Raises `InputError` for another shape, too few sets or points, and values that are
    not finite.
    """
    try:
        x = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"points must be an array of numbers (N, K, 3): {error}") from error
    if x.ndim != 3 or x.shape[2] != 3:
        raise InputError(f"points must be sets of K points, (N, K, 3), not {x.shape}")
    if len(x) < FEWEST or not 3 <= x.shape[1] <= MOST_POINTS:
        raise InputError(
            f"points: {len(x)} sets of {x.shape[1]} points; at least {FEWEST} sets of 3 to "
            f"{MOST_POINTS} points are needed"
        )
    if not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x).all((1, 2)))[0])
        raise InputError(f"points: set {bad} has a value that is not finite; leave it out")
    return x


def pair_distances(points: Tensor) -> Tensor:
    """(N, P) distances in the order of `pair_indices`."""
    i, j, _ = pair_indices(points.shape[1], points.device)
    distances: Tensor = (points[:, i] - points[:, j]).norm(dim=-1)
    return distances


@dataclass(frozen=True)
class NoisyPoints(Batched):
    """Clean sets (B, K, 3), noise levels (B,) and standard normal noise (B, K, 3)."""

    points: Tensor
    sigma: Tensor
    noise: Tensor


def batches_of(
    points: Tensor, size: int, seed: int, device: torch.device
) -> Callable[[int], NoisyPoints]:
    """batch(step) of some sets, of the step and the seed alone."""

    def batch(step: int) -> NoisyPoints:
        rng = np.random.default_rng([seed, step])
        rows = torch.from_numpy(rng.integers(len(points), size=size))
        noise = rng.standard_normal((size, *points.shape[1:])).astype(np.float32)
        sigma = stratified_log_sigma(rng, size, SIGMA_MIN, SIGMA_MAX)
        return NoisyPoints(points[rows], sigma, torch.from_numpy(noise)).to(device)

    return batch


def denoising_loss(network: nn.Module, batch: NoisyPoints) -> Tensor:
    """Mean squared error of the clean distances, each in units of what a Gaussian prior
    of its pair leaves unknown.
    """
    noisy = batch.points + batch.sigma[:, None, None] * batch.noise
    clean = pair_distances(batch.points)
    errors = cast(PointNetwork, network).residuals(noisy, batch.sigma, clean)
    return errors.square().mean()
