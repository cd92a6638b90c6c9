"""The molecular rows of `equidrift bench trajectories` beyond GFN2-MD17: held-out
molecules, spacings, gaps, refinement, long chains.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.openmm.simulation import Langevin
from equidrift.bench.displacements import of_one
from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, means, row
from equidrift.bench.trajectories_calibration import energy_score
from equidrift.bench.trajectories_chains import bond_error, broken_percent, chain_rows, positions_of
from equidrift.bench.trajectories_gfn2 import thermostat
from equidrift.bench.trajectories_heldout import (
    SETTINGS,
    STEP_FS,
    TEMPERATURE_K,
    WARM_STEPS,
    heldout_rows,
    heldout_smiles,
)
from equidrift.errors import InputError
from equidrift.mmff import mmff_system
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.protocols import RefiningTrajectoryModel
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_model, make_trajectory_model
from equidrift.seeds import sample_seeds

STRIDE = 10  # of GFN2-MD17's frames
SAMPLES = 5  # of a forecast
STARTS = 4  # of forecasts along one run, for each spacing


def rows(folder: Path, data: dict[str, Dynamics], full: bool, say: Progress) -> list[Row]:
    """All rows of this file; `folder` is EQUIDRIFT_DATA."""
    some = ("aspirin", "ethanol", "uracil", "naphthalene")
    say("ten chained windows")
    made = chain_rows(data, list(data) if full else some, 8 if full else 2)
    say("interpolation and refinement")
    made += interpolation_rows(data, list(data) if full else some, 8 if full else 4)
    made += refinement_rows(data, some, 8 if full else 4)
    say("spacings")
    made += spacing_rows(folder, (5.0, 100.0, 1000.0, 10000.0) if full else (5.0, 100.0, 1000.0))
    return made + heldout_rows(folder, say=say)


def spacing_rows(folder: Path, spacings_fs: Sequence[float] = (5.0, 100.0, 1000.0)) -> list[Row]:
    """Two frames given and three ahead at several spacings, `STARTS` times of one run of
    the first held-out QM9 molecule; 10 ps is left to the long form.
    """
    smiles = heldout_smiles(folder).get("qm9")
    if smiles is None:
        return []
    molecule = Molecule.from_smiles(next(smiles))
    start = make_model("etkdg-mmff").sample(molecule, sample_seeds(0, 0, 1))[0]
    rows = []
    for fs in spacings_fs:
        run = Langevin(mmff_system(molecule), start, seed=1, **SETTINGS)
        run.run(WARM_STEPS)
        frames = np.array([run.run(round(fs / STEP_FS)).positions_A for _ in range(5 * STARTS)])
        for method in ("equidrift", "md", "last-frame", "constant-velocity"):
            each = [
                spacing_values(molecule, part, fs, method)
                for part in frames.reshape(STARTS, 5, -1, 3)
            ]
            values = means({name: [v[name] for v in each] for name in each[0]})
            rows.append(row(f"spacing-{fs:g}fs/{method}", values, STARTS))
    return rows


def spacing_values(
    molecule: Molecule, frames: NDArray[np.float64], spacing_fs: float, method: str
) -> dict[str, float]:
    """The figures of a forecast of the last three of five frames (5, n, 3)."""
    sampled = method in ("equidrift", "md")
    options = {"temperature_K": TEMPERATURE_K} if sampled else {}
    model = make_trajectory_model("default" if method == "equidrift" else method, **options)
    given = Trajectory(molecule, frames[:2], spacing_fs * np.arange(2, dtype=np.float64))
    seeds = sample_seeds(5, 0, SAMPLES if sampled else 1)
    begun = time.process_time()
    made = positions_of(model.continue_(given, 3, seeds))
    return {
        "cpu_s_per_trajectory": (time.process_time() - begun) / len(seeds),
        **of_one(made, frames[2:]),
        "bond_error_A": float(np.mean([bond_error(molecule, m, frames) for m in made])),
        "broken_percent": broken_percent(molecule, made, frames),
    }


@dataclass(frozen=True)
class Gap:
    """Frames that are asked for between or after given ones.

    system : of the rows' names. given (t,): which frames of a window are given. count :
    windows. baselines : models beside ours.
    """

    system: str
    given: NDArray[np.bool_]
    count: int
    baselines: tuple[str, ...]


def gap_rows(part: Dynamics, gap: Gap) -> list[Row]:
    """Ours and baselines on frames that are not given, means over windows."""
    given, frames = gap.given, len(gap.given)
    times = STRIDE * part.spacing_fs * np.arange(frames, dtype=np.float64)
    x = part.positions_A[0].astype(np.float64)
    last = len(x) - (frames - 1) * STRIDE
    if last < 1:
        raise InputError(
            f"{frames} frames at stride {STRIDE} need a longer trajectory than {len(x)} frames"
        )
    columns: dict[str, dict[str, list[float]]] = {}
    for k, at in enumerate(np.linspace(0, last - 1, gap.count).astype(int).tolist()):
        window = x[at : at + (frames - 1) * STRIDE + 1 : STRIDE]
        seen = np.where(given[:, None, None], window, np.nan)
        for method in ("equidrift", *gap.baselines):
            sampled = method in ("equidrift", "md")
            options = thermostat(part) if method == "md" else {}
            named = "default" if method == "equidrift" else method
            model = make_trajectory_model(named, **options)
            seeds = sample_seeds(5, SAMPLES * k, SAMPLES * k + (SAMPLES if sampled else 1))
            begun = time.process_time()
            made = model.complete(Trajectory(part.molecule, seen, times), given, seeds)[:, ~given]
            values = {"cpu_s_per_trajectory": (time.process_time() - begun) / len(seeds)}
            values |= of_one(made, window[~given])
            values["CRPS"] = energy_score(made, window[~given])
            values["broken_percent"] = broken_percent(part.molecule, made, window)
            for name, value in values.items():
                columns.setdefault(method, {}).setdefault(name, []).append(value)
    return [
        row(f"{gap.system}/{method}", means(found), gap.count) for method, found in columns.items()
    ]


def interpolation_rows(data: dict[str, Dynamics], names: Sequence[str], windows: int) -> list[Row]:
    """Five frames given at both ends, 20 between (arXiv:2410.13027), beside the
    straight line between the ends.
    """
    given = (np.arange(30) < 5) | (np.arange(30) >= 25)
    rows = []
    for name in names:
        gap = Gap(f"interpolate-{name}", given, windows, ("md", "last-frame", "constant-velocity"))
        made = gap_rows(data[name].part(0.8, 1.0), gap)
        rows += [{**one, "row": one["row"].replace("constant-velocity", "linear")} for one in made]
    return rows


def refinement_rows(
    data: dict[str, Dynamics], names: Sequence[str], windows: int, noise_A: float = 0.1
) -> list[Row]:
    """Frames with Gaussian noise of 0.1 A on every coordinate: the error of bond
    lengths and the ADE before and after.
    """
    rows = []
    for name in names:
        part = data[name].part(0.8, 1.0)
        x = part.positions_A[0, ::STRIDE].astype(np.float64)
        times_fs = STRIDE * part.spacing_fs * np.arange(10, dtype=np.float64)
        model = cast(RefiningTrajectoryModel, make_trajectory_model("default"))
        columns: dict[str, dict[str, list[float]]] = {"equidrift": {}, "as-given": {}}
        for k in range(windows):
            window = x[k * (len(x) - 10) // max(1, windows) :][:10]
            coarse = window + noise_A * np.random.default_rng(k).standard_normal(window.shape)
            made = model.refine(
                Trajectory(part.molecule, coarse, times_fs), sample_seeds(6, k, k + 1)
            )[0]
            for method, frames in (("equidrift", made), ("as-given", coarse)):
                found = columns[method]
                found.setdefault("ADE", []).append(of_one(frames[None], window)["ADE"])
                error = bond_error(part.molecule, frames, window)
                found.setdefault("bond_error_A", []).append(error)
        for method, found in columns.items():
            rows.append(row(f"refine-{name}/{method}", means(found), windows))
    return rows
