"""`equidrift train conformers CONFIG` with `task: points`: a distribution over sets of
labelled points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from equidrift.errors import InputError
from equidrift.models.conformers.points.network import PointNetwork, PointSizes
from equidrift.models.conformers.points.objective import PointData, batches_of, denoising_loss
from equidrift.models.conformers.points.sampler import about, points_card
from equidrift.models.conformers.points.skeletons import articulated_skeletons
from equidrift.models.shared.config import TrainingConfig
from equidrift.models.shared.run import Task, fresh, training_of

CPU = torch.device("cpu")


class PointWidths(BaseModel):
    """Sizes of the network, as `PointModel.fit` takes them."""

    model_config = ConfigDict(extra="forbid")

    hidden: int = Field(default=64, ge=4)
    layers: int = Field(default=4, ge=1)


class PointTraining(TrainingConfig):
    """What a training YAML with `task: points` may say. Unknown keys are errors.

    `data` is an .npz file with `points` (N, K, 3), or `system: skeletons` draws
    `count` articulated skeletons.
    """

    task: Literal["points"]
    data: str | None = None
    system: Literal["skeletons"] | None = None
    count: int = Field(default=10_000, ge=20)
    batch: int = Field(default=64, ge=1)

    @field_validator("network")
    @classmethod
    def _known_widths(cls, value: dict[str, Any]) -> dict[str, Any]:
        return PointWidths.model_validate(value).model_dump()

    @model_validator(mode="after")
    def _one_source(self) -> PointTraining:
        if (self.data is None) == (self.system is None):
            raise ValueError("give either data: FILE.npz or system: skeletons")
        return self


def points_of(path: str) -> NDArray[np.float64]:
    """The array `points` of an .npz file.

    Raises `InputError` where there is none.
    """
    try:
        with np.load(Path(path), allow_pickle=False) as archive:
            return np.asarray(archive["points"], np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"data: {path} cannot be read ({error}); give an .npz file with an array `points`, "
            "(N, K, 3)"
        ) from error


def make_task(c: PointTraining, _begun: None, _out: Path) -> Task:
    """What is trained. Raises `InputError` for data that cannot be used."""
    points = articulated_skeletons(c.count, c.seed) if c.data is None else points_of(c.data)
    data = PointData.of(points, c.seed)
    sizes = PointSizes(data.n_points, **c.network)
    network = fresh(lambda: PointNetwork(sizes, data.mean, data.spread), c.seed)
    card = points_card(sizes, data.radius, data.handedness) | {"what": about(sizes)}
    if c.data is None:
        card["units"] = "m"
    held_out = batches_of(data.held_out, c.batch, c.seed + 1, CPU) if len(data.held_out) else None
    return Task(
        network,
        batches_of(data.train, c.batch, c.seed, CPU),
        denoising_loss,
        card,
        held_out,
        summary={"sets": len(points), "mirror_images_told_percent": 100 * data.handedness.told},
    )


run_training = training_of(PointTraining, make_task)
