"""Cyclone tracks: the shipped `TrackModel` beside a stereographic GP on the same
held-out storms of HURDAT2 (the paper has IBTrACS).

A track is 25 places, six hours apart. Interpolation: every third place is known;
extrapolation: the first nine (two days). The error is the great-circle distance of the
mean prediction; log-likelihoods are per place, in nats per steradian.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import Row, means, row
from equidrift.errors import UnknownNameError
from equidrift.models.fields.functions.data import hurdat_tracks
from equidrift.models.fields.functions.kernels import Kernel, fit_kernel
from equidrift.models.fields.tracks.conditioned import complete
from equidrift.models.fields.tracks.prior import time_kernel
from equidrift.models.fields.tracks.sampler import TrackModel, distance_km

Array = NDArray[np.float64]
POINTS, SAMPLES, QUICK = 25, 16, 30
TASKS = {
    "interpolation": slice(0, POINTS, 3),
    "extrapolation": slice(0, 9),
}  # the places that are known


def split(folder: Path | str) -> tuple[Array, Array, Array]:
    """(days (25,), training tracks, test tracks (a tenth)): the split that the shipped
    weights were trained with.
    """
    days, tracks = hurdat_tracks(folder, POINTS)
    order = np.random.default_rng(0).permutation(len(tracks))
    count = len(tracks) // 10
    return days, tracks[order[count:]], tracks[order[:count]]


def cyclone_rows(folder: Path | str, full: bool, say: Progress = silent) -> list[Row]:
    """Rows of both tasks; `full` takes all held-out storms."""
    days, train, test = split(folder)
    test = test if full else test[:QUICK]
    methods: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {}
    try:
        model = TrackModel.load("field-cyclones")
        methods[""] = (
            lambda known: predict(model, days, test, known),
            lambda kept: model.log_prob(days[kept], test[:, kept]),
        )
    except UnknownNameError:
        say("field-cyclones is not shipped")
    plane = StereographicGP(days, train)
    methods["-stereographic-gp"] = (
        lambda known: plane.predict(test, known),
        lambda kept: plane.log_prob(test, kept),
    )
    rows = []
    for suffix, (place, density) in methods.items():
        say(f"cyclones{suffix}")
        joint = density(np.arange(POINTS))
        for task, part in TASKS.items():
            known = np.arange(POINTS)[part]
            asked = np.setdiff1d(np.arange(POINTS), known)
            error = distance_km(place(known)[:, asked], test[:, asked])
            loglik = (joint - density(known)) / len(asked)
            values = means({"error_km": error.mean(1), "last_km": error[:, -1], "loglik": loglik})
            values |= {
                "error_km_median": float(np.median(error)),
                "error": 1.96 * values["loglik_se"],
            }
            rows.append(row(f"cyclones/{task}{suffix}", values, len(test)))
    return rows


def predict(
    model: TrackModel,
    days: Array,
    tracks: Array,
    known: NDArray[np.intp],
    samples: int = SAMPLES,
    steps: int = 40,
) -> Array:
    """Mean directions (F, n, 3) of samples that keep the known places of all tracks at
    once.
    """
    generator = torch.Generator().manual_seed(0)
    free = torch.ones(len(days), dtype=torch.bool)
    free[known] = False
    places = torch.tensor(np.repeat(tracks, samples, 0), dtype=torch.float32)
    options: dict[str, Any] = {"corrections": 2, "psi": 2.0, "tau": 1.0}
    made = complete(
        model,
        days,
        places,
        free,
        lambda: torch.randn(places.shape, generator=generator),
        steps=steps,
        **options,
    )
    mean = made.double().numpy().reshape(len(tracks), samples, *tracks.shape[1:]).mean(1)
    return np.asarray(mean / np.linalg.norm(mean, axis=-1, keepdims=True))


class StereographicGP:
    """A GP in time for the two coordinates of the tracks' stereographic projection
    about their mean direction.
    """

    def __init__(self, days: Array, train: Array):
        mean = train.reshape(-1, 3).mean(0)
        pole = mean / np.linalg.norm(mean)
        east = np.cross([0.0, 0.0, 1.0], pole)
        east /= np.linalg.norm(east)
        self.frame = np.stack([east, np.cross(pole, east), pole])
        plane = self.project(train)[0].reshape(-1, 2)
        self.centre, self.scale = plane.mean(0), plane.std(0)
        self.t = torch.tensor(days)[None, :, None]
        g = (
            torch.tensor((self.project(train)[0] - self.centre) / self.scale)
            .permute(0, 2, 1)
            .reshape(-1, len(days), 1)
        )
        self.kernel: Kernel = time_kernel(float(np.ptp(days)))
        fit_kernel(self.kernel, self.t.expand(len(g), -1, -1), g, noise_floor=1e-7)

    def project(self, tracks: Array) -> tuple[Array, Array]:
        """(plane coordinates (..., 2), log of the sphere's area for one of the plane's
        (...)).
        """
        a, b, c = np.moveaxis(tracks @ self.frame.T, -1, 0)
        plane = np.stack([a, b], -1) / (1 + c)[..., None]
        return plane, 2 * np.log(2 / (1 + (plane**2).sum(-1)))

    def predict(self, tracks: Array, known: NDArray[np.intp]) -> Array:
        """Tracks (F, n, 3) of the posterior mean."""
        matrix = self._gram(np.arange(len(self.t[0])))
        weights = torch.linalg.solve(matrix[known][:, known], matrix[known]).T.numpy()
        plane = (
            np.einsum("nk,fkc->fnc", weights, (self.project(tracks)[0] - self.centre)[:, known])
            + self.centre
        )
        square = (plane**2).sum(-1, keepdims=True)
        return np.asarray(np.concatenate([2 * plane, 1 - square], -1) / (1 + square) @ self.frame)

    def log_prob(self, tracks: Array, kept: NDArray[np.intp]) -> Array:
        """Log densities (F,) of the kept places."""
        plane, area = self.project(tracks[:, kept])
        g = (
            torch.tensor((plane - self.centre) / self.scale)
            .permute(0, 2, 1)
            .reshape(-1, len(kept), 1)
        )
        logs = self.kernel.gram(self.t[:, kept]).log_prob(g).reshape(len(tracks), 2).sum(1).numpy()
        return np.asarray(logs - area.sum(1) - len(kept) * np.log(self.scale).sum())

    def _gram(self, kept: NDArray[np.intp]) -> Tensor:
        return self.kernel.gram(self.t[:, kept]).dense[0]
