"""`equidrift train conformers CONFIG`: the refiner (`task: refine`) or the generator from noise (`task: generate`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from equidrift.errors import InputError
from equidrift.models.conformers.data import ConformerSet
from equidrift.models.conformers.generator import SIGMA_LOG_MEAN, SIGMA_LOG_STD, generator_loss
from equidrift.models.conformers.objective import Batches, refiner_loss
from equidrift.models.shared.backbones.conformer import ConformerNetwork
from equidrift.models.shared.graph_codes import ELEMENTS, LEVELS
from equidrift.models.shared.layers import NetworkConfig
from equidrift.models.shared.run import reinitialise
from equidrift.models.shared.split import held_out
from equidrift.models.shared.training import HELD_OUT, Names, Progress, Trainer, check_run, config_errors, make_schedule, split
from equidrift.records import SYMBOLS
from equidrift.training_data import packed_files
from equidrift.weights import load_weights, save_weights

__all__ = ["TrainingConfig", "held_out", "run_training"]


class TrainingConfig(BaseModel):
    """What a training YAML may say. Unknown keys are errors.

    `level` is the level of theory of the geometries in .sdf files; `hold_out` leaves the 10 % of their molecules out that
    belong to the validation and test parts. `held_out`: share of the molecules that is not trained on and tells the loss before
    and after.
    """

    model_config = ConfigDict(extra="forbid")

    task: Literal["refine", "generate"]
    data: Names
    name: str = Field(default="my-model", pattern=r"^[\w.+-]+$")
    init: str | None = None
    level: str = "GFN2-xTB"
    hold_out: bool = False
    network: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    level_weights: dict[str, float] = {}
    atoms_per_batch: int = Field(default=600, ge=8)
    held_out: float = Field(default=HELD_OUT, ge=0, lt=0.5)
    seed: int = Field(default=0, ge=0)
    licence: str = "as the training data's owner decides"
    training_data: str = "user data"

    @field_validator("level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        return _level(value)

    @field_validator("level_weights")
    @classmethod
    def _known_levels(cls, value: dict[str, float]) -> dict[str, float]:
        return {_level(name): weight for name, weight in value.items()}


def _level(name: str) -> str:
    if name not in LEVELS:
        raise ValueError(f"unknown level of theory {name!r}; known are {', '.join(LEVELS)}")
    return name


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train by a time budget and write `out/NAME.safetensors` with its card; returns what was done.

    Parameters
    ----------
    config : the fields of `TrainingConfig`; `data` names .sdf files, or .npz files written by `ConformerSet.save`.
    out : folder of the checkpoint, of the data as read from .sdf files, and of the result.
    budget_s : seconds of training in all, those before a resume included; None where `schedule` sets `steps`.
    resume : go on from the checkpoint in `out`.

    Raises
    ------
    InputError
        for a config that does not fit, data without a usable conformer, or an output folder that holds a checkpoint when
        `resume` is not given.
    """
    with config_errors():
        c = TrainingConfig.model_validate(config)
        schedule = make_schedule(c.schedule)
        network = _network(c)
    budget_s = check_run(out, budget_s, schedule.steps, resume)
    data = ConformerSet.empty()
    paths, skipped = packed_files(c.data, out, level=c.level, hold_out=c.hold_out)
    for path in paths:
        data.extend(ConformerSet.load(path))
    if not len(data):
        raise InputError(f"no conformers in {', '.join(c.data)}")
    sigma = (SIGMA_LOG_MEAN, SIGMA_LOG_STD) if c.task == "generate" else None
    weights = {LEVELS.index(level): value for level, value in c.level_weights.items()}
    options: dict[str, Any] = {"atoms_per_batch": c.atoms_per_batch, "seed": c.seed, "level_weights": weights, "sigma": sigma}
    rows, held = split([g.atom.tobytes() + g.pair.tobytes() for g in data.graphs], c.held_out, c.seed)
    held_out = Batches(data.take(held), **options) if len(held) else None
    batches = Batches(data.take(rows), **options)
    trainer = Trainer(network, schedule, out, held_out)
    if resume:
        trainer.resume()
    trainer.fit(batches, refiner_loss if c.task == "refine" else generator_loss, budget_s, progress)
    path = save_weights(out / f"{c.name}.safetensors", trainer.ema, make_card(c, network.config, trainer))
    done = {"weights": str(path), **trainer.summary()}
    return {**done, "conformers": len(data), "skipped": skipped}


def _network(c: TrainingConfig) -> ConformerNetwork:
    """The network of a config, with the weights of `init` or random ones; the user's random state is left alone."""
    if c.init:
        state, card = load_weights(c.init)
        if card.get("task") not in (c.task, "refine"):  # a refiner may start a generator, whose further layers begin at zero effect
            raise InputError(f"init: {c.init} is a model for task {card.get('task')!r}, the config's task is {c.task!r}")
        if other := {key: value for key, value in c.network.items() if card["config"].get(key) != value}:
            raise InputError(f"init: {c.init} has another network than the config asks for ({other}); leave `network` out")
        sizes = card["config"] | {"noise": c.task == "generate"}
    else:
        sizes = {"noise": c.task == "generate", **c.network}
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(c.seed)
        network = ConformerNetwork(NetworkConfig(**sizes))
    if c.init:
        network.load_state_dict(state, strict=card.get("task") == c.task)
    else:
        reinitialise(network, torch.Generator().manual_seed(c.seed))  # a generator of our own: the global one is not touched
    return network




def make_card(c: TrainingConfig, config: NetworkConfig, trainer: Trainer) -> dict[str, Any]:
    """The model card of a run."""
    kind = "moves conformers into the nearest minimum" if c.task == "refine" else "draws conformers from noise"
    return {
        "name": c.name,
        "family": "conformers",
        "task": c.task,
        "description": f"{kind}; trained for {trainer.step} steps on {trainer.samples} samples",
        "config": dataclasses.asdict(config),
        "elements": [SYMBOLS[z] for z in ELEMENTS],
        "max_atoms": 200,
        "units": "A",
        "dtype": "bfloat16" if c.task == "generate" else "float32",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
        **trainer.card(),
    }
