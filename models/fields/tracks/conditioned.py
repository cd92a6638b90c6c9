"""Tracks on the globe, given some of their places."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.models.fields.functions.data import PAIRS_PER_BATCH, as_array
from equidrift.models.fields.tracks.sphere import SphereNoising
from equidrift.models.shared.conditioning import Mode, conditional_sample
from equidrift.models.shared.draws import in_batches, normal_draws

if TYPE_CHECKING:
    from equidrift.models.fields.tracks.sampler import TrackModel


class TrackOptions(TypedDict, total=False):
    """Settings of the conditional sampler; `USUAL` are those of a track.

    steps : int
        Of the reverse process, one network call each.
    corrections, psi, tau, mode : int, float, float, str
        Of `conditioning.conditional_sample`.
    """

    steps: int
    corrections: int
    psi: float
    tau: float
    mode: Mode


USUAL: TrackOptions = {
    "steps": 60,
    "corrections": 4,
    "psi": 4.0,
    "tau": 1.0,
    "mode": "independent",
}


@dataclasses.dataclass(frozen=True)
class ConditionedTrack:
    """A `TrackModel` given places y (n, 3) at times t (n,)."""

    model: TrackModel
    t: NDArray[np.float64]
    y: NDArray[np.float64]

    def sample(
        self, times: ArrayLike, n: int = 1, seed: int = 0, **options: Unpack[TrackOptions]
    ) -> NDArray[np.float64]:
        """Tracks at the times asked for.

        A time of the context gives the context's place, and one that is repeated the same
        place.

        Parameters
        ----------
        times : array_like, shape (m,)
            In the unit of the training's times.
        n : int
            Number of tracks.
        seed : int
            Sample k depends on the seed and k alone.
        **options
            steps, corrections, psi, tau and mode; see `TrackOptions`.

        Returns
        -------
        ndarray, shape (n, m, 3)
            Unit vectors.

        Raises
        ------
        InputError
            for times farther apart than those of the training.
        """
        query, n = as_times(times), check_count("n", n)
        moments, where = np.unique(np.concatenate([self.t, query]), return_inverse=True)
        if np.ptp(moments) > 1.05 * self.model.span:
            asked = f"context and queries span {np.ptp(moments):.4g} days"
            raise InputError(
                f"{asked}, the model has seen {self.model.span:.4g}; ask for less at a time"
            )
        device = self.model.device
        context = torch.zeros(len(moments), 3, device=device)
        context[where[: len(self.t)]] = torch.tensor(self.y, dtype=torch.float32, device=device)
        free = torch.ones(len(moments), dtype=torch.bool, device=device)
        free[where[: len(self.t)]] = False
        settings: dict[str, Any] = {**USUAL, **options}
        if not len(self.t):  # there is no context to correct towards
            settings["corrections"] = 0

        def drawn(rows: slice) -> Tensor:
            known = context.repeat(rows.stop - rows.start, 1, 1)
            draw = normal_draws(tuple(known.shape), seed, known, first=rows.start)
            return complete(self.model, moments, known, free, draw, **settings)

        made = in_batches(drawn, n, len(moments) ** 2, PAIRS_PER_BATCH, device)
        return np.asarray(made[:, where[len(self.t) :]].double().cpu().numpy())


def complete(
    model: TrackModel,
    times: NDArray[np.float64],
    known: Tensor,
    free: Tensor,
    draw: Callable[[], Tensor],
    *,
    steps: int,
    **options: Any,
) -> Tensor:
    """Tracks (B, n, 3) at times (n,) whose free points (n,) are drawn given the others;
    options of `conditional_sample`.
    """
    x = torch.tensor(times, dtype=torch.float32, device=known.device)[None, :, None].expand(
        len(known), -1, -1
    )

    def score(y: Tensor, t: float) -> Tensor:
        return model.score(torch.full((len(y),), t, dtype=torch.float64, device=y.device), x, y)

    with torch.no_grad():
        noising = SphereNoising(model.schedule, model.prior, x[:1])
        return conditional_sample(
            noising, score, known, free, model.schedule.times(steps, 3e-3), draw, **options
        )


def as_times(times: ArrayLike) -> NDArray[np.float64]:
    """Times (n,). Raises `InputError` for another shape, or numbers that are not finite."""
    t = as_array("times", times)
    if t.ndim != 1 or not np.isfinite(t).all():
        raise InputError(f"times must be finite and of shape (n,), not of shape {t.shape}")
    return t


def as_tracks(tracks: ArrayLike, n: int) -> NDArray[np.float64]:
    """Tracks (F, n, 3) of unit vectors. Raises `InputError` for others."""
    y = as_array("tracks", tracks)
    if y.ndim != 3 or y.shape[1:] != (n, 3):
        raise InputError(
            f"tracks must be unit vectors (tracks, {n}, 3) for {n} times, not of shape {y.shape}; "
            "see data.unit_vectors"
        )
    length = np.linalg.norm(y, axis=-1)
    if not bool((np.abs(length - 1) < 1e-3).all()):
        found = f"{length.min():.3g} to {length.max():.3g}"
        raise InputError(
            f"tracks must be unit vectors, not of length {found}; data.unit_vectors makes them of "
            "degrees"
        )
    out: NDArray[np.float64] = y / length[..., None]
    return out
