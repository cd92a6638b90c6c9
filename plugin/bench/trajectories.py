"""`equidrift bench trajectories`: forecasts of N-body systems, pedestrians and
GFN2-MD17, physics, speed (arXiv:2410.13027).

N-body: 10 -> 20 frames, mean of 5 samples, 2000 test trajectories simulated anew (the
quick form: 128). GFN2-MD17 (a stand-in, never MD17): every 10th frame of the last 20 %
of each trajectory, windows of 30, 10 -> 20, mean of 5. Rows of a model whose weights
are not shipped are left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_dynamics
from equidrift.bench import trajectories_molecules as molecules
from equidrift.bench import unconditional
from equidrift.bench.displacements import displacements, of_one
from equidrift.bench.machine import Progress, silent
from equidrift.bench.pedestrians import pedestrian_rows
from equidrift.bench.rows import Row, mean_of_rows, means, medians, row, table
from equidrift.bench.trajectories_cost import CALL_BATCH, published_call
from equidrift.bench.trajectories_cost import rows as cost_rows
from equidrift.bench.trajectories_published import paper_rows
from equidrift.errors import MissingDependencyError
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.arrays.carry import CALLS_TO_START
from equidrift.models.trajectories.arrays.egnn import EGNN, EGNNConfig
from equidrift.models.trajectories.data import windows
from equidrift.models.trajectories.dynamics import Dynamics, load_gfn2_md
from equidrift.models.trajectories.integrator.integrator import Integrator
from equidrift.protocols import TrajectoryModel
from equidrift.records import Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.seeds import sample_seeds
from equidrift.weights import zoo

GIVEN, FRAMES = 10, 30  # frames given, and in all
STRIDE = 10  # of GFN2-MD17's frames
SAMPLES = 5  # of a forecast
MOLECULES = 8  # of GFN2-MD17
SHOTS = 3  # for the velocity at the last frame given


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : bool, optional
        Every test trajectory, more windows per molecule, the GFN2-xTB limit of every
        molecule; else a few of each, in under ten minutes.
    progress : callable, optional
        Called with a line of text before every part.
    """
    say = progress or silent
    rows: list[Row] = []
    for system in nbody.SYSTEMS:
        say(f"N-body: {system}")
        rows += nbody_rows(system, 2000 if full else 128)
    if shipped("geotdm-charged-unconditional"):
        say("unconditional: charged particles")
        rows += unconditional.charged_rows(128 if full else 48, 30 if full else 8)
    folder = os.environ.get("EQUIDRIFT_DATA")
    if folder and (Path(folder) / "eth_ucy").is_dir() and shipped("pedestrians-eth"):
        say("ETH-UCY")
        rows += pedestrian_rows(Path(folder) / "eth_ucy", None if full else 64)
    if folder and (Path(folder) / "gfn2_md").is_dir() and shipped("trajectory"):
        data = load_gfn2_md(Path(folder) / "gfn2_md")
        for name, dynamics in data.items():
            say(f"GFN2-MD17: {name}")
            rows += molecule_rows(name, dynamics, full)
        rows += mean_rows(rows)
        if full and shipped("geotdm-ethanol-unconditional"):
            say("unconditional: ethanol")
            rows += unconditional.molecule_rows(data["ethanol"], "ethanol", 96, 30)
        say("cost against frames and atoms")
        rows += cost_rows(data, 16 if full else 4)
        rows += molecules.rows(Path(folder), data, full, say)
        say("speed")
        rows += speed(data["aspirin"], 128 if full else 16)
    return table("trajectories", [*rows, *paper_rows()])


def shipped(name: str) -> bool:
    """Whether the zoo has weights of that name."""
    return (zoo() / f"{name}.json").exists()


def nbody_rows(system: str, limit: int) -> list[Row]:
    """Ours, GeoTDM and the baselines on the first `limit` test trajectories of a
    system.
    """
    data = nbody.part(system, "test", limit)
    truth = data.positions[:, GIVEN:]
    rows = []
    for method, name in (
        ("equidrift", f"nbody-{system}"),
        ("geotdm", f"geotdm-{system}"),
        ("egnn", f"egnn-{system}"),
    ):
        if shipped(name):
            values = nbody_values(name, data, 1 if method == "egnn" else SAMPLES)
            rows.append(row(f"{system}/{method}", values, len(data)))
    last, before = data.positions[:, GIVEN - 1 : GIVEN], data.positions[:, GIVEN - 2 : GIVEN - 1]
    ahead = np.arange(1, FRAMES - GIVEN + 1)[None, :, None, None]
    for method, made in (
        ("last-frame", np.repeat(last, FRAMES - GIVEN, 1)),
        ("constant-velocity", last + ahead * (last - before)),
    ):
        values = means(displacements(made, truth))
        rows.append(row(f"{system}/{method}", values, len(data)))
    return rows


def nbody_values(name: str, data: nbody.NBody, samples: int) -> dict[str, float]:
    """The figures of a shipped model; one sample is the deterministic path."""
    given = np.arange(FRAMES) < GIVEN
    model = GeometricTrajectoryModel(name, noise=float(samples > 1))
    begun, made = time.process_time(), []
    for k in range(samples):
        seeds = sample_seeds(0, k * len(data), (k + 1) * len(data))
        made.append(
            model.complete_many(data.positions, data.nodes, data.edges, given, seeds)[:, GIVEN:]
        )
    spent = time.process_time() - begun
    errors = displacements(np.stack(made), data.positions[:, GIVEN:])
    values = means(errors) | medians({"ADE_median": errors["ADE"]}) | calls(model)
    timing = {"ms_per_sample": 1000 * spent / (samples * len(data))}
    return values | timing | {"samples": samples, "trajectories": len(data)}


