"""`equidrift train molecules CONFIG` for `model: joint-drug`: drug-size molecules.

The network and its loss are those of the joint model, for another alphabet. Three
things differ: a batch holds molecules of nearly one size, so that little of it is
padding; bonds count as many times as there are pairs for a token, so that each variable
counts alike, as in the model of QM9; and the signal-to-noise ratio that weighs the
places is clamped as in EQGAT-diff (Le et al., ICLR 2024, doi:10.48550/arXiv.2309.17296,
section 3), which spares a network of this size the last hundredths of an angstrom:
those are the refiner's.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.molecules.joint.additive import Additive
from equidrift.models.molecules.joint.alphabet import DRUG_TOKENS
from equidrift.models.molecules.joint.data import property_scale
from equidrift.models.molecules.joint.drugs import Conformers, DrugSet
from equidrift.models.molecules.joint.network import JointConfig, JointNetwork
from equidrift.models.molecules.joint.objective import Batches, Example, Weights, joint_loss
from equidrift.models.shared.config import Name, TrainingConfig
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.run import Task, fresh, training_of
from equidrift.records import SYMBOLS
from equidrift.weights import load_weights

WINDOW = 16  # batches whose molecules are sorted by size before they are cut apart
FITTED = 8192  # molecules that the additive estimate of properties is fitted to


class DrugTraining(TrainingConfig):
    """What a training YAML may say. Unknown keys are errors.

    data : file of `tools/make_drug_molecules.py`.
    init : a joint model, of either alphabet, by name or path, whose layers are taken
        over where their shapes are the same.
    signal : limits of the signal-to-noise ratio that weighs the places, in 1/A^2.
    bond_weight : what bonds count against types.
    """

    name: Name = "my-drugs"
    data: str
    init: str | None = None
    batch: int = Field(default=32, ge=2)
    signal: tuple[float, float] = (0.05, 1.5)
    bond_weight: float = Field(default=11.0, gt=0)
    half_precision: bool = True

    def begin(self) -> JointNetwork:
        """The network, with random weights, or those of `init` where they fit."""
        sizes = JointConfig(**{**self.network, "alphabet": DRUG_TOKENS.name})
        network = fresh(lambda: JointNetwork(sizes), self.seed)
        if self.init is not None:
            take_over(network, self.init)
        return network


class SizedBatches(Batches):
    """Batches of molecules of nearly one size."""

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The rows of one epoch: sorted by size within `WINDOW` batches, the batches
        shuffled.
        """
        rows = rng.permutation(self.rows)[: self.epochs_steps * self.size]
        sizes = self.sizes[rows]
        window = np.arange(len(rows)) // (WINDOW * self.size)
        batches = rows[np.lexsort((sizes, window))].reshape(-1, self.size)
        order: NDArray[np.int64] = batches[rng.permutation(len(batches))].ravel()
        return order

    @property
    def epochs_steps(self) -> int:
        """Batches of an epoch."""
        return len(self.rows) // self.size

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Tokens of each row."""
        data = self.data
        if not isinstance(data, Conformers):
            raise InputError("batches by size are made of conformers of drug-size molecules")
        return data.sizes


def take_over(network: JointNetwork, init: str) -> int:
    """Load the weights of a joint model into a network where name and shape agree; how
    many tensors did.

    Raises `InputError` for a model of another task, or where none agrees.
    """
    state, card = load_weights(init)
    if card.get("task") != "joint":
        raise InputError(f"init: {init} is a model for task {card.get('task')!r}, expected 'joint'")
    own = network.state_dict()
    fit = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape
    }
    if len(fit) < len(own) // 2:
        raise InputError(
            f"init: {init} is another network: {len(fit)} of {len(own)} tensors fit; take its "
            "sizes, or leave `init` out"
        )
    network.load_state_dict(fit, strict=False)
    return len(fit)


def make_task(c: DrugTraining, network: JointNetwork, _out: Path) -> Task:
    """What is trained. Raises `InputError` for data without a usable molecule."""
    drugs = DrugSet.load(c.data)
    data, unseen = (Conformers(drugs, part) for part in ("train", "val"))
    if len(data) < c.batch:
        raise InputError(
            f"{c.data} holds {len(data)} conformers to train on, less than one batch of {c.batch}"
        )
    props = torch.from_numpy(drugs.props[data.molecule[data.first_rows()]])
    mean, deviation = property_scale(props)
    weights = Weights(bonds=c.bond_weight, signal=c.signal)

    def batches(of: Conformers, size: int) -> SizedBatches:
        return SizedBatches(of, mean, deviation, size=size, seed=c.seed, alphabet=DRUG_TOKENS)

    def loss(model: nn.Module, example: Example) -> Tensor:
        with short_products(example.type_weight.device, c.half_precision):
            return joint_loss(model, example, weights)

    held_out = batches(unseen, c.batch) if len(unseen) >= 2 else None
    summary = {"molecules": len(data.first_rows()), "conformers": len(data)}
    card = card_of(network.config, data, mean, deviation)
    return Task(network, batches(data, c.batch), loss, card, held_out, summary=summary)


def card_of(
    config: JointConfig, data: Conformers, mean: Tensor, deviation: Tensor
) -> dict[str, Any]:
    """What the card says beside what all cards say."""
    rows = data.first_rows()
    fitted = data.take(rows[:FITTED])
    props = torch.from_numpy(data.drugs.props[data.molecule[rows]])
    numbers = torch.stack([mean, deviation, props.amin(0), props.amax(0)], dim=1).tolist()
    keys = ("mean", "deviation", "least", "greatest")
    sizes = np.bincount(data.sizes[rows] - 1, minlength=DRUG_TOKENS.most_heavy) / len(rows)
    hydrogens = np.add.reduceat(data.drugs.kinds[:, 2].astype(np.int64), data.drugs.offset[:-1])
    atoms = hydrogens[data.molecule[rows]] + data.sizes[rows]
    return {
        "family": "molecules",
        "task": "joint",
        "what": "draws elements, charges, hydrogens, bonds and coordinates of the heavy atoms "
        "of drug-size molecules together",
        "config": dataclasses.asdict(config),
        "properties": {
            name: dict(zip(keys, row, strict=True))
            for name, row in zip(DRUG_TOKENS.properties, numbers, strict=True)
        },
        "additive": Additive.fit(fitted, mean, deviation, DRUG_TOKENS).card(),
        "sizes": sizes.tolist(),
        "level": "MMFF94",
        "refine_level": "GFN2-xTB",
        "elements": sorted({SYMBOLS[z] for z in DRUG_TOKENS.elements} | {"H"}),
        "max_atoms": int(atoms.max()),
        "units": "A",
        "dtype": "bfloat16",
    }


run_training = training_of(DrugTraining, make_task)
