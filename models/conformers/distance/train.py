"""`equidrift train conformers CONFIG` with `task: distance`: the distance scores of
se3-distance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.conformers.distance.network import DistanceConfig, DistanceNetwork
from equidrift.models.conformers.distance.objective import (
    ConformerSet,
    DistanceBatch,
    denoising_loss,
    stratified_log_sigma,
)
from equidrift.models.conformers.distance.sampler import TASK, DistanceOptions
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.config import TrainingConfig, initial
from equidrift.models.shared.run import Task, own_random_state, training_of

SIGMA_MIN_A, SIGMA_MAX_A = 0.01, 10.0  # of the training; the sampler begins below
UNSEEN = 1 << 40  # the first step of held-out batches


class DistanceTraining(TrainingConfig):
    """What a training YAML with `task: distance` may say. Unknown keys are errors.

    `data` names a folder of shards that `tools/make_distance_data.py` wrote: gfn2*.npz
    and mmff_*.npz. `gfn2_share` is the share of the former in the draws. `held_out`
    names shards of molecules that are not trained on. `init` names weights to go on
    from.
    """

    schedule_defaults: ClassVar[dict[str, Any]] = {
        "warmup_steps": 300,
        "weight_decay": 1e-4,
        "hold": 0.0,
    }

    task: Literal["distance"]
    data: str
    held_out: list[str] = Field(default=[])
    gfn2_share: float = Field(default=0.3, ge=0, le=1)
    pairs_per_batch: int = Field(default=5000, ge=3)
    init: str | None = None

    def begin(self) -> DistanceNetwork:
        """The network: that of `init`, or one of random weights that depend on the seed
        alone.
        """
        if self.init is None:
            with own_random_state(self.seed):
                return DistanceNetwork(DistanceConfig(**self.network))
        state, card = initial(self.init, (TASK,), self.network)
        network = DistanceNetwork(DistanceConfig(**card["config"]))
        network.load_state_dict(state)
        return network


@dataclasses.dataclass(frozen=True)
class NoisyBatch(Batched):
    """Molecules of one size with their noise levels (B,) in A and standard normal noise
    (B, n, 3).
    """

    molecules: DistanceBatch
    sigma_A: Tensor
    noise: Tensor


class NoisyBatches:
    """batch(step): molecules of one size and their noise, of the step and the seed
    alone.
    """

    def __init__(self, data: ConformerSet, pairs: int, seed: int, first: int = 0):
        self.data, self.pairs, self.seed, self.first = data, pairs, seed, first

    def __call__(self, step: int) -> NoisyBatch:
        """Batch number `step` of an endless, seeded sequence."""
        rng = np.random.default_rng([self.seed, self.first + step])
        molecules = self.data.draw(rng, self.pairs)
        shape = molecules.positions_A.shape
        sigma = stratified_log_sigma(rng, shape[0], SIGMA_MIN_A, SIGMA_MAX_A)
        return NoisyBatch(
            molecules, sigma, torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        )


def make_task(c: DistanceTraining, network: DistanceNetwork, _out: Path) -> Task:
    """What is trained. Raises `InputError` where the folder holds no shard."""
    folder = Path(c.data)
    shards = [
        sorted(folder.glob("gfn2*.npz")),
        [path for path in sorted(folder.glob("mmff_*.npz")) if "part" not in path.name],
    ]
    if not any(shards):
        raise InputError(
            f"{c.data} holds no gfn2*.npz or mmff_*.npz; tools/make_distance_data.py writes them"
        )
    data = open_shards(shards, (c.gfn2_share, 1.0 - c.gfn2_share))
    batches = NoisyBatches(data, c.pairs_per_batch, c.seed)
    unseen = (
        NoisyBatches(
            open_shards([[Path(p) for p in c.held_out]], (1.0,)), c.pairs_per_batch, c.seed, UNSEEN
        )
        if c.held_out
        else None
    )
    return Task(
        network, batches, loss, card_of(network.config), unseen, summary={"conformers": len(data)}
    )


def open_shards(sources: Sequence[Sequence[Path]], shares: Sequence[float]) -> ConformerSet:
    """The conformers of some sources' files, each source with its share of the draws."""
    paths = [path for source in sources for path in source]
    return ConformerSet(
        paths, [which for which, source in enumerate(sources) for _ in source], shares
    )


def loss(network: nn.Module, batch: NoisyBatch) -> Tensor:
    """The denoising loss of a batch."""
    return denoising_loss(
        cast(DistanceNetwork, network), batch.molecules, batch.sigma_A, batch.noise
    )[0]


def card_of(sizes: DistanceConfig) -> dict[str, Any]:
    """What the card says beside what all cards say."""
    return {
        "family": "conformers",
        "task": TASK,
        "what": (
            "distance scores from a GeoDiff-type dual network, mapped to coordinates, "
            "reverse SDE (arXiv 2403.01430, system A)"
        ),
        "config": vars(sizes),
        "options": dataclasses.asdict(DistanceOptions()),
        "elements": ["H", "C", "N", "O", "F"],
        "max_atoms": 100,
        "units": {"positions": "A"},
    }


run_training = training_of(DistanceTraining, make_task)
