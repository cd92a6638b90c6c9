"""`equidrift train molecules` with `model: properties`: the network that judges
properties, on half b of QM9's training part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.molecules.data import ELEMENTS, PROPERTIES, QM9, USUAL, load_qm9
from equidrift.models.molecules.properties.sampler import (
    PropertyBatch,
    PropertyConfig,
    PropertyNet,
    PropertyNetwork,
    make_batch,
    make_network,
)
from equidrift.models.shared.batches import Epochs
from equidrift.models.shared.config import Name, TrainingConfig
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.run import Task, training_of
from equidrift.records import SYMBOLS

OTHERS = 0.25  # weight in the loss of a property that is not among the usual six
_CHUNK = 32  # batches that are sorted by size together, so that little is padding


class PropertyTraining(TrainingConfig):
    """What a training YAML may say.

    Unknown keys are errors. `data` is a file of `tools/make_molecules.py`, `half` the
    part to train on.
    """

    schedule_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "hold": 0.1}

    name: Name = "my-properties"
    data: str | None = None
    half: Literal["a", "b"] = "b"
    batch: int = Field(default=64, ge=2)
    limit: int | None = Field(default=None, ge=2)
    bfloat16: bool = True
    licence: str = "MIT"
    training_data: str = "half b of QM9's training part (crc32 of the SMILES), B3LYP/6-31G(2df,p)"

    def begin(self) -> PropertyNet:
        """The network, of random weights that depend on the seed alone."""
        return make_network(PropertyConfig(**self.network), self.seed)


class Batches:
    """batch(step): molecules of similar size, in an order that depends on the step and
    the seed alone.
    """

    def __init__(self, data: QM9, rows: NDArray[np.int64], batch: int, seed: int) -> None:
        self.data, self.rows, self.batch, self.seed = data, rows, min(batch, len(rows)), seed
        self.per_epoch = max(1, len(rows) // self.batch)
        self.epochs = Epochs(self.per_epoch, seed, self._shuffled)

    def __call__(self, step: int) -> PropertyBatch:
        """The training batch of a step."""
        order, place = self.epochs(step)
        return gather(self.data, order[place])

    def _shuffled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(per_epoch, batch) rows: shuffled, then sorted by size within every `_CHUNK`
        batches, whose order is shuffled again.
        """
        rows = rng.permutation(self.rows)[: self.per_epoch * self.batch]
        sizes = self.data.sizes
        size = _CHUNK * self.batch
        chunks = [rows[k : k + size] for k in range(0, len(rows), size)]
        batches = np.concatenate([c[np.argsort(sizes[c], kind="stable")] for c in chunks]).reshape(
            -1, self.batch
        )
        order: NDArray[np.int64] = batches[rng.permutation(len(batches))]
        return order


def gather(data: QM9, rows: Sequence[int] | NDArray[np.int64]) -> PropertyBatch:
    """Molecules of QM9 as a batch with targets."""
    atoms = [slice(data.offset[k], data.offset[k + 1]) for k in rows]
    bonds = [data.bonds[data.bond_offset[k] : data.bond_offset[k + 1]] for k in rows]
    return make_batch(
        [data.numbers[a] for a in atoms],
        [data.formal_charges[a] for a in atoms],
        bonds,
        [data.positions_A[a] for a in atoms],
        data.props[rows],
    )


def set_scales(network: PropertyNet, data: QM9, rows: NDArray[np.int64]) -> None:
    """What the composition tells of each property, by least squares, and the spread of
    the rest. The dipole has no such part.
    """
    counts = np.stack(
        [np.add.reduceat(data.numbers == z, data.offset[:-1]) for z in ELEMENTS]
        + [np.ones(len(data))],
        axis=1,
    )
    composition, targets = counts[rows].astype(np.float64), data.props[rows]
    baseline = np.linalg.lstsq(composition, targets, rcond=None)[0]
    baseline[:, PROPERTIES.index("mu_D")] = 0.0
    spread = (targets - composition @ baseline).std(0)
    network.baseline.copy_(torch.from_numpy(baseline))
    network.spread.copy_(torch.from_numpy(spread))


def make_task(c: PropertyTraining, network: PropertyNet, _out: Path) -> Task:
    """What is trained; the float64 scales are in the card, since weights are stored in
    a shorter format.
    """
    data = load_qm9(c.data)
    rows, unseen = data.rows("train", c.half)[: c.limit], data.rows("val")[: c.limit]
    set_scales(network, data, rows)
    weights = torch.tensor([1.0 if name in USUAL else OTHERS for name in PROPERTIES], device="cpu")

    def loss(net: nn.Module, batch: PropertyBatch) -> Tensor:
        with short_products(batch.x.device, c.bfloat16):
            made = net(batch)
        if batch.targets is None:
            raise InputError("a training batch has no targets")
        wanted = (batch.targets - batch.composition @ network.baseline) / network.spread
        error: Tensor = ((made - wanted.float()).abs() * weights).mean()
        return error

    def finish(_: nn.Module) -> dict[str, Any]:
        errors = mean_errors(PropertyNetwork(network), data, data.rows("test")[: c.limit])
        task.summary["MAE"] = errors
        return {
            "quality": {"qm9-test/MAE": {name: round(value, 5) for name, value in errors.items()}}
        }

    card = {
        "family": "molecules",
        "task": "molecules-properties",
        "what": f"the twelve properties of QM9, from {len(rows)} molecules of half {c.half}",
        "config": dataclasses.asdict(network.config),
        "elements": [SYMBOLS[z] for z in ELEMENTS],
        "max_atoms": 29,
        "units": "A; the unit ends each property's name",
        "dtype": "float32",
        "scales": {"baseline": network.baseline.tolist(), "spread": network.spread.tolist()},
    }
    held_out = Batches(data, unseen, c.batch, c.seed) if len(unseen) else None
    batches = Batches(data, rows, c.batch, c.seed)
    task = Task(
        network, batches, loss, card, held_out, finish=finish, unsaved=("baseline", "spread")
    )
    return task


def mean_errors(
    network: PropertyNetwork, data: QM9, rows: Sequence[int] | NDArray[np.int64]
) -> dict[str, float]:
    """Mean absolute error of each property over these molecules."""
    made = network.predict([(data.molecule(int(k)), data.positions(int(k))) for k in rows])
    return {
        name: float(np.abs(made[name] - data.props[rows, k]).mean())
        for k, name in enumerate(PROPERTIES)
    }


run_training = training_of(PropertyTraining, make_task)
