"""`equidrift train trajectories CONFIG` with `kind: leap`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from pydantic import Field

from equidrift.errors import InputError
from equidrift.models.shared.config import Name, SplitTraining
from equidrift.models.shared.run import Task, begun, training_of
from equidrift.models.trajectories.dynamics import Dynamics, load_dynamics
from equidrift.models.trajectories.integrator.train import part_runs
from equidrift.models.trajectories.leap.data import LeapBatches
from equidrift.models.trajectories.leap.density import LeapConfig, LeapNetwork
from equidrift.models.trajectories.leap.objective import leap_loss
from equidrift.records import SYMBOLS

TASK = "leap"


class LeapTraining(SplitTraining):
    """What a training YAML may say.

    Unknown keys are errors. `data` names .npz files of tools/make_leaps.py, or folders of
    them; `lags_ps` the lags that are learned.
    """

    kind: Literal["leap"] = "leap"
    name: Name = "my-leap"
    init: str | None = None
    lags_ps: list[float] = Field(default=[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0], min_length=1)
    pairs_per_batch: int = Field(default=256, ge=8)

    def begin(self) -> LeapNetwork:
        """The network, with the weights of `init` or random ones."""
        return begun(self, self.init, TASK, lambda sizes: LeapNetwork(LeapConfig(**sizes)))


def read_runs(names: list[str]) -> list[Dynamics]:
    """The dynamics of files, and of all .npz files of folders in order of their names."""
    runs: list[Dynamics] = []
    for name in names:
        path = Path(name)
        files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"there is no .npz file in {name}; tools/make_leaps.py writes them")
        for file in files:
            runs += load_dynamics(file)
    return runs


def make_task(c: LeapTraining, network: LeapNetwork, _out: Path) -> Task:
    """What is trained. Raises `InputError` where no molecule has a torsion to turn."""
    runs, held = part_runs(read_runs(c.data), c.held_out, 2, c.seed)

    def batches_of(some: list[Dynamics]) -> LeapBatches:
        return LeapBatches(
            some,
            lags_ps=c.lags_ps,
            pairs=c.pairs_per_batch,
            seed=c.seed,
            bins=network.config.bins,
        )

    batches = batches_of(runs)
    unseen = batches_of(held) if held else None
    lags = sorted({lag * r.dynamics.spacing_fs / 1000 for r in batches.runs for lag in r.lags})
    elements = {z for r in batches.runs for z in r.dynamics.molecule.numbers.tolist()}
    temperatures = sorted({r.dynamics.temperature_K for r in batches.runs})
    card = {
        "family": "trajectories",
        "task": TASK,
        "what": "a transition density of torsions over picoseconds, "
        f"of {len({r.dynamics.molecule for r in batches.runs})} molecules",
        "config": {"kind": "leap"} | dataclasses.asdict(network.config),
        "training": {
            "lag_ps": [lags[0], lags[-1]],
            "temperature_K": [temperatures[0], temperatures[-1]],
            "levels": sorted({r.dynamics.level for r in batches.runs}),
        },
        "elements": [SYMBOLS[z] for z in sorted(elements)],
        "max_atoms": 200,
        "units": "rad, ps",
        "dtype": "float32",
    }
    return Task(network, batches, leap_loss, card, held_out=unseen)


run_training = training_of(LeapTraining, make_task)
