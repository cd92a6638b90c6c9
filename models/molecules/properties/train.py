"""`equidrift train molecules` with `model: properties`: the network that judges properties, on half b of QM9's training part."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
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
from equidrift.models.shared.training import Progress, Trainer, check_run, config_errors, make_schedule
from equidrift.records import SYMBOLS
from equidrift.weights import save_weights

OTHERS = 0.25  # weight in the loss of a property that is not among the usual six
_CHUNK = 32  # batches that are sorted by size together, so that little is padding


class TrainingConfig(BaseModel):
    """What a training YAML may say. Unknown keys are errors. `data` is a file of `tools/make_molecules.py`, `half` the part to train on."""

    model_config = ConfigDict(extra="forbid")

    data: str | None = None
    half: Literal["a", "b"] = "b"
    name: str = Field(default="my-properties", pattern=r"^[\w.+-]+$")
    network: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    batch: int = Field(default=64, ge=2)
    limit: int | None = Field(default=None, ge=2)
    bfloat16: bool = True
    seed: int = Field(default=0, ge=0)
    licence: str = "MIT"
    training_data: str = "half b of QM9's training part (crc32 of the SMILES), B3LYP/6-31G(2df,p)"


class Batches:
    """batch(step): molecules of similar size, in an order that depends on the step and the seed alone."""

    def __init__(self, data: QM9, rows: NDArray[np.int64], batch: int, seed: int) -> None:
        self.data, self.rows, self.batch, self.seed = data, rows, min(batch, len(rows)), seed
        self.per_epoch = max(1, len(rows) // self.batch)
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __call__(self, step: int) -> PropertyBatch:
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(np.random.default_rng((self.seed, epoch)))
        return gather(self.data, self._order[place])

    def _shuffled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(per_epoch, batch) rows: shuffled, then sorted by size within every `_CHUNK` batches, whose order is shuffled again."""
        rows = rng.permutation(self.rows)[: self.per_epoch * self.batch]
        sizes = self.data.sizes
        size = _CHUNK * self.batch
        chunks = [rows[k : k + size] for k in range(0, len(rows), size)]
        batches = np.concatenate([c[np.argsort(sizes[c], kind="stable")] for c in chunks]).reshape(-1, self.batch)
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
    """What the composition tells of each property, by least squares, and the spread of the rest. The dipole has no such part."""
    counts = np.stack([np.add.reduceat(data.numbers == z, data.offset[:-1]) for z in ELEMENTS] + [np.ones(len(data))], axis=1)
    composition, targets = counts[rows].astype(np.float64), data.props[rows]
    baseline = np.linalg.lstsq(composition, targets, rcond=None)[0]
    baseline[:, PROPERTIES.index("mu_D")] = 0.0
    spread = (targets - composition @ baseline).std(0)
    network.baseline.copy_(torch.from_numpy(baseline))
    network.spread.copy_(torch.from_numpy(spread))


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train and write `out/NAME.safetensors` with its card; returns what was done.

    Parameters
    ----------
    config : the fields of `TrainingConfig`.
    out : folder of the checkpoint and of the result.
    budget_s : seconds of training in all, those before a resume included; None where `schedule` sets `steps`.
    resume : go on from the checkpoint in `out`.

    Raises
    ------
    InputError
        for a config that does not fit, missing data, or an output folder that holds a checkpoint when `resume` is not given.
    """
    with config_errors():
        c = TrainingConfig.model_validate(config)
        schedule = make_schedule(c.schedule, learning_rate=1e-3, hold=0.1)
        network = make_network(PropertyConfig(**c.network), c.seed)
    budget_s = check_run(out, budget_s, schedule.steps, resume)
    data = load_qm9(c.data)
    rows = data.rows("train", c.half)[: c.limit]
    set_scales(network, data, rows)
    unseen = data.rows("val")[: c.limit]
    held_out = Batches(data, unseen, c.batch, c.seed) if len(unseen) else None
    trainer = Trainer(network, schedule, out, held_out)
    if resume:
        trainer.resume()
    weights = torch.tensor([1.0 if name in USUAL else OTHERS for name in PROPERTIES])

    def loss(net: nn.Module, batch: PropertyBatch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=c.bfloat16):
            made = net(batch)
        if batch.targets is None:
            raise InputError("a training batch has no targets")
        wanted = (batch.targets - batch.composition @ network.baseline) / network.spread
        return ((made - wanted.float()).abs() * weights).mean()

    trainer.fit(Batches(data, rows, c.batch, c.seed), loss, budget_s, progress)
    trainer.network.load_state_dict(trainer.ema)
    errors = mean_errors(PropertyNetwork(network), data, data.rows("test")[: c.limit])
    card = make_card(c, network, trainer, len(rows), errors)
    kept = {key: value for key, value in trainer.ema.items() if key not in ("baseline", "spread")}
    path = save_weights(out / f"{c.name}.safetensors", kept, card)
    return {"weights": str(path), **trainer.summary(), "MAE": errors}


def mean_errors(network: PropertyNetwork, data: QM9, rows: Sequence[int] | NDArray[np.int64]) -> dict[str, float]:
    """Mean absolute error of each property over these molecules."""
    made = network.predict([(data.molecule(int(k)), data.positions(int(k))) for k in rows])
    return {name: float(np.abs(made[name] - data.props[rows, k]).mean()) for k, name in enumerate(PROPERTIES)}


def make_card(c: TrainingConfig, network: PropertyNet, trainer: Trainer, molecules: int, errors: dict[str, float]) -> dict[str, Any]:
    """The model card of a run; the float64 scales are in it, since weights are stored in a shorter format."""
    return {
        "name": c.name,
        "family": "molecules",
        "task": "molecules-properties",
        "description": f"the twelve properties of QM9; {trainer.step} steps on {molecules} molecules of half {c.half}",
        "config": dataclasses.asdict(network.config),
        "elements": [SYMBOLS[z] for z in ELEMENTS],
        "max_atoms": 29,
        "units": "A; the unit ends each property's name",
        "dtype": "float32",
        "licence": c.licence,
        "training_data": c.training_data,
        "scales": {"baseline": network.baseline.tolist(), "spread": network.spread.tolist()},
        "quality": {"qm9-test/MAE": {name: round(value, 5) for name, value in errors.items()}},
        **trainer.card(),
    }
