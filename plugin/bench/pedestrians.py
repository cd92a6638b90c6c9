"""Forecasts of ETH-UCY pedestrians, each scene by the model that was trained on the
others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equidrift.bench.displacements import best_of
from equidrift.bench.rows import Row, mean_of_rows, means, row
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.arrays.pedestrians import (
    FRAMES,
    PAST,
    SCENES,
    features,
    read_tracks,
    scene_windows,
)


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
    for method in ("equidrift", "constant-velocity", "last-frame"):
        each = [one["values"] for one in rows if one["row"].endswith(f"/{method}")]
        mean = mean_of_rows(each, ("ADE", "FDE"))
        rows.append(row(f"eth-ucy/{method}", mean, sum(values["n"] for values in each)))
    return rows
