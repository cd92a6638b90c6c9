"""Leaps trained for a few seconds on torsions that jump to and fro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from equidrift.models.trajectories.dynamics import Dynamics, save_dynamics
from equidrift.models.trajectories.leap.features import TorsionTable
from equidrift.models.trajectories.train import run_training
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds

SMALL = {"width": 16, "layers": 1, "heads": 2}
MOLECULES = ("CCCC", "CC[C@H](C)CO")
LAGS_PS = [1.0, 5.0]


def walk(molecule: Molecule, frames: int, seed: int = 0) -> Dynamics:
    """Frames 1 ps apart whose torsions jump to and fro, not dynamics of a force field."""
    start = make_model("etkdg-mmff").sample(molecule, sample_seeds(seed, 0, 1))[0]
    tree, rng = TorsionTable.of(molecule).tree, np.random.default_rng(seed)
    jump = rng.random((frames, tree.n_torsions)) < 0.2
    phi = tree.torsions(start) + np.cumsum(jump * rng.choice([-2.1, 2.1], jump.shape), 0)
    phi = phi + 0.15 * rng.standard_normal(phi.shape)
    x = tree.set_torsions(start, phi)
    return Dynamics(molecule, x[None].astype(np.float32), 1000.0, "MMFF94", 300.0, 0.001)


def config(data: Path, **changes: Any) -> dict[str, Any]:
    """Of a training of a few seconds."""
    return {
        "kind": "leap",
        "data": str(data),
        "network": SMALL,
        "lags_ps": LAGS_PS,
        "pairs_per_batch": 64,
        "schedule": {"steps": 60, "learning_rate": 5e-3, "warmup_steps": 5},
        "name": "leap",
    } | changes


def trained(folder: Path) -> dict[str, Any]:
    """The summary of such a training."""
    runs = [walk(Molecule.from_smiles(s), 300, k) for k, s in enumerate(MOLECULES)]
    save_dynamics(folder / "runs.npz", runs)
    return run_training(config(folder / "runs.npz"), folder / "run", None)
