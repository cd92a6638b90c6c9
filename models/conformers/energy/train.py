"""`equidrift train conformer-energy CONFIG`: the energy whose gradient relaxes conformers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from equidrift.models.conformers.energy.data import PathSet, load_all
from equidrift.models.conformers.energy.network import EnergyConfig, EnergyNetwork
from equidrift.models.conformers.energy.objective import Batches, energy_loss, relative_errors
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.run import own_random_state
from equidrift.models.shared.training import HELD_OUT, Names, Progress, Trainer, check_run, config_errors, make_schedule, split
from equidrift.records import SYMBOLS
from equidrift.weights import save_weights

FEWEST_MOLECULES = 100  # of the training data, for an element to be claimed


class TrainingConfig(BaseModel):
    """What a training YAML may say. Unknown keys are errors.

    `validation` names files of paths that tell the loss before and after; without it, a share `held_out` of the molecules does.
    `reference` is the force field whose energy the network's is added to at zero noise: "MMFF94" or "none".
    """

    model_config = ConfigDict(extra="forbid")

    data: Names
    validation: list[str] = []
    name: str = Field(default="my-model", pattern=r"^[\w.+-]+$")
    reference: str = Field(default="MMFF94", pattern="^(MMFF94|none)$")
    noise_share: float = Field(default=0.1, ge=0, lt=1)
    held_out: float = Field(default=HELD_OUT, ge=0, lt=0.5)
    paths_per_batch: int = Field(default=8, ge=1)
    frames_per_path: int = Field(default=12, ge=2)
    network: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    seed: int = Field(default=0, ge=0)
    licence: str = "as the training data's owner decides"
    training_data: str = "user data"


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train by a time budget and write `out/NAME.safetensors` with its card; returns what was done.

    Parameters
    ----------
    config : the fields of `TrainingConfig`; `data` names .npz files that `tools/pack_paths.py` wrote.
    out : folder of the checkpoint and of the result.
    budget_s : seconds of training in all, those before a resume included; None where `schedule` sets `steps`.
    resume : go on from the checkpoint in `out`.

    Raises
    ------
    InputError
        for a config that does not fit, data without a path, or an output folder that holds a checkpoint when `resume` is not given.
    """
    with config_errors():
        c = TrainingConfig.model_validate(config)
        schedule = make_schedule(c.schedule)
        with own_random_state(c.seed):
            network = EnergyNetwork(EnergyConfig(**c.network))
    budget_s = check_run(out, budget_s, schedule.steps, resume)
    data = load_all(c.data)
    if c.validation:
        held, data_rows = load_all(c.validation), np.arange(len(data))
    else:
        data_rows, rows = split([path.molecule for path in data.paths], c.held_out, c.seed)
        held = data.take(rows)
    sizes = {"paths": c.paths_per_batch, "frames": c.frames_per_path}
    options: dict[str, Any] = {**sizes, "reference": c.reference == "MMFF94", "seed": c.seed}
    batches = Batches(data.take(data_rows), noise_share=c.noise_share, **options)
    held_out = Batches(held, noise_share=0.0, **options) if len(held) else None
    trainer = Trainer(network, schedule, out, held_out)
    if resume:
        trainer.resume()
    trainer.fit(batches, energy_loss, budget_s, progress)
    card = make_card(c, network.config, trainer, data)
    if held_out is not None:
        network.load_state_dict(trainer.ema)
        card["quality"]["held-out paths"] = {**relative_errors(network, held_out), "paths": len(held)}
    path = save_weights(out / f"{c.name}.safetensors", trainer.ema, card)
    return {"weights": str(path), **trainer.summary(), "molecules": len(data.graphs), "paths": len(data)}


def molecules_with(data: PathSet) -> dict[str, int]:
    """How many of the training molecules hold each element."""
    held = np.zeros(len(ELEMENTS) + 1, int)
    for graph in data.graphs:
        held[np.unique(graph.atom[:, 0])] += 1
    return {SYMBOLS[z]: int(count) for z, count in zip(ELEMENTS, held[1:])}


def make_card(c: TrainingConfig, config: EnergyConfig, trainer: Trainer, data: PathSet) -> dict[str, Any]:
    """The model card of a run; it claims the elements that at least `FEWEST_MOLECULES` of the molecules hold."""
    counts = molecules_with(data)
    return {
        "name": c.name,
        "family": "conformers",
        "task": "energy",
        "description": "energy whose gradient relaxes conformers towards GFN2-xTB minima; "
        f"trained for {trainer.step} steps on {trainer.samples} gradients",
        "config": {**dataclasses.asdict(config), "reference": c.reference},
        "elements": [symbol for symbol, count in counts.items() if count >= FEWEST_MOLECULES],
        "training_molecules_per_element": counts,
        "max_atoms": 200,
        "units": "A, eV",
        "dtype": "bfloat16",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
        **trainer.card(),
    }
