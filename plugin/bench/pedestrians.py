"""Forecasts of ETH-UCY pedestrians, each scene by the model that was trained on the
others.

`equidrift` gives 20 alternatives, learned by winner takes all, which is the measure
itself; `density` draws samples of a diffusion, whose negative log-likelihood (of the
position in each frame, by kernel density estimates of 100 samples) is told, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.bench.displacements import best_of
from equidrift.bench.rows import Row, mean_of_rows, means, row
from equidrift.bench.trajectories_calibration import negative_log_density
from equidrift.geometry import Floats
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.arrays.pedestrians import (
    FRAMES,
    PAST,
    SCENES,
    features,
    read_tracks,
    scene_windows,
)
from equidrift.models.trajectories.diffusion.residual import CALLS
from equidrift.seeds import sample_seeds
from equidrift.weights import zoo

DENSITY = "pedestrians-density"  # how the weights of diffusions are called, less the scene
BEST, DRAWS = 20, 100  # samples of which the best counts, and of a density


def pedestrian_rows(folder: Path, limit: int | None) -> list[Row]:
    """Best of 20 on each scene, by the model that was trained on the others: its 20
    alternatives are the 20.
    """
    rows: list[Row] = []
    for scene, files in SCENES.items():
        parts = [scene_windows(read_tracks(folder / f"{n}.txt")) for n in files]
        x, real = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        if limit is not None and limit < len(x):
            pick = np.linspace(0, len(x) - 1, limit).astype(int)
            x, real = x[pick], real[pick]
        truth, last = x[:, PAST:, 0], x[:, PAST - 1 : PAST, 0]
        made = GeometricTrajectoryModel(f"pedestrians-{scene}").alternatives(
            x[:, :PAST], *features(len(x)), mask=real
        )[0][:, :, :, 0]
        steady = last + np.arange(1, FRAMES - PAST + 1)[None, :, None] * (
            last - x[:, PAST - 2 : PAST - 1, 0]
        )
        for method, samples in (
            ("equidrift", made.swapaxes(0, 1)),
            ("constant-velocity", steady[None]),
            ("last-frame", np.repeat(last, FRAMES - PAST, 1)[None]),
        ):
            values = means(best_of(samples, truth))
            values |= {"samples": len(samples), "calls": int(method == "equidrift")}
            rows.append(row(f"eth-ucy-{scene}/{method}", values, len(x)))
        if (zoo() / f"{DENSITY}-{scene}.json").exists():
            values = density_values(f"{DENSITY}-{scene}", x, real)
            rows.append(row(f"eth-ucy-{scene}/density", values, len(x)))
    for method in ("equidrift", "density", "constant-velocity", "last-frame"):
        each = [one["values"] for one in rows if one["row"].endswith(f"/{method}")]
        if not each:
            continue
        names = ("ADE", "FDE", "NLL") if method == "density" else ("ADE", "FDE")
        count = sum(values["n"] for values in each)
        rows.append(row(f"eth-ucy/{method}", mean_of_rows(each, names), count))
    return rows


def density_values(name: str, x: Floats, real: NDArray[np.bool_]) -> dict[str, float]:
    """Best of 20 samples, and the negative log-likelihood in nats of a position, of a
    diffusion of windows x (k, t, n, 2) with the people `real` (k, n).
    """
    model, given = GeometricTrajectoryModel(name), np.arange(FRAMES) < PAST
    drawn = []
    for k in range(DRAWS):
        seeds = sample_seeds(0, k * len(x), (k + 1) * len(x))
        whole = model.complete_many(x, *features(len(x)), given, seeds, mask=real)
        drawn.append(whole[:, PAST:, 0])
    made, truth = np.stack(drawn), x[:, PAST:, 0]
    columns = best_of(made[:BEST], truth) | {"NLL": negative_log_density(made, truth).mean(-1)}
    return means(columns) | {"samples": BEST, "calls": CALLS}
