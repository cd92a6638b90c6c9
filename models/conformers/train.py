"""`equidrift train conformers CONFIG`: the refiner (`task: refine`) or the generator from noise (`task: generate`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from equidrift.errors import InputError
from equidrift.models.conformers.data import ELEMENTS, LEVELS, ConformerSet, held_out
from equidrift.models.conformers.generator import SIGMA_LOG_MEAN, SIGMA_LOG_STD, generator_loss
from equidrift.models.conformers.network import ConformerNetwork, NetworkConfig
from equidrift.models.conformers.objective import Batches, refiner_loss
from equidrift.models.shared.training import Progress, Schedule, Trainer
from equidrift.records import SYMBOLS
from equidrift.weights import load_weights, save_weights

__all__ = ["TrainingConfig", "held_out", "run_training"]


class TrainingConfig(BaseModel):
    """What a training YAML may say. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")

    task: Literal["refine", "generate"]
    data: list[str] = Field(min_length=1)
    name: str = "my-model"
    init: str | None = None
    network: dict[str, int | float] = {}
    schedule: dict[str, int | float] = {}
    level_weights: dict[str, float] = {}
    atoms_per_batch: int = Field(default=600, ge=8)
    seed: int = 0
    licence: str = "as the training data's owner decides"
    training_data: str = "user data"


def run_training(config: dict[str, Any], out: Path, budget_s: float, resume: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Train by a time budget and write `out/NAME.safetensors` with its card; returns what was done.

    Parameters
    ----------
    config : the fields of `TrainingConfig`; `data` names files written by `ConformerSet.save`.
    out : folder of the checkpoint and the result.
    budget_s : seconds of training in all, those before a resume included.
    resume : go on from the checkpoint in `out`.

    Raises
    ------
    InputError
        for a config that does not fit, or an output folder that holds a checkpoint when `resume` is not given.
    """
    try:
        c = TrainingConfig.model_validate(config)
        network = ConformerNetwork(NetworkConfig(**{"noise": c.task == "generate", **c.network}))  # type: ignore[arg-type]
        schedule = Schedule(**c.schedule)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise InputError(f"the training config does not fit: {error}") from error
    if budget_s <= 0:
        raise InputError(f"the time budget must be positive, not {budget_s} s; for example --budget 25m")
    if (out / "checkpoint.json").exists() and not resume:
        raise InputError(f"{out} holds a checkpoint; add --resume to go on from it, or give another --out")
    data = ConformerSet.empty()
    for path in c.data:
        data.extend(ConformerSet.load(path))
    if not len(data):
        raise InputError(f"no conformers in {', '.join(c.data)}")
    if c.init:
        begin_from(network, c.init)
    else:
        reinitialise(network, torch.Generator().manual_seed(c.seed))
    trainer = Trainer(network, schedule, out)
    if resume:
        trainer.resume()
    sigma = (SIGMA_LOG_MEAN, SIGMA_LOG_STD) if c.task == "generate" else None
    weights = {LEVELS.index(level): value for level, value in c.level_weights.items()}
    batches = Batches(data, atoms_per_batch=c.atoms_per_batch, seed=c.seed, level_weights=weights, sigma=sigma)
    trainer.fit(batches, refiner_loss if c.task == "refine" else generator_loss, budget_s, progress)
    path = save_weights(out / c.name, trainer.ema, make_card(c, network.config, trainer))
    return {"weights": str(path), "steps": trainer.step, "samples": trainer.samples, "minutes": trainer.seconds / 60, "conformers": len(data)}


def begin_from(network: ConformerNetwork, weights: str) -> None:
    """Take over trained weights; a refiner's may start a generator, whose further layers begin at zero effect."""
    missing, unexpected = network.load_state_dict(load_weights(weights)[0], strict=False)
    if unexpected or any(not key.startswith("noise.") for key in missing):
        raise InputError(f"the weights {weights} do not fit the network of the config; leave out `network` or make it the same")


def reinitialise(network: ConformerNetwork, generator: torch.Generator) -> None:
    """Redraw the linear layers and embeddings from `generator`, so that a run does not depend on the global random state."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Linear) and float(module.weight.abs().sum()) > 0:  # zero-initialised heads stay zero
                bound = module.in_features**-0.5
                module.weight.uniform_(-bound, bound, generator=generator)
            elif isinstance(module, torch.nn.Embedding):
                module.weight.normal_(0.0, 0.5, generator=generator)


def make_card(c: TrainingConfig, config: NetworkConfig, trainer: Trainer) -> dict[str, Any]:
    """The model card of a run."""
    kind = "moves conformers into the nearest minimum" if c.task == "refine" else "draws conformers from noise"
    return {
        "name": c.name,
        "family": "conformers",
        "task": c.task,
        "description": f"{kind}; trained for {trainer.seconds / 60:.0f} minutes on {trainer.samples} samples",
        "config": dataclasses.asdict(config),
        "elements": [SYMBOLS[z] for z in ELEMENTS],
        "max_atoms": 200,
        "units": "A",
        "dtype": "bfloat16" if c.task == "generate" else "float32",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
    }
