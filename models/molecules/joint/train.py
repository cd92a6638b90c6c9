"""`equidrift train molecules CONFIG` for `model: joint`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.molecules.data import PROPERTIES, SPLITS, load_qm9
from equidrift.models.molecules.joint.additive import Additive
from equidrift.models.molecules.joint.data import (
    MAX_HEAVY,
    TYPES,
    Heavy,
    heavy_tokens,
    property_scale,
)
from equidrift.models.molecules.joint.network import JointConfig, JointNetwork
from equidrift.models.molecules.joint.objective import Batches, Example, joint_loss
from equidrift.models.shared.config import Name, TrainingConfig, initial
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.run import Task, fresh, own_random_state, training_of
from equidrift.records import SYMBOLS

VALIDATION = 1024  # molecules of the validation part that tell the held-out loss


class JointTraining(TrainingConfig):
    """What a training YAML may say. Unknown keys are errors.

    data : packed molecules that `tools/make_molecules.py` wrote; None is the one in the
        data folder or the cache.
    init : a model to go on from, by name or path.
    condition_on : the half of the training molecules whose properties are learnt from:
        'a' leaves 'b' to an independent judge.
    repeat : how often an epoch shows the molecules of that half.
    """

    name: Name = "my-molecules"
    data: str | None = None
    init: str | None = None
    condition_on: str = Field(default="a", pattern="^(a|b|both)$")
    repeat: int = Field(default=3, ge=1)
    batch: int = Field(default=128, ge=2)
    half_precision: bool = True

    def begin(self) -> JointNetwork:
        """The network, with the weights of `init` or random ones."""
        return make_network(self)


def make_task(c: JointTraining, network: JointNetwork, _out: Path) -> Task:
    """What is trained. Raises `InputError` for data without a usable molecule."""
    data = training_molecules(c)
    mean, deviation = property_scale(data.props)
    unseen = validation_molecules(c)
    held_out = (
        Batches(unseen, mean, deviation, size=c.batch, seed=c.seed, repeat=1)
        if len(unseen)
        else None
    )

    def loss(model: nn.Module, example: Example) -> Tensor:
        with short_products(example.type_weight.device, c.half_precision):
            return joint_loss(model, example)

    batches = Batches(data, mean, deviation, size=c.batch, seed=c.seed, repeat=c.repeat)
    summary = {"molecules": len(data), "conditioned": int(data.conditional.sum())}
    return Task(network, batches, loss, card_of(network.config, data), held_out, summary=summary)


def training_molecules(c: JointTraining) -> Heavy:
    """The training part as tokens.

    Raises `InputError` where no molecule of the file can be held.
    """
    qm9 = load_qm9(c.data)
    rows = qm9.rows(SPLITS[0])
    half_b = qm9.half_b[rows]
    data = heavy_tokens(
        qm9,
        rows,
        conditional={"a": ~half_b, "b": half_b, "both": np.ones_like(half_b)}[c.condition_on],
    )
    if not len(data):
        raise InputError(
            f"no molecule of the training part of {c.data or 'QM9'} can "
            "be held: at most 9 heavy atoms of C, N, O and F"
        )
    return data


def validation_molecules(c: JointTraining) -> Heavy:
    """Molecules of the validation part as tokens; the first few, since they tell a loss
    alone.
    """
    qm9 = load_qm9(c.data)
    rows = qm9.rows(SPLITS[1])[:VALIDATION]
    return heavy_tokens(qm9, rows, conditional=np.ones(len(rows), bool))


def make_network(c: JointTraining) -> JointNetwork:
    """The network of a config, with the weights of `init` or random ones; the user's
    random state is left alone.
    """
    if c.init is None:
        sizes = JointConfig(**c.network)
        return fresh(lambda: JointNetwork(sizes), c.seed)
    state, card = initial(c.init, ("joint",), c.network)
    with own_random_state(c.seed):
        network = JointNetwork(JointConfig(**card["config"]))
    network.load_state_dict(state)
    return network


def card_of(config: JointConfig, data: Heavy) -> dict[str, Any]:
    """What the card says beside what all cards say: among it the scale and the range of
    each property.
    """
    learnt = data
    if bool(data.conditional.any()):
        learnt = data.take(np.flatnonzero(data.conditional.numpy()))
    known = learnt.props
    mean, deviation = property_scale(data.props)
    numbers = torch.stack([mean, deviation, known.amin(0), known.amax(0)], dim=1).tolist()
    keys = ("mean", "deviation", "least", "greatest")
    scale = {
        name: dict(zip(keys, row, strict=True))
        for name, row in zip(PROPERTIES, numbers, strict=True)
    }
    return {
        "family": "molecules",
        "task": "joint",
        "what": "draws elements, charges, hydrogens, bonds "
        "and coordinates of the heavy atoms together",
        "config": dataclasses.asdict(config),
        "properties": scale,
        "additive": Additive.fit(learnt, mean, deviation).card(),
        "sizes": (torch.bincount(data.mask.sum(1) - 1, minlength=MAX_HEAVY) / len(data)).tolist(),
        "elements": sorted({SYMBOLS[z] for z, _, _ in TYPES} | {"H"}),
        "max_atoms": 29,
        "units": "A",
        "dtype": "bfloat16",
    }


run_training = training_of(JointTraining, make_task)