def calls(model: GeometricTrajectoryModel) -> dict[str, float]:
    """Network calls of a sample, and the layers of each.

    GeoTDM: a call of the denoiser is a spatial and a temporal part in each of its
    layers. EGNN: a call is a frame. The integrator: a layer is one evaluation of the
    pair force and the kick and drift after it; a call is two frames of them, or one
    where it looks for the velocities. `force_evaluations` counts all of them.
    """
    if isinstance(model.network, Integrator):
        layers, frames = model.network.clock(float(model.training["spacing"])).count, FRAMES - GIVEN
        return {
            "calls": CALLS_TO_START + frames / 2,
            "layers_per_call": 2 * layers,
            "force_evaluations": layers * (CALLS_TO_START + frames),
        }
    config = model.card["config"]
    if isinstance(model.network, EGNN):
        return {
            "calls": FRAMES - GIVEN,
            "layers_per_call": config["layers"] if "layers" in config else EGNNConfig().layers,
        }
    return {"calls": config.get("steps", 1000), "layers_per_call": 2 * config["network"]["layers"]}


def molecule_rows(name: str, dynamics: Dynamics, full: bool) -> list[Row]:
    """Forecasts of windows of the last 20 % of a trajectory."""
    part = dynamics.part(0.8, 1.0)
    counts = {
        "equidrift": 32 if full else 4,
        "geotdm": 4 if full else 1,
        "last-frame": 256,
        "constant-velocity": 256,
    }
    rows = []
    for method, count in counts.items():
        if method == "geotdm" and not shipped("geotdm"):
            continue
        model = make_trajectory_model("default" if method == "equidrift" else method)
        samples = SAMPLES if method in ("equidrift", "geotdm") else 1
        begun = time.process_time()
        errors = window_errors(model, part, count, samples)
        spent = time.process_time() - begun
        values = means(errors) | {"cpu_s_per_window": spent / len(errors["ADE"])}
        if method == "equidrift":
            steady = window_errors(make_trajectory_model("default", noise=0.0), part, count, 1)
            values |= means({f"{key}_mean_path": column for key, column in steady.items()})
        rows.append(row(f"gfn2md17-{name}/{method}", values, len(errors["ADE"])))
    if full or name in ("ethanol", "uracil"):
        rows += limit_rows(name, part, 6 if full else 2)
    return rows


def window_errors(
    model: TrajectoryModel, part: Dynamics, count: int, samples: int
) -> dict[str, list[float]]:
    """ADE and FDE of each of `count` windows, means over samples."""
    given = np.arange(FRAMES) < GIVEN
    times_fs = STRIDE * part.spacing_fs * np.arange(FRAMES, dtype=np.float64)
    out: dict[str, list[float]] = {"ADE": [], "FDE": []}
    for k, window in enumerate(windows(part.positions_A[0], FRAMES, STRIDE, count)):
        start = k * SAMPLES
        made = model.complete(
            Trajectory(part.molecule, hidden(window, given), times_fs),
            given,
            sample_seeds(0, start, start + samples),
        )
        for key, value in of_one(made[:, ~given], window[~given]).items():
            out[key].append(value)
    return out


def hidden(window: NDArray[np.float64], given: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The window with the frames that are not given blotted out, so that no model can
    read them.
    """
    return np.where(given[:, None, None], window, np.nan)


def limit_rows(name: str, part: Dynamics, count: int) -> list[Row]:
    """What GFN2-xTB itself makes of the last two frames: its dynamics from their
    difference as velocity (the thermostat's mean path).
    """
    errors: dict[str, list[float]] = {"ADE": [], "FDE": []}
    try:
        for window in windows(part.positions_A[0], FRAMES, STRIDE, count):
            made = restarted(part, window)
            for key, value in of_one(made[None], window[GIVEN:]).items():
                errors[key].append(value)
    except MissingDependencyError:
        return []
    return [row(f"gfn2md17-{name}/gfn2-restart", means(errors), count)]


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
    return (
        row(
            f"gfn2md17-mean/{method}",
            mean_of_rows(values, ("ADE", "FDE")),
            int(sum(v["n"] for v in values)),
        )
        for method, values in found.items()
        if len(values) == MOLECULES
    )


def speed(dynamics: Dynamics, batch: int) -> list[Row]:
    """CPU seconds of 128 aspirin trajectories of 20 frames: ours measured on `batch` of
    them, GeoTDM on one call of a few.
    """
    part = dynamics.part(0.8, 1.0)
    window = windows(part.positions_A[0], FRAMES, STRIDE, 1)[0]
    given = np.arange(FRAMES) < GIVEN
    t = Trajectory(
        part.molecule,
        hidden(window, given),
        STRIDE * part.spacing_fs * np.arange(FRAMES, dtype=np.float64),
    )
    model = make_trajectory_model("default")
    model.complete(t, given, sample_seeds(2, 0, 1))
    begun = time.process_time()
    model.complete(t, given, sample_seeds(2, 0, batch))
    ours = (time.process_time() - begun) * 128 / batch
    call = published_call(part.molecule, window)
    rows = [row("speed-aspirin/equidrift", {"cpu_s_per_128": ours}, batch)]
    for steps in (100, 1000):
        values = {"cpu_s_per_128": call * steps, "over_equidrift": call * steps / ours}
        rows.append(row(f"speed-aspirin/geotdm-{steps}", values, CALL_BATCH))
    return rows
