"""`equidrift train torsions CONFIG`: the transferable score network on thermal
ensembles of many molecules.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pydantic import Field

from equidrift.errors import InputError
from equidrift.models.shared.config import Name, SplitTraining
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.run import Task, begun, training_of
from equidrift.models.shared.split import split
from equidrift.models.torsions.data import Batches, FrameSet
from equidrift.models.torsions.network import NetworkConfig, TorsionNetwork
from equidrift.models.torsions.objective import torsion_loss
from equidrift.records import SYMBOLS


class TorsionTraining(SplitTraining):
    """What a training YAML may say.

    Unknown keys are errors. `data` names .npz files of tools/make_torsions.py, or
    folders of them.
    """

    name: Name = "my-torsions"
    init: str | None = None
    frames_per_batch: int = Field(default=32, ge=2)

    def begin(self) -> TorsionNetwork:
        """The network, with the weights of `init` or random ones."""
        return begun(
            self, self.init, "torsions", lambda sizes: TorsionNetwork(NetworkConfig(**sizes))
        )


def make_task(c: TorsionTraining, network: TorsionNetwork, _out: Path) -> Task:
    """What is trained. Raises `InputError` where there are no frames."""
    data = read_frames(c.data)
    rows, held = split(data.smiles, c.held_out, c.seed)
    unseen = (
        Batches(data.take(held), frames_per_batch=c.frames_per_batch, seed=c.seed)
        if len(held)
        else None
    )
    batches = Batches(data.take(rows), frames_per_batch=c.frames_per_batch, seed=c.seed)
    card = {
        "family": "torsions",
        "task": "torsions",
        "what": "scores of noised torsions given the frozen local geometry, "
        f"of {len(data)} molecules",
        "config": dataclasses.asdict(network.config),
        "elements": [SYMBOLS[z] for z in ELEMENTS],
        "max_atoms": 200,
        "units": "A, radians; energies over kT",
        "dtype": "float32",
    }
    return Task(network, batches, torsion_loss, card, unseen, summary={"molecules": len(data)})


def read_frames(names: list[str]) -> FrameSet:
    """The frames of files, and of all .npz files in folders.

    Raises `InputError` where there are none.
    """
    data = FrameSet()
    for name in names:
        paths = sorted(Path(name).glob("*.npz")) if Path(name).is_dir() else [Path(name)]
        for path in paths:
            data.load(path)
    if not len(data):
        raise InputError(
            f"no torsion frames in {', '.join(names)}; tools/make_torsions.py makes them"
        )
    return data


run_training = training_of(TorsionTraining, make_task)
