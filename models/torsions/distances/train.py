"""`equidrift train torsions-all CONFIG`: the score network with all distances in view, on
MMFF94 ensembles of many molecules.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pydantic import Field

from equidrift.models.shared.config import Name, SplitTraining
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.run import Task, begun, training_of
from equidrift.models.shared.split import split
from equidrift.models.torsions.distances.data import Batches, load_all
from equidrift.models.torsions.distances.network import DistanceConfig, DistanceNetwork
from equidrift.models.torsions.distances.objective import distance_loss
from equidrift.records import SYMBOLS

TASK = "torsions-all"


class DistanceTraining(SplitTraining):
    """What a training YAML may say.

    Unknown keys are errors. `data` names .npz files of
    tools/pack_torsion_ensembles.py.

    Attributes
    ----------
    init : str or None
        Weights to go on from.
    molecules, rows : int
        Molecules in a batch, and noised conformers of each.
    held_out : float
        Share of the molecules that is not trained on.
    """

    name: Name = "my-torsions"
    init: str | None = None
    molecules: int = Field(default=8, ge=1)
    rows: int = Field(default=8, ge=1)

    def begin(self) -> DistanceNetwork:
        """The network, with the weights of `init` or random ones."""
        return begun(self, self.init, TASK, lambda sizes: DistanceNetwork(DistanceConfig(**sizes)))


def make_task(c: DistanceTraining, network: DistanceNetwork, _out: Path) -> Task:
    """What is trained. Raises `InputError` where there are no ensembles."""
    data = load_all(c.data)
    rows, held = split(data.smiles, c.held_out, c.seed)
    sizes = {"molecules": c.molecules, "rows": c.rows, "seed": c.seed}
    unseen = Batches(data.take(held), **sizes) if len(held) else None
    card = {
        "family": "torsions",
        "task": TASK,
        "what": "scores of noised torsions with all distances of heavy atoms in view, of "
        f"MMFF94 ensembles of {len(data)} molecules",
        "config": dataclasses.asdict(network.config),
        "elements": [SYMBOLS[z] for z in ELEMENTS],
        "max_atoms": 200,
        "units": "A, radians; energies over kT",
        "dtype": "float32",
    }
    return Task(
        network,
        Batches(data.take(rows), **sizes),
        distance_loss,
        card,
        unseen,
        summary={"molecules": len(data)},
    )


run_training = training_of(DistanceTraining, make_task)
