"""Functions to learn from: the generators of arXiv:2307.05431, experiments, and the
checks of a user's arrays.
"""

from __future__ import annotations

import csv
import itertools
import math
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.errors import InputError, InputTypeError, UnknownNameError
from equidrift.models.fields.functions.kernels import Kernel, make_kernel

NOISE = 0.05**2
SAWTOOTH_VARIANCE = 0.07965
PAIRS_PER_BATCH = 1_000_000  # pairs of points of the samples in one call, on a CPU
SYSTEMS_1D = ("se", "matern52", "weakly-periodic", "sawtooth", "mixture")
SYSTEMS_2D = ("2d-se", "2d-curl-free", "2d-div-free")
GAUSSIAN = ("se", "matern52", "weakly-periodic", *SYSTEMS_2D)  # those that `true_kernel` knows
RADIUS, NOISE_2D = 10.0, 0.02
POOLED = (1 << 30) + 1  # the step that no training comes to and that a pool is drawn at


def true_kernel(system: str) -> Kernel:
    """The kernel of a Gaussian system of the paper.

    Raises `UnknownNameError` for the sawtooth, the mixture and other names.
    """
    if system == "weakly-periodic":
        return make_kernel("weakly-periodic", length=0.5, noise=NOISE, period=0.25, inner=1.0)
    if system in ("se", "matern52"):
        return make_kernel(system, length=0.25, noise=NOISE)
    if system in SYSTEMS_2D:
        return make_kernel(system[3:], 2, length=math.sqrt(5.0), noise=NOISE_2D)
    raise UnknownNameError("Gaussian system", system, GAUSSIAN)


def sawtooth(x: Tensor, generator: torch.Generator) -> Tensor:
    """Sawtooth functions at x (B, n, 1): frequency U[3, 5], shift U[-5, 5], Fourier
    series cut after 10 to 20 terms; no noise.
    """
    b = len(x)
    frequency = 3 + 2 * torch.rand(
        b, 1, 1, generator=generator, device=generator.device, dtype=x.dtype
    )
    shift = (
        10 * torch.rand(b, 1, 1, generator=generator, device=generator.device, dtype=x.dtype) - 5
    )
    terms = torch.randint(10, 21, (b, 1, 1), generator=generator, device=generator.device)
    k = torch.arange(1, 21, device=x.device)
    kept = torch.where(k <= terms, (-1.0) ** k / k, 0.0).to(x.dtype)
    return (
        -(kept * (2 * math.pi * k * frequency * (x - shift)).sin()).sum(-1, keepdim=True) / math.pi
    )


def draw_functions(system: str, x: Tensor, generator: torch.Generator) -> Tensor:
    """Functions of a system of the paper at points x (B, n, d): (B, n, p), observation noise
    included.

    Raises
    ------
    UnknownNameError
        for another system.
    """
    if system == "sawtooth":
        return sawtooth(x, generator)
    if system == "mixture":
        which = torch.randint(4, (len(x),), generator=generator, device=generator.device)
        y = sawtooth(x, generator) / math.sqrt(SAWTOOTH_VARIANCE)
        for k, name in enumerate(("se", "matern52", "weakly-periodic")):
            if bool((which == k).any()):
                y[which == k] = draw_functions(name, x[which == k], generator)
        return y
    kernel = true_kernel(system)
    z = torch.randn(
        *x.shape[:2], kernel.components, generator=generator, device=generator.device, dtype=x.dtype
    )
    return kernel.gram(x).root_cheap(z)


def radial_grid() -> Tensor:
    """The 648 points of the 2D systems: those of a 30 x 30 grid over [-10, 10]^2 within
    radius 10. (n, 2).
    """
    axis = torch.linspace(-RADIUS, RADIUS, 30, dtype=torch.float64, device="cpu")
    x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return x[x.norm(dim=-1) <= RADIUS]


