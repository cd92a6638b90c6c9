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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_dynamics
from equidrift.bench import trajectories_molecules as molecules
from equidrift.bench import unconditional
from equidrift.bench.machine import commit, machine
from equidrift.bench.pedestrians import pedestrian_rows
from equidrift.bench.trajectories_cost import published_call
from equidrift.bench.trajectories_cost import rows as cost_rows
from equidrift.errors import MissingDependencyError
from equidrift.models.trajectories.arrays import metrics, nbody
from equidrift.models.trajectories.arrays.arrays import CALLS_TO_START, GeometricTrajectoryModel
from equidrift.models.trajectories.arrays.egnn import EGNN, EGNNConfig
from equidrift.models.trajectories.data import Dynamics, load_gfn2_md, windows
from equidrift.models.trajectories.integrator.integrator import Integrator
from equidrift.records import Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.seeds import sample_seeds
from equidrift.weights import zoo

GIVEN, FRAMES, STRIDE, SAMPLES = 10, 30, 10, 5
# ADE and FDE of arXiv:2410.13027, tables 1, 2 and 3. MD17's own rows carry its name, ours never do.
PUBLISHED = {
    "charged": {"geotdm": (0.110, 0.258), "egnn": (0.186, 0.426)},
    "spring": {"geotdm": (0.0030, 0.0079), "egnn": (0.0101, 0.0231)},
    "gravity": {"geotdm": (0.256, 0.613), "egnn": (0.310, 0.709)},
    "eth-ucy": {"geotdm": (0.23, 0.40), "linear": (0.53, 1.14)},
    "eth-ucy-eth": {"geotdm": (0.46, 0.64)},
    "eth-ucy-hotel": {"geotdm": (0.13, 0.21)},
    "eth-ucy-univ": {"geotdm": (0.24, 0.45)},
    "eth-ucy-zara1": {"geotdm": (0.21, 0.39)},
    "eth-ucy-zara2": {"geotdm": (0.16, 0.30)},
    "md17-aspirin": {"geotdm": (0.107, 0.193), "egnn": (0.267, 0.564)},
    "md17-benzene": {"geotdm": (0.023, 0.039), "egnn": (0.024, 0.042)},
    "md17-ethanol": {"geotdm": (0.115, 0.209), "egnn": (0.268, 0.401)},
    "md17-malonaldehyde": {"geotdm": (0.107, 0.176), "egnn": (0.393, 0.958)},
    "md17-naphthalene": {"geotdm": (0.064, 0.087), "egnn": (0.095, 0.133)},
    "md17-salicylic": {"geotdm": (0.083, 0.120), "egnn": (0.159, 0.348)},
    "md17-toluene": {"geotdm": (0.083, 0.121), "egnn": (0.207, 0.294)},
    "md17-uracil": {"geotdm": (0.074, 0.099), "egnn": (0.154, 0.282)},
}

PUBLISHED_UNCONDITIONAL = {
    "charged": (0.0055, 0.556, 0.00978),
    "md17-ethanol": (0.314, 0.463, 0.0235),
}  # tables 4 and 5

