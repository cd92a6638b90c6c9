"""`equidrift train torsions CONFIG`: the transferable score network on thermal ensembles of many molecules."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from equidrift.errors import InputError
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.run import reinitialise
from equidrift.models.shared.training import HELD_OUT, Names, Progress, Trainer, check_run, config_errors, make_schedule, split
from equidrift.models.torsions.data import Batches, FrameSet
from equidrift.models.torsions.network import NetworkConfig, TorsionNetwork
from equidrift.models.torsions.objective import torsion_loss
from equidrift.records import SYMBOLS
from equidrift.weights import load_weights, save_weights


class TrainingConfig(BaseModel):
    """What a training YAML may say. Unknown keys are errors. `data` names .npz files of tools/make_torsions.py, or folders of them."""

    model_config = ConfigDict(extra="forbid")

    data: Names
    name: str = Field(default="my-torsions", pattern=r"^[\w.+-]+$")
    init: str | None = None
    network: dict[str, int] = {}
    schedule: dict[str, Any] = {}
    frames_per_batch: int = Field(default=32, ge=2)
    held_out: float = Field(default=HELD_OUT, ge=0, lt=0.5)
    seed: int = Field(default=0, ge=0)
    licence: str = "as the training data's owner decides"
    training_data: str = "user data"


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train by a time budget and write `out/NAME.safetensors` with its card; arguments, result and errors as for conformers."""
    with config_errors():
        c = TrainingConfig.model_validate(config)
        schedule, network = make_schedule(c.schedule), _network(c)
    budget_s = check_run(out, budget_s, schedule.steps, resume)
    data = read_frames(c.data)
    rows, held = split(data.smiles, c.held_out, c.seed)
    held_out = Batches(data.take(held), frames_per_batch=c.frames_per_batch, seed=c.seed) if len(held) else None
    batches = Batches(data.take(rows), frames_per_batch=c.frames_per_batch, seed=c.seed)
    trainer = Trainer(network, schedule, out, held_out)
    if resume:
        trainer.resume()
    trainer.fit(batches, torsion_loss, budget_s, progress)
    path = save_weights(out / f"{c.name}.safetensors", trainer.ema, make_card(c, network.config, trainer, data))
    return {"weights": str(path), **trainer.summary(), "molecules": len(data)}


def read_frames(names: list[str]) -> FrameSet:
    """The frames of files, and of all .npz files in folders. Raises `InputError` where there are none."""
    data = FrameSet()
    for name in names:
        paths = sorted(Path(name).glob("*.npz")) if Path(name).is_dir() else [Path(name)]
        for path in paths:
            data.load(path)
    if not len(data):
        raise InputError(f"no torsion frames in {', '.join(names)}; tools/make_torsions.py makes them")
    return data


def _network(c: TrainingConfig) -> TorsionNetwork:
    """The network of a config, with the weights of `init` or random ones; the user's random state is left alone."""
    state, sizes = None, dict(c.network)
    if c.init:
        state, card = load_weights(c.init)
        sizes = card["config"] | sizes
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(c.seed)
        network = TorsionNetwork(NetworkConfig(**sizes))
    if state is not None:
        network.load_state_dict(state)
    else:
        reinitialise(network, torch.Generator().manual_seed(c.seed))
    return network


def make_card(c: TrainingConfig, config: NetworkConfig, trainer: Trainer, data: FrameSet) -> dict[str, Any]:
    """The model card of a run."""
    return {
        "name": c.name,
        "family": "torsions",
        "task": "torsions",
        "description": f"scores of noised torsions given the frozen local geometry; trained for {trainer.step} steps on "
        f"{trainer.samples} frames of {len(data)} molecules",
        "config": dataclasses.asdict(config),
        "elements": [SYMBOLS[z] for z in ELEMENTS],
        "max_atoms": 200,
        "units": "A, radians; energies over kT",
        "dtype": "float32",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
        **trainer.card(),
    }
