"""Rows `gfn2md17-MOLECULE/...` and `speed-aspirin/...` of `equidrift bench trajectories`:
GFN2-MD17, every method on the same windows of the last 20 % of each trajectory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_dynamics
from equidrift.bench.displacements import of_one
from equidrift.bench.rows import Row, mean_of_rows, means, row
from equidrift.bench.trajectories_calibration import DRAWS, calibration, energy_score
from equidrift.bench.trajectories_cost import CALL_BATCH, published_call
from equidrift.errors import MissingDependencyError
from equidrift.models.trajectories.data import windows
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.protocols import TrajectoryModel
from equidrift.records import Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.seeds import sample_seeds
from equidrift.weights import zoo

GIVEN, FRAMES = 10, 30  # frames given, and in all
STRIDE = 10  # of GFN2-MD17's frames
FEW = 5  # samples of the published method, which takes seconds for each
RESIDUAL = "residual-molecules"  # the weights of rows `residual`
MOLECULES = 8  # of GFN2-MD17
SHOTS = 3  # for the velocity at the last frame given
WINDOWS, WINDOWS_FULL = 4, 32  # of each molecule, the same for every method
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """A model by name, and how many samples it draws of a window."""

    model: str
    samples: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> TrajectoryModel:
        """The model."""
        return make_trajectory_model(self.model, **self.options)


def shipped(name: str) -> bool:
    """Whether the zoo has weights of that name."""
    return (zoo() / f"{name}.json").exists()


def thermostat(part: Dynamics) -> dict[str, float]:
    """The options of plain dynamics under the conditions of a run."""
    return {"temperature_K": part.temperature_K, "friction_per_fs": part.friction_per_fs}


def methods(part: Dynamics) -> dict[str, Method]:
    """What is measured, by the name of its row."""
    found = {"equidrift": Method("default", DRAWS)}
    found["equidrift-mean"] = Method("default", 1, {"noise": 0.0})
    if shipped(RESIDUAL):
        found["residual"] = Method(str(zoo() / f"{RESIDUAL}.json"), DRAWS)
    if shipped("geotdm"):
        found["geotdm"] = Method("geotdm", FEW)
    found["md"] = Method("md", DRAWS, thermostat(part))
    return found | {name: Method(name) for name in ("last-frame", "constant-velocity")}


def molecule_rows(name: str, dynamics: Dynamics, full: bool) -> list[Row]:
    """Forecasts of windows of the last 20 % of a trajectory, by every method."""
    part = dynamics.part(0.8, 1.0)
    count = WINDOWS_FULL if full else WINDOWS
    chosen = windows(part.positions_A[0], FRAMES, STRIDE, count)
    rows = [
        row(f"gfn2md17-{name}/{method}", means(window_values(how, part, chosen)), count)
        for method, how in methods(part).items()
    ]
    if full or name in ("ethanol", "uracil"):
        rows += limit_rows(name, part, chosen)
    return rows


def window_values(how: Method, part: Dynamics, chosen: Array) -> dict[str, list[float]]:
    """ADE, FDE and CRPS of each window (k, t, n, 3), means over samples; coverage, if
    there are samples enough; CPU seconds of a sample.
    """
    given = np.arange(FRAMES) < GIVEN
    times_fs = STRIDE * part.spacing_fs * np.arange(FRAMES, dtype=np.float64)
    model, out = how.make(), dict[str, list[float]]()
    for k, window in enumerate(chosen):
        asked = Trajectory(part.molecule, hidden(window, given), times_fs)
        seeds = sample_seeds(0, k * how.samples, (k + 1) * how.samples)
        begun = time.process_time()
        made = model.complete(asked, given, seeds)[:, ~given]
        spent = time.process_time() - begun
        values = of_one(made, window[~given]) | spread_values(part, made, window[~given])
        values["cpu_s_per_trajectory"] = spent / how.samples
        for key, value in values.items():
            out.setdefault(key, []).append(value)
    return out


def spread_values(part: Dynamics, made: Array, truth: Array) -> dict[str, float]:
    """CRPS, and the whole calibration if there are samples enough."""
    if len(made) == DRAWS:
        return calibration(part.molecule, made, truth)
    return {"CRPS": energy_score(made, truth)}


def hidden(window: Array, given: NDArray[np.bool_]) -> Array:
    """The window with the frames that are not given blotted out, so that no model can
    read them.
    """
    return np.where(given[:, None, None], window, np.nan)


def limit_rows(name: str, part: Dynamics, chosen: Array) -> list[Row]:
    """What GFN2-xTB itself makes of the last two frames: its dynamics from their
    difference as velocity (the thermostat's mean path).
    """
    errors: dict[str, list[float]] = {"ADE": [], "FDE": [], "CRPS": []}
    try:
        for window in chosen:
            made = restarted(part, window)[None]
            values = of_one(made, window[GIVEN:]) | spread_values(part, made, window[GIVEN:])
            for key, value in values.items():
                errors[key].append(value)
    except MissingDependencyError:
        return []
    return [row(f"gfn2md17-{name}/gfn2-restart", means(errors), len(chosen))]


def restarted(part: Dynamics, window: NDArray[np.float64]) -> NDArray[np.float64]:
    """The frames (t, n, 3) after the given ones by GFN2-xTB's dynamics.

    The velocity that leads from the last but one given frame to the last is found by
    shooting, as far as that goes at 5 fs; the dynamics goes on from there.
    """
    inner, spacing = STRIDE // 2, STRIDE * part.spacing_fs
    settings = {"step_fs": spacing / inner, "friction_per_fs": part.friction_per_fs}
    before, last = window[GIVEN - 2], window[GIVEN - 1]
    velocity = (last - before) / spacing
    for _ in range(SHOTS):
        path = gfn2_dynamics(part.molecule, before, velocity, steps=inner, **settings)
        velocity = velocity + 0.5 * (last - path[-1]) / spacing
    path = gfn2_dynamics(part.molecule, before, velocity, steps=inner, **settings)
    now = (path[-1] - path[-2]) / (spacing / inner)
    steps = inner * (FRAMES - GIVEN)
    made = gfn2_dynamics(part.molecule, last, now, steps=steps, **settings)
    return made[inner - 1 :: inner]


def mean_rows(rows: list[Row]) -> Iterator[Row]:
    """Means over the eight molecules; n is the number of windows of all."""
    found: dict[str, list[dict[str, float]]] = {}
    for one in rows:
        system, _, method = one["row"].partition("/")
        if system.startswith("gfn2md17-"):
            found.setdefault(method, []).append(one["values"])
    for method, values in found.items():
        if len(values) == MOLECULES:
            shared = [
                name
                for name in values[0]
                if name != "n" and not name.endswith("_se") and all(name in v for v in values)
            ]
            count = int(sum(v["n"] for v in values))
            yield row(f"gfn2md17-mean/{method}", mean_of_rows(values, shared), count)


def speed(dynamics: Dynamics, batch: int) -> list[Row]:
    """CPU seconds of 128 aspirin trajectories of 20 frames: ours and plain dynamics
    measured on `batch` of them, GeoTDM on one call of a few.
    """
    part = dynamics.part(0.8, 1.0)
    window = windows(part.positions_A[0], FRAMES, STRIDE, 1)[0]
    given = np.arange(FRAMES) < GIVEN
    times_fs = STRIDE * part.spacing_fs * np.arange(FRAMES, dtype=np.float64)
    asked, rows = Trajectory(part.molecule, hidden(window, given), times_fs), []
    spent: dict[str, float] = {}
    for name, how in (
        ("equidrift", Method("default")),
        ("md", Method("md", 1, thermostat(part))),
    ):
        model = how.make()
        model.complete(asked, given, sample_seeds(2, 0, 1))  # what only the first call pays
        begun = time.process_time()
        model.complete(asked, given, sample_seeds(2, 0, batch))
        spent[name] = (time.process_time() - begun) * 128 / batch
        rows.append(row(f"speed-aspirin/{name}", {"cpu_s_per_128": spent[name]}, batch))
    call = published_call(part.molecule, window)
    for steps in (100, 1000):
        values = {
            "cpu_s_per_128": call * steps,
            "over_equidrift": call * steps / spent["equidrift"],
        }
        rows.append(row(f"speed-aspirin/geotdm-{steps}", values, CALL_BATCH))
    return rows