Progress = Callable[[object], None]
Row = dict[str, Any]


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : every test trajectory, more windows per molecule, the GFN2-xTB limit of every
        molecule; else a few of each, in under ten minutes.
    progress : called with a line of text before every part.
    """
    say = progress or (lambda message: None)
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
    for system, methods in PUBLISHED.items():
        rows += [
            {"row": f"{system}/{name}-published", "values": {"ADE": a, "FDE": f}}
            for name, (a, f) in methods.items()
        ]
    for system, (marginal, classification, prediction) in PUBLISHED_UNCONDITIONAL.items():
        values = {"marginal": marginal, "classification": classification, "prediction": prediction}
        rows.append({"row": f"{system}-unconditional/geotdm-published", "values": values})
    return {"name": "trajectories", "machine": machine(), "commit": commit(), "rows": rows}


def shipped(name: str) -> bool:
    return (zoo() / f"{name}.json").exists()


def nbody_rows(system: str, limit: int) -> list[Row]:
    """Ours, GeoTDM and the baselines on the first `limit` test trajectories of a
    system.
    """
    data = nbody.part(system, "test", limit)
    truth, given = data.positions[:, GIVEN:], np.arange(FRAMES) < GIVEN
    rows = []
    for row, name in (
        ("equidrift", f"nbody-{system}"),
        ("geotdm", f"geotdm-{system}"),
        ("egnn", f"egnn-{system}"),
    ):
        if not shipped(name):
            continue
        model = GeometricTrajectoryModel(name, noise=float(row != "egnn"))  # EGNN is deterministic
        begun, made = time.process_time(), []
        for k in range(1 if row == "egnn" else SAMPLES):
            seeds = sample_seeds(0, k * len(data), (k + 1) * len(data))
            made.append(
                model.complete_many(data.positions, data.nodes, data.edges, given, seeds)[:, GIVEN:]
            )
        ade, fde = metrics.displacement(np.stack(made), truth)
        values = {"ADE": ade, "FDE": fde, "samples": len(made), "trajectories": len(data)}
        values |= {
            "ms_per_sample": 1000 * (time.process_time() - begun) / (len(made) * len(data))
        } | calls(model)
        values["ADE_median"] = float(
            np.median(np.linalg.norm(np.stack(made) - truth, axis=-1).mean((0, 2, 3)))
        )
        rows.append({"row": f"{system}/{row}", "values": values})
    last, before = data.positions[:, GIVEN - 1 : GIVEN], data.positions[:, GIVEN - 2 : GIVEN - 1]
    ahead = np.arange(1, FRAMES - GIVEN + 1)[None, :, None, None]
    for row, made_here in (
        ("last-frame", np.repeat(last, len(ahead[0]), 1)),
        ("constant-velocity", last + ahead * (last - before)),
    ):
        ade, fde = metrics.displacement(made_here, truth)
        rows.append(
            {
                "row": f"{system}/{row}",
                "values": {"ADE": ade, "FDE": fde, "trajectories": len(data)},
            }
        )
    return rows


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
    spacing = STRIDE * dynamics.spacing_fs
    given, times = np.arange(FRAMES) < GIVEN, spacing * np.arange(FRAMES, dtype=np.float64)
    counts = {
        "equidrift": 32 if full else 4,
        "geotdm": 4 if full else 1,
        "last-frame": 256,
        "constant-velocity": 256,
    }
    models = {
        "equidrift": "default",
        "geotdm": "geotdm",
        "last-frame": "last-frame",
        "constant-velocity": "constant-velocity",
    }
    rows = []
    for row, model_name in models.items():
        if row == "geotdm" and not shipped("geotdm"):
            continue
        model = make_trajectory_model(model_name)
        chosen = windows(part.positions_A[0], FRAMES, STRIDE, counts[row])
        begun, ades, fdes = time.process_time(), [], []
        for k, window in enumerate(chosen):
            seeds = sample_seeds(
                0,
                k * SAMPLES,
                (k + 1) * SAMPLES if row in ("equidrift", "geotdm") else k * SAMPLES + 1,
            )
            made = model.complete(
                Trajectory(part.molecule, hidden(window, given), times), given, seeds
            )
            ade, fde = metrics.displacement(made[:, ~given], window[~given])
            ades.append(ade)
            fdes.append(fde)
        seconds = time.process_time() - begun
        values = {
            "ADE": float(np.mean(ades)),
            "FDE": float(np.mean(fdes)),
            "windows": len(chosen),
            "cpu_s_per_window": seconds / len(chosen),
        }
        if row == "equidrift":
            mean = make_trajectory_model("default", noise=0.0)
            one = [
                mean.complete(
                    Trajectory(part.molecule, hidden(w, given), times), given, sample_seeds(0, 0, 1)
                )
                for w in chosen
            ]
            errors = [
                metrics.displacement(made[:, ~given], w[~given]) for made, w in zip(one, chosen)
            ]
            values |= {
                "ADE_mean_path": float(np.mean([e[0] for e in errors])),
                "FDE_mean_path": float(np.mean([e[1] for e in errors])),
            }
        rows.append({"row": f"gfn2md17-{name}/{row}", "values": values})
    if full or name in ("ethanol", "uracil"):
        rows += limit_rows(name, part, 6 if full else 2)
    return rows


def hidden(window: NDArray[np.float64], given: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The window with the frames that are not given blotted out, so that no model can
    read them.
    """
    return np.where(given[:, None, None], window, np.nan)


def limit_rows(name: str, part: Dynamics, count: int) -> list[Row]:
    """What GFN2-xTB itself makes of the last two frames: its dynamics from their
    difference as velocity (the thermostat's mean path).
    """
    try:
        dynamics = gfn2_dynamics
        ades, fdes = [], []
        inner = STRIDE // 2
        for window in windows(part.positions_A[0], FRAMES, STRIDE, count):
            spacing = STRIDE * part.spacing_fs
            velocity = (window[GIVEN - 1] - window[GIVEN - 2]) / spacing
            settings = {"step_fs": spacing / inner, "friction_per_fs": part.friction_per_fs}
            for _ in range(
                3
            ):  # shooting, as far as it goes at 5 fs: the velocity that leads from the one to the other
                path = dynamics(part.molecule, window[GIVEN - 2], velocity, steps=inner, **settings)
                velocity = velocity + 0.5 * (window[GIVEN - 1] - path[-1]) / spacing
            path = dynamics(part.molecule, window[GIVEN - 2], velocity, steps=inner, **settings)
            now = (path[-1] - path[-2]) / (spacing / inner)
            made = dynamics(
                part.molecule, window[GIVEN - 1], now, steps=inner * (FRAMES - GIVEN), **settings
            )[inner - 1 :: inner]
            ade, fde = metrics.displacement(made, window[GIVEN:])
            ades.append(ade)
            fdes.append(fde)
    except MissingDependencyError:
        return []
    return [
        {
            "row": f"gfn2md17-{name}/gfn2-restart",
            "values": {"ADE": float(np.mean(ades)), "FDE": float(np.mean(fdes)), "windows": count},
        }
    ]


def mean_rows(rows: list[Row]) -> Iterator[Row]:
    """Means over the eight molecules."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        system, _, method = row["row"].partition("/")
        if system.startswith("gfn2md17-"):
            found.setdefault(method, []).append(row["values"])
    return (
        {
            "row": f"gfn2md17-mean/{method}",
            "values": {key: float(np.mean([v[key] for v in values])) for key in ("ADE", "FDE")},
        }
        for method, values in found.items()
        if len(values) == 8
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
    rows = [{"row": "speed-aspirin/equidrift", "values": {"cpu_s_per_128": ours}}]
    for steps in (100, 1000):
        values = {"cpu_s_per_128": call * steps, "over_equidrift": call * steps / ours}
        rows.append({"row": f"speed-aspirin/geotdm-{steps}", "values": values})
    return rows