class Functions:
    """Endless training batches of a system: `batch(step)` is (x, y, mask), each
    function with its own points and their number.

    Parameters
    ----------
    system : str
        One of `SYSTEMS_1D` and `SYSTEMS_2D`.
    size : int
        Functions of a batch.
    seed : int
        Of all that is drawn.
    points : int or None
        Of a function, at most; 60, or 110 of a sawtooth or mixture.
    turns : bool
        Whether each function of a batch is turned, and mirrored, at random.
    pool : int or None
        Batches are drawn from so many functions, each with its values at all its points;
        None draws fresh functions for every batch.
    """

    def __init__(
        self,
        system: str,
        size: int = 32,
        seed: int = 0,
        points: int | None = None,
        *,
        turns: bool = False,
        pool: int | None = None,
    ):
        if turns and system not in SYSTEMS_2D:
            raise InputError(
                f"functions of {system} cannot be turned; that is for {', '.join(SYSTEMS_2D)}"
            )
        if system not in SYSTEMS_1D + SYSTEMS_2D:
            raise UnknownNameError("system", system, SYSTEMS_1D + SYSTEMS_2D)
        self.system, self.size, self.seed = system, size, seed
        self.points = points or (110 if system in ("sawtooth", "mixture") else 60)
        self._grid = radial_grid().float() if system in SYSTEMS_2D else None
        self.pool, self.turns = pool, turns

    @cached_property
    def pooled(self) -> tuple[Tensor, Tensor]:
        """Points and values of all functions of the pool."""
        return self._drawn(self.pool or 0, self._generator(POOLED))

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + step)

    def _drawn(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points (count, n, d) and values (count, n, p) of fresh functions."""
        n, device = self.points, generator.device
        if self._grid is None:
            x = 4 * torch.rand(count, n, 1, generator=generator, device=device) - 2
        else:
            rows = [
                torch.randperm(len(self._grid), generator=generator, device=device)[:n]
                for _ in range(count)
            ]
            x = self._grid[torch.stack(rows)]
        return x, draw_functions(self.system, x, generator)

    def _picked(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Functions of the pool, their points in a random order."""
        x, y = self.pooled
        device = generator.device
        pick = torch.randint(len(x), (self.size, 1), generator=generator, device=device)
        order = torch.rand(self.size, self.points, generator=generator, device=device).argsort(1)
        return x[pick, order], y[pick, order]

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The batch of a training step: a function of the seed and the step alone."""
        generator, n = self._generator(step), self.points
        fresh = self.pool is None
        x, y = self._drawn(self.size, generator) if fresh else self._picked(generator)
        if self.turns:
            noise = torch.randn(self.size, 2, 2, generator=generator, device=generator.device)
            turn, upper = torch.linalg.qr(noise)  # even over the group once signs are set
            turn = turn * upper.diagonal(dim1=1, dim2=2).sign()[:, None]
            x, y = x @ turn, y @ turn
        count = torch.randint(
            1, n + 1, (self.size, 1), generator=generator, device=generator.device
        )
        return x, y, torch.arange(n, device=count.device)[None] < count


def as_fields(
    x: ArrayLike,
    y: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    dimension: int | None = None,
    components: int | None = None,
) -> tuple[Any, Any, Any]:
    """Checked arrays (x (F, n, d), y (F, n, p), mask (F, n)) of functions.

    Parameters
    ----------
    x : array_like, shape (n,), (n, d) or (F, n, d)
        Points; without F they are the same for every function.
    y : array_like, shape (n,), (F, n) or (F, n, p), or None
        Values; NaN counts as missing.
    mask : array_like, shape (F, n), or None
        True where a value is known; all of the finite ones if it is not given.
    dimension, components : int or None
        What a model was made for.

    Raises
    ------
    InputError
        for shapes that do not go together, points that are not finite, or another
        dimension than the model's; InputTypeError for what is no array of numbers.
    """
    points = _points(x, dimension)
    if y is None:
        return points, None, None
    values = _values(y, points, components)
    points = np.broadcast_to(
        points if points.ndim == 3 else points[None], (len(values), *points.shape[-2:])
    )
    known = _known(values, mask)
    return points, np.where(known[..., None], values, 0.0), known


def _points(x: ArrayLike, dimension: int | None) -> NDArray[np.float64]:
    """Points (n, d) or (F, n, d)."""
    points = as_array("x", x)
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim not in (2, 3) or points.shape[-2] == 0:
        raise InputError(
            "x must be (points,), (points, d) or (functions, points, d) with a point at least, "
            f"not {points.shape}"
        )
    if not np.isfinite(points).all():
        raise InputError(
            "x holds values that are not finite; leave such points out, or mask them with mask= "
            "and any finite position"
        )
    if dimension is not None and points.shape[-1] != dimension:
        raise InputError(
            f"x has {points.shape[-1]} coordinates per point, the model was fitted with "
            f"{dimension}; give (points, {dimension})"
        )
    return points


def _values(
    y: ArrayLike, points: NDArray[np.float64], components: int | None
) -> NDArray[np.float64]:
    """Values (F, n, p) at points (n, d) or (F, n, d)."""
    n, shared = points.shape[-2], points.ndim == 2
    values = as_array("y", y)
    if values.ndim == 1:
        values = values[None, :, None]
    elif values.ndim == 2:  # (F, n), or (n, p) of one function
        first, last = values.shape
        single = shared and first == n != last and components in (None, last)
        values = values[None] if single else values[..., None]
    together = values.ndim == 3 and values.shape[1] == n
    if not together or not (shared or len(points) == len(values)):
        raise InputError(
            "y must be (functions, points) or (functions, points, components) for x of shape "
            f"{points.shape}, not {np.shape(y)}"
        )
    if components is not None and values.shape[-1] != components:
        raise InputError(
            f"y has {values.shape[-1]} components per point, the model was fitted with {components}"
        )
    return values


def _known(values: NDArray[np.float64], mask: ArrayLike | None) -> NDArray[np.bool_]:
    """(F, n) which of the values (F, n, p) are known."""
    known: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(-1))
    if mask is not None:
        given = np.asarray(mask)
        if given.dtype != bool or given.shape not in (known.shape, known.shape[1:]):
            raise InputError(
                f"mask must be bool of shape {known.shape}, True where a value is known, not "
                f"{given.dtype} {given.shape}"
            )
        if bool((given & ~known).any()):
            raise InputError(
                "y is NaN or infinite where mask says it is known; set mask to False there"
            )
        known = np.broadcast_to(given, known.shape) & known
    if not known.any(-1).all():
        raise InputError("a function has no known value at all; leave it out")
    return known


def as_array(name: str, value: Any) -> NDArray[np.float64]:
    """An array of numbers.

    Raises `InputTypeError`, with the argument's name, for what is none.
    """
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"{name} must be an array of numbers, not {type(value).__name__} ({error})"
        ) from error


def first_equal(x: NDArray[np.float64], tolerance: float) -> NDArray[np.intp]:
    """For each point of x (n, d) the first one that lies at the same place."""
    if not len(x):
        return np.zeros(0, dtype=np.intp)
    apart = np.abs(x[:, None] - x[None]).max(-1)
    return np.asarray((apart <= tolerance).argmax(1), dtype=np.intp)


def hurdat_tracks(
    folder: Path | str, points: int = 25
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(days (n,), unit vectors (storms, n, 3)) of the first `points` six-hourly
    positions of every gapless HURDAT2 track in folder.

    Only the synoptic hours 0, 6, 12 and 18 are taken. Raises `InputError` where AL.csv
    and EP.csv are not there.
    """
    tracks = []
    for name in ("AL.csv", "EP.csv"):
        path = Path(folder) / name
        if not path.is_file():
            raise InputError(
                f"the cyclone tracks need HURDAT2 as {path}; the folder is hurdat in the one that "
                "EQUIDRIFT_DATA names"
            )
        storms: dict[str, list[tuple[datetime, float, float]]] = {}
        with open(path, newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                when = datetime.fromisoformat(row["DateTime"])
                if (
                    row["Key"]
                    and row["Lat"]
                    and row["Lon"]
                    and when.hour % 6 == 0
                    and when.minute == 0
                ):
                    storms.setdefault(row["Key"], []).append(
                        (when, float(row["Lat"]), float(row["Lon"]))
                    )
        for track in storms.values():
            head = track[:points]
            if len(head) == points and all(
                (b[0] - a[0]).total_seconds() == 6 * 3600 for a, b in itertools.pairwise(head)
            ):
                tracks.append(
                    unit_vectors(np.array([p[1] for p in head]), np.array([p[2] for p in head]))
                )
    return 0.25 * np.arange(points, dtype=np.float64), np.stack(tracks)


def unit_vectors(
    latitude_deg: NDArray[np.float64], longitude_deg: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points of the globe (..., 3) of latitudes and longitudes (...)."""
    a, b = np.radians(latitude_deg), np.radians(longitude_deg)
    return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], -1)
