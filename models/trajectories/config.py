"""What a trajectory training may say, and what each kind of model makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from torch import nn

from equidrift.models.shared.backbones.choice import Backbone
from equidrift.models.shared.config import Name, SplitTraining
from equidrift.models.shared.trainer import Batches, Loss
from equidrift.models.trajectories.graphs import MD_LEVELS
from equidrift.weights import find, read_card


class TrajectoryTraining(SplitTraining):
    """What a training YAML may say. Unknown keys are errors."""

    kind: Literal["integrator", "flow", "geotdm", "egnn", "modes"] = "integrator"
    backbone: Backbone | None = None  # of `kind: egnn`
    topology: str | None = None
    level: str = "MMFF94"
    temperature_K: float = Field(default=300.0, gt=0)
    friction_per_fs: float = Field(default=0.0, ge=0)
    dt_fs: float | None = Field(default=None, gt=0)
    leave_out: str | None = None
    share: tuple[float, float] = (0.0, 1.0)
    trajectories: int = Field(default=3000, ge=2)
    stride: int = Field(default=10, ge=1)
    spacing_fs: float | None = Field(default=None, gt=0)  # of windows of molecules, for `stride`
    prior_weights: str = ""  # of `options: {prior: integrator}`; "" takes the shipped integrator
    frames: int = Field(default=30, ge=2)
    given: Literal["forecast", "any", "none"] = "any"
    context: int = Field(default=10, ge=1)
    learn: Literal["force", "field"] = "force"
    constants: str | None = None
    constants_steps: int = Field(default=1500, ge=0)
    name: Name = "my-trajectory-model"
    init: str | None = None
    options: dict[str, Any] = Field(default={})
    pairs_per_batch: int = Field(default=16000, ge=16)
    interpolate_steps: int = Field(default=600, ge=0)
    horizon: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _known_backbone(self) -> TrajectoryTraining:
        if self.backbone is not None and self.kind != "egnn":
            raise ValueError(f"backbone: kind {self.kind} has its own network; give kind: egnn")
        return self

    @field_validator("level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value not in MD_LEVELS:
            raise ValueError(f"unknown level of theory {value!r}; known are {', '.join(MD_LEVELS)}")
        return value


@dataclasses.dataclass
class Plan:
    """What one kind of model brings to a training: the card's `config`, batches, loss,
    and what the card says of the data.
    """

    config: dict[str, Any]
    batch: Batches
    loss: Loss
    training: dict[str, Any]
    prepare: Callable[[nn.Module], None] = lambda _: None
    finish: Callable[[nn.Module], dict[str, Any]] = (
        lambda _: {}
    )  # what the trained network adds to `config`
    held_out: Batches | None = None


def moves_along(c: TrajectoryTraining) -> bool:
    """Whether a new network works in the frame of reference of what it is given, unless
    the config says so itself: as the one it begins with does, if there is one.
    """
    if c.init is None:
        return True
    return bool(read_card(find(c.init))["config"].get("comoving", False))
