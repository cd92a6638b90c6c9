"""`equidrift train molecules CONFIG` for `model: joint`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.molecules.data import PROPERTIES, SPLITS, load_qm9
from equidrift.models.molecules.joint.additive import Additive
from equidrift.models.molecules.joint.data import MAX_HEAVY, TYPES, Heavy, heavy_tokens, property_scale
from equidrift.models.molecules.joint.network import JointConfig, JointNetwork
from equidrift.models.molecules.joint.objective import Batches, Example, joint_loss
from equidrift.models.shared.run import reinitialise
from equidrift.models.shared.training import Progress, Trainer, check_run, config_errors, make_schedule
from equidrift.records import SYMBOLS
from equidrift.weights import load_weights, save_weights

VALIDATION = 1024  # molecules of the validation part that tell the held-out loss


class JointTraining(BaseModel):
    """What a training YAML may say. Unknown keys are errors.

    data : packed molecules that `tools/make_molecules.py` wrote; None is the one in the data folder or the cache.
    init : a model to go on from, by name or path.
    condition_on : the half of the training molecules whose properties are learnt from: 'a' leaves 'b' to an independent judge.
    repeat : how often an epoch shows the molecules of that half.
    """

    model_config = ConfigDict(extra="forbid")

    data: str | None = None
    name: str = Field(default="my-molecules", pattern=r"^[\w.+-]+$")
    init: str | None = None
    condition_on: str = Field(default="a", pattern="^(a|b|both)$")
    repeat: int = Field(default=3, ge=1)
    network: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    batch: int = Field(default=128, ge=2)
    half_precision: bool = True
    seed: int = Field(default=0, ge=0)
    licence: str = "as the training data's owner decides"
    training_data: str = "user data"


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train by a time budget and write `out/NAME.safetensors` with its card; returns what was done.

    Parameters
    ----------
    config : the fields of `JointTraining`.
    out, budget_s, resume, progress : as for the other families.

    Raises
    ------
    InputError
        for a config that does not fit, data without a usable molecule, or an output folder that holds a checkpoint when `resume` is
        not given.
    """
    with config_errors():
        c = JointTraining.model_validate(config)
        schedule = make_schedule(c.schedule)
        network = make_network(c)
    budget_s = check_run(out, budget_s, schedule.steps, resume)
    data = training_molecules(c)
    mean, deviation = property_scale(data.props)
    def loss(model: nn.Module, example: Example) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=c.half_precision):
            return joint_loss(model, example)

    batches = Batches(data, mean, deviation, size=c.batch, seed=c.seed, repeat=c.repeat)
    unseen = validation_molecules(c)
    held_out = Batches(unseen, mean, deviation, size=c.batch, seed=c.seed, repeat=1) if len(unseen) else None
    trainer = Trainer(network, schedule, out, held_out)
    if resume:
        trainer.resume()
    trainer.fit(batches, loss, budget_s, progress)
    card = make_card(c, network.config, trainer, data)
    path = save_weights(out / f"{c.name}.safetensors", trainer.ema, card)
    done = {"weights": str(path), **trainer.summary()}
    return {**done, "molecules": len(data), "conditioned": int(data.conditional.sum())}


def training_molecules(c: JointTraining) -> Heavy:
    """The training part as tokens. Raises `InputError` where no molecule of the file can be held."""
    qm9 = load_qm9(c.data)
    rows = qm9.rows(SPLITS[0])
    half_b = qm9.half_b[rows]
    data = heavy_tokens(qm9, rows, conditional={"a": ~half_b, "b": half_b, "both": np.ones_like(half_b)}[c.condition_on])
    if not len(data):
        raise InputError(f"no molecule of the training part of {c.data or 'QM9'} can be held: at most 9 heavy atoms of C, N, O and F")
    return data


def validation_molecules(c: JointTraining) -> Heavy:
    """Molecules of the validation part as tokens; the first few, since they tell a loss alone."""
    qm9 = load_qm9(c.data)
    rows = qm9.rows(SPLITS[1])[:VALIDATION]
    return heavy_tokens(qm9, rows, conditional=np.ones(len(rows), bool))


def make_network(c: JointTraining) -> JointNetwork:
    """The network of a config, with the weights of `init` or random ones; the user's random state is left alone."""
    sizes = c.network
    if c.init:
        state, card = load_weights(c.init)
        if card.get("task") != "joint":
            raise InputError(f"init: {c.init} is a model for task {card.get('task')!r}, the config's is 'joint'")
        if other := {key: value for key, value in c.network.items() if card["config"].get(key) != value}:
            raise InputError(f"init: {c.init} has another network than the config asks for ({other}); leave `network` out")
        sizes = card["config"]
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(c.seed)
        network = JointNetwork(JointConfig(**sizes))
    if c.init:
        network.load_state_dict(state)
    else:
        reinitialise(network, torch.Generator().manual_seed(c.seed))
    return network


def make_card(c: JointTraining, config: JointConfig, trainer: Trainer, data: Heavy) -> dict[str, Any]:
    """The model card of a run; it holds the scale and the range of each property."""
    learnt = data.take(np.flatnonzero(data.conditional.numpy())) if bool(data.conditional.any()) else data
    known = learnt.props
    mean, deviation = property_scale(data.props)
    columns = zip(PROPERTIES, *(row.tolist() for row in (mean, deviation, known.amin(0), known.amax(0))))
    scale = {name: dict(zip(("mean", "deviation", "least", "greatest"), numbers)) for name, *numbers in columns}
    return {
        "name": c.name,
        "family": "molecules",
        "task": "joint",
        "description": "draws elements, charges, hydrogens, bonds and coordinates of the heavy atoms together; "
        f"trained for {trainer.step} steps on {trainer.samples} samples",
        "config": dataclasses.asdict(config),
        "properties": scale,
        "additive": Additive.fit(learnt, mean, deviation).card(),
        "sizes": (torch.bincount(data.mask.sum(1) - 1, minlength=MAX_HEAVY) / len(data)).tolist(),
        "elements": sorted({SYMBOLS[z] for z, _, _ in TYPES} | {"H"}),
        "max_atoms": 29,
        "units": "A",
        "dtype": "bfloat16",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
        **trainer.card(),
    }
