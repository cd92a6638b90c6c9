"""`equidrift train conformers CONFIG`: the refiner (`task: refine`) or the generator
from noise (`task: generate`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from equidrift.errors import InputError
from equidrift.files.training_data import packed_files
from equidrift.models.conformers.data import ConformerSet
from equidrift.models.conformers.distance.train import run_training as train_distance
from equidrift.models.conformers.generator import SIGMA_LOG_MEAN, SIGMA_LOG_STD, generator_loss
from equidrift.models.conformers.objective import Batches, refiner_loss
from equidrift.models.conformers.points.train import run_training as train_points
from equidrift.models.shared.backbones.conformer import ConformerNetwork
from equidrift.models.shared.config import SplitTraining, initial
from equidrift.models.shared.graph_codes import ELEMENTS, LEVELS
from equidrift.models.shared.layers import NetworkConfig
from equidrift.models.shared.run import Task, either, fresh, own_random_state, training_of
from equidrift.models.shared.split import split
from equidrift.records import SYMBOLS

WHAT = {
    "refine": "moves conformers into the nearest minimum",
    "generate": "draws conformers from noise",
}


class ConformerTraining(SplitTraining):
    """What a training YAML may say. Unknown keys are errors.

    `level` is the level of theory of the geometries in .sdf files; `hold_out` leaves
    the 10 % of their molecules out that belong to the validation and test parts.
    `held_out`: share of the molecules that is not trained on and tells the loss before
    and after. With `task: distance` it is `distance.train.DistanceTraining` that says
    it, with `task: points` `points.train.PointTraining`.
    """

    task: Literal["refine", "generate"]
    init: str | None = None
    level: str = "GFN2-xTB"
    hold_out: bool = False
    level_weights: dict[str, float] = Field(default={})
    atoms_per_batch: int = Field(default=600, ge=8)

    @field_validator("level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        return _level(value)

    @field_validator("level_weights")
    @classmethod
    def _known_levels(cls, value: dict[str, float]) -> dict[str, float]:
        return {_level(name): weight for name, weight in value.items()}

    def begin(self) -> ConformerNetwork:
        """The network, with the weights of `init` or random ones."""
        return first_network(self)


def _level(name: str) -> str:
    if name not in LEVELS:
        raise ValueError(f"unknown level of theory {name!r}; known are {', '.join(LEVELS)}")
    return name


def make_task(c: ConformerTraining, network: ConformerNetwork, out: Path) -> Task:
    """What is trained.

    Raises `InputError` for data without a usable conformer; what is read from .sdf
    files is kept in `out`.
    """
    data = ConformerSet.empty()
    paths, skipped = packed_files(c.data, out, level=c.level, hold_out=c.hold_out)
    for path in paths:
        data.extend(ConformerSet.load(path))
    if not len(data):
        raise InputError(f"no conformers in {', '.join(c.data)}")
    rows, held = split(
        [g.atom.tobytes() + g.pair.tobytes() for g in data.graphs], c.held_out, c.seed
    )
    batches = _batches(c, data.take(rows))
    unseen = _batches(c, data.take(held)) if len(held) else None
    loss = refiner_loss if c.task == "refine" else generator_loss
    summary = {"conformers": len(data), "skipped": skipped}
    return Task(network, batches, loss, card_of(c, network.config), unseen, summary=summary)


def _batches(c: ConformerTraining, data: ConformerSet) -> Batches:
    sigma = (SIGMA_LOG_MEAN, SIGMA_LOG_STD) if c.task == "generate" else None
    weights = {LEVELS.index(level): value for level, value in c.level_weights.items()}
    return Batches(
        data, atoms_per_batch=c.atoms_per_batch, seed=c.seed, level_weights=weights, sigma=sigma
    )


def first_network(c: ConformerTraining) -> ConformerNetwork:
    """The network of a config, with the weights of `init` or random ones; the user's
    random state is left alone.
    """
    if c.init is None:
        sizes = NetworkConfig(**{"noise": c.task == "generate", **c.network})
        return fresh(lambda: ConformerNetwork(sizes), c.seed)
    # a refiner may start a generator, whose further layers begin at zero effect
    state, card = initial(c.init, dict.fromkeys((c.task, "refine")), c.network)
    with own_random_state(c.seed):
        network = ConformerNetwork(
            NetworkConfig(**card["config"] | {"noise": c.task == "generate"})
        )
    network.load_state_dict(state, strict=card.get("task") == c.task)
    return network


def card_of(c: ConformerTraining, sizes: NetworkConfig) -> dict[str, Any]:
    """What the card says beside what all cards say."""
    return {
        "family": "conformers",
        "task": c.task,
        "what": WHAT[c.task],
        "config": dataclasses.asdict(sizes),
        "elements": [SYMBOLS[z] for z in ELEMENTS],
        "max_atoms": 200,
        "units": "A",
        "dtype": "bfloat16" if c.task == "generate" else "float32",
    }


run_training = either(
    "task",
    {"distance": train_distance, "points": train_points},
    training_of(ConformerTraining, make_task),
)
