"""`equidrift train conformer-energy CONFIG`: the energy whose gradient relaxes
conformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from torch import nn

from equidrift.errors import InputError
from equidrift.models.conformers.energy.data import PathSet, load_all
from equidrift.models.conformers.energy.layers import EnergyConfig
from equidrift.models.conformers.energy.network import EnergyNetwork
from equidrift.models.conformers.energy.objective import Batches, energy_loss, relative_errors
from equidrift.models.shared.backbones.choice import Backbone
from equidrift.models.shared.config import SplitTraining
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.run import Task, begun, own_random_state, training_of
from equidrift.models.shared.split import split
from equidrift.records import SYMBOLS
from equidrift.weights import load_weights

TASK = "energy"
FEWEST_MOLECULES = 100  # of the training data, for an element to be claimed


class EnergyTraining(SplitTraining):
    """What a training YAML may say. Unknown keys are errors.

    `data` names .npz files that `tools/pack_paths.py` wrote. `reference` is the force
    field whose energy the network's is added to at zero noise. `validation` names files
    of paths that tell the loss before and after; without it, a share `held_out` of the
    molecules does. `noise_share` of the batches are at a noise level. `backbone` names a
    trunk of the symmetry kit that stands in the place of neighbourhoods. `init` names
    weights to go on from, a shipped model or a path: the new card claims its elements,
    too.
    """

    init: str | None = None
    validation: list[str] = Field(default=[])
    reference: Literal["MMFF94", "none"] = "MMFF94"
    noise_share: float = Field(default=0.1, ge=0, lt=1)
    paths_per_batch: int = Field(default=8, ge=1)
    frames_per_path: int = Field(default=12, ge=2)
    backbone: Backbone | None = None

    def begin(self) -> EnergyNetwork:
        """The network, with the weights of `init`, or random ones that depend on the seed
        alone.
        """
        if self.init:
            return begun(self, self.init, TASK, self._going_on)
        trunk = {} if self.backbone is None else {"backbone": self.backbone}
        with own_random_state(self.seed):
            return EnergyNetwork(EnergyConfig(**(self.network | trunk)))

    def _going_on(self, config: Mapping[str, Any]) -> EnergyNetwork:
        """The network of a card's `config`; InputError if it has another reference, or
        another trunk than the one asked for.
        """
        if config["reference"] != self.reference:
            raise InputError(
                f"init: {self.init} has the reference {config['reference']}, not {self.reference}"
            )
        if self.backbone not in (None, config.get("backbone")):
            trunk = config.get("backbone") or "neighbourhoods"
            raise InputError(f"init: {self.init} has the trunk {trunk}, not {self.backbone}")
        return EnergyNetwork(EnergyConfig.of_card(config))


def make_task(c: EnergyTraining, network: EnergyNetwork, _out: Path) -> Task:
    """What is trained. Raises `InputError` for data without a path."""
    data = load_all(c.data)
    if c.validation:
        unseen, rows = load_all(c.validation), np.arange(len(data))
    else:
        rows, held = split([path.molecule for path in data.paths], c.held_out, c.seed)
        unseen = data.take(held)
    held_out = make_batches(c, unseen, 0.0) if len(unseen) else None

    def finish(trained: nn.Module) -> dict[str, Any]:
        if held_out is None:
            return {}
        return {
            "quality": {
                "held-out paths": {**relative_errors(trained, held_out), "paths": len(unseen)}
            }
        }

    summary = {"molecules": len(data.graphs), "paths": len(data)}
    batches = make_batches(c, data.take(rows), c.noise_share)
    return Task(
        network,
        batches,
        energy_loss,
        card_of(c, network.config, data),
        held_out,
        summary=summary,
        finish=finish,
    )


def make_batches(c: EnergyTraining, data: PathSet, noise_share: float) -> Batches:
    """Batches of some paths, with this share of them at a noise level."""
    sizes = {"paths": c.paths_per_batch, "frames": c.frames_per_path}
    return Batches(
        data, **sizes, noise_share=noise_share, reference=c.reference == "MMFF94", seed=c.seed
    )


def molecules_with(data: PathSet) -> dict[str, int]:
    """How many of the training molecules hold each element."""
    held = np.zeros(len(ELEMENTS) + 1, int)
    for graph in data.graphs:
        held[np.unique(graph.atom[:, 0])] += 1
    return {SYMBOLS[z]: int(count) for z, count in zip(ELEMENTS, held[1:], strict=True)}


def card_of(c: EnergyTraining, sizes: EnergyConfig, data: PathSet) -> dict[str, Any]:
    """What the card says beside what all cards say; it claims elements that at least
    `FEWEST_MOLECULES` molecules hold, those of `init` among them.
    """
    counts = molecules_with(data)
    if c.init:
        before = load_weights(c.init)[1].get("training_molecules_per_element", {})
        counts = {symbol: count + before.get(symbol, 0) for symbol, count in counts.items()}
    return {
        "family": "conformers",
        "task": TASK,
        "what": "energy whose gradient relaxes conformers towards GFN2-xTB minima",
        "config": {**dataclasses.asdict(sizes), "reference": c.reference},
        "elements": [symbol for symbol, count in counts.items() if count >= FEWEST_MOLECULES],
        "training_molecules_per_element": counts,
        "max_atoms": 200,
        "units": "A, eV",
        "dtype": "bfloat16",
    }


run_training = training_of(EnergyTraining, make_task)
