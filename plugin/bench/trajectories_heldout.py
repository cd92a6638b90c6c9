"""Rows `heldout-SOURCE/...` of `equidrift bench trajectories`: forecasts of MMFF94
dynamics of molecules that no model has seen, beside the dynamics themselves.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.openmm.simulation import Langevin
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.bench.displacements import of_one
from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import Row, means, row
from equidrift.bench.trajectories_calibration import DRAWS, calibration, energy_score
from equidrift.bench.trajectories_chains import chain_values, positions_of
from equidrift.bench.trajectories_gfn2 import RESIDUAL, shipped
from equidrift.errors import EquidriftError
from equidrift.mmff import mmff_system
from equidrift.models.shared.split import held_out
from equidrift.models.trajectories.dynamics import Dynamics, load_dynamics, save_dynamics
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_model, make_trajectory_model
from equidrift.seeds import sample_seeds
from equidrift.weights import zoo

GIVEN, AHEAD = 10, 20  # frames given and asked for
METHODS = ("equidrift", "residual", "md", "mmff94-restart", "last-frame", "constant-velocity")
SAMPLED = ("equidrift", "residual", "md")  # methods that draw, and can draw long runs
LONG = 100  # frames of a long run
SPACING_FS, STEP_FS = 5.0, 0.5
TEMPERATURE_K, FRICTION_PER_FS = 300.0, 0.01
WARM_STEPS = 1000
SETTINGS: dict[str, Any] = {
    "temperature_K": TEMPERATURE_K,
    "friction_per_fs": FRICTION_PER_FS,
    "step_fs": STEP_FS,
}
Array = NDArray[np.float64]
Run = Callable[[str, int], Dynamics | None]


def heldout_smiles(folder: Path) -> dict[str, Iterator[str]]:
    """SMILES of the test bucket of QM9 and of ZINC in a fixed random order; none if
    the files are missing.
    """
    found: dict[str, list[str]] = {}
    if (folder / "qm9_130831.npz").exists():
        with np.load(folder / "qm9_130831.npz", allow_pickle=False) as file:
            found["qm9"] = file["smiles"].tolist()
    if (folder / "zinc_smiles" / "zinc_29k.smi").exists():
        lines = (folder / "zinc_smiles" / "zinc_29k.smi").read_text().splitlines()
        found["zinc"] = [line.split()[0] for line in lines if line.strip()]

    def test_part(names: list[str]) -> Iterator[str]:
        for k in np.random.default_rng(0).permutation(len(names)).tolist():
            try:
                if held_out(flat_smiles(Molecule.from_smiles(names[k]))) == "test":
                    yield names[k]
            except EquidriftError:
                continue

    return {name: test_part(names) for name, names in found.items()}


def heldout_dynamics(smiles: str, seed: int) -> Dynamics | None:
    """Runs (1 + DRAWS, GIVEN + LONG, n, 3) from one state, the positions, velocities and
    given frames of which they share.

    MMFF94, Langevin at 300 K and 0.01/fs, frames 5 fs apart; the runs after the first
    have other random numbers after the given frames, and are what a perfect sampler would
    draw that knew the velocities. None if the molecule cannot be made.
    """
    try:
        molecule = Molecule.from_smiles(smiles)
        system = mmff_system(molecule)
        start = make_model("etkdg-mmff").sample(molecule, sample_seeds(seed, 0, 1))[0]
    except EquidriftError:
        return None
    inner = round(SPACING_FS / STEP_FS)
    run = Langevin(system, start, seed=seed, **SETTINGS)
    run.run(WARM_STEPS)
    given = [run.run(inner) for _ in range(GIVEN)]
    shared = given[-1].positions_A, given[-1].velocities_A_fs
    again = [
        Langevin(system, shared[0], seed=seed + k, velocities_A_fs=shared[1], **SETTINGS)
        for k in range(1, DRAWS + 1)
    ]
    runs = np.array(
        [
            [s.positions_A for s in given] + [each.run(inner).positions_A for _ in range(LONG)]
            for each in (run, *again)
        ]
    )
    if not np.isfinite(runs).all():
        return None
    runs -= runs[0].mean((0, 1))
    return Dynamics(
        molecule, runs.astype(np.float32), SPACING_FS, "MMFF94", TEMPERATURE_K, FRICTION_PER_FS
    )


def kept(name: str, make: Callable[[], list[Dynamics]]) -> list[Dynamics]:
    """Dynamics that are made once and kept in $EQUIDRIFT_CACHE (else the temporary
    folder), in a file of that name.
    """
    cache = Path(os.environ.get("EQUIDRIFT_CACHE") or Path(tempfile.gettempdir()) / "equidrift")
    path = cache / name
    if not path.exists():
        made = make()
        cache.mkdir(parents=True, exist_ok=True)
        save_dynamics(path, made)
    return load_dynamics(path)


def first_runs(smiles: Iterator[str], count: int, run: Run) -> list[Dynamics]:
    """The first `count` dynamics that can be made; fewer where the molecules end.

    Parameters
    ----------
    smiles : iterator of str
        What is tried, in this order.
    count : int
        Dynamics that are wanted.
    run : callable
        (SMILES, number) to the dynamics, or None.
    """
    made: list[Dynamics] = []
    for one in smiles:
        found = run(one, len(made))
        made += [found] if found is not None else []
        if len(made) == count:
            break
    return made


def heldout(folder: Path, count: int) -> dict[str, list[Dynamics]]:
    """Dynamics of `count` held-out molecules of each source."""
    return {
        source: kept(
            f"heldout-{source}-{count}-{1 + DRAWS}.npz",
            partial(first_runs, smiles, count, heldout_dynamics),
        )
        for source, smiles in heldout_smiles(folder).items()
    }


def heldout_rows(folder: Path, count: int = 25, say: Progress = silent) -> list[Row]:
    """`heldout-qm9/...` and `heldout-zinc/...`: ours, plain dynamics from the frames, the
    dynamics themselves from the true state, last frame, constant velocity.
    """
    rows = []
    for source, runs in heldout(folder, count).items():
        say(f"held-out molecules of {source}")
        for method in METHODS:
            if method == "residual" and not shipped(RESIDUAL):
                continue
            each = [heldout_values(run, method, k) for k, run in enumerate(runs)]
            names = dict.fromkeys(name for values in each for name in values)
            values = means({name: [v.get(name, np.nan) for v in each] for name in names})
            rows.append(row(f"heldout-{source}/{method}", values, len(runs)))
    return rows


def heldout_values(run: Dynamics, method: str, number: int) -> dict[str, float]:
    """The figures of one molecule: 10 -> 20 frames, the mean of DRAWS samples, and one run
    of 100 frames against as many of MD.
    """
    molecule, both = run.molecule, run.positions_A.astype(np.float64)
    truth = both[0, GIVEN:]
    given = Trajectory(molecule, both[0, :GIVEN], SPACING_FS * np.arange(GIVEN, dtype=np.float64))
    spent = {}
    if method == "mmff94-restart":
        ahead, chain = both[1:, GIVEN : GIVEN + AHEAD], both[1, GIVEN:]
    else:
        sampled = method in SAMPLED
        options = {k: SETTINGS[k] for k in ("temperature_K", "friction_per_fs")}
        names = {"equidrift": "default", "residual": str(zoo() / f"{RESIDUAL}.json")}
        named = names.get(method, method)
        model = make_trajectory_model(named, **(options if method == "md" else {}))
        count = DRAWS if sampled else 1
        begun = time.process_time()
        made = model.continue_(given, AHEAD, sample_seeds(3, count * number, count * (number + 1)))
        spent = {"cpu_s_per_trajectory": (time.process_time() - begun) / count}
        ahead, chain = positions_of(made), None
        if sampled:
            long = model.continue_(given, LONG, sample_seeds(4, number, number + 1))
            chain = positions_of(long)[0]
    values = of_one(ahead, truth[:AHEAD]) | spent
    if chain is None:
        return values | {"CRPS": energy_score(ahead, truth[:AHEAD])}
    values |= calibration(molecule, ahead, truth[:AHEAD])
    return values | chain_values(molecule, chain[None], truth[None])
