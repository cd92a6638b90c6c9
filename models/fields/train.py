"""`equidrift train fields CONFIG`: a distribution over functions, from a user's arrays
or from a system of arXiv:2307.05431.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import Field, model_validator
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.fields.atoms.train import train_atoms
from equidrift.models.fields.functions.data import (
    GAUSSIAN,
    SYSTEMS_1D,
    SYSTEMS_2D,
    Functions,
    true_kernel,
)
from equidrift.models.fields.functions.kernels import Kernel, make_kernel
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.shared.config import Name, TrainingConfig, check_run, config_errors
from equidrift.models.shared.run import Kept, Request, either, entry

UNSEEN = 1 << 29  # the first batch of a system that no training comes to
KERNEL_FUNCTIONS = 512  # of a system, for the fit of the limiting kernel


class FieldTraining(TrainingConfig):
    """What a training YAML may say. Unknown keys are errors.

    `data` is an .npz file with x, y and, if values are missing, mask, shaped as
    `FieldModel.fit` takes them; `system` draws fresh functions for each batch instead,
    each at 1 to `points` points (60, or 110 of a sawtooth or mixture); `pool` draws that
    many functions once instead, and `augment` turns and mirrors those of the plane.
    `limit_length` is the length of a limit that is named; `limit: generator` is the
    kernel that a system is drawn from.
    `limit`, `base` and `network` are those of `FieldModel.fit` (`network` may hold sizes,
    such as `{width: 48, layers: 4}`); `start` names weights
    whose network, of the same sizes, training starts from. With `kind: atoms` it is
    `atoms.train.AtomTraining` that says it.
    """

    kind: str = Field(default="points", pattern="^points$")
    data: str | None = None
    system: str | None = None
    vector: bool = False
    limit: str = "fitted"
    limit_length: float | None = Field(default=None, gt=0)
    base: Literal["limit", "experts"] = "limit"
    start: str | None = None
    network: Literal["auto", "none"] | dict[str, Any] = "auto"  # type: ignore[assignment]
    name: Name = "my-field"
    batch: int = Field(default=32, ge=1)
    functions: int = Field(default=KERNEL_FUNCTIONS, ge=2)
    points: int | None = Field(default=None, ge=2)
    pool: int | None = Field(default=None, ge=2)
    augment: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> FieldTraining:
        if (self.data is None) == (self.system is None):
            raise ValueError("give either data: FILE.npz or system: NAME")
        if self.system is not None and self.system not in SYSTEMS_1D + SYSTEMS_2D:
            raise ValueError(
                f"unknown system {self.system!r}; known are {', '.join(SYSTEMS_1D + SYSTEMS_2D)}"
            )
        if self.system is None and (self.pool is not None or self.augment):
            raise ValueError("pool and augment are for a system; data are learnt from as they are")
        if self.augment and self.system not in SYSTEMS_2D:
            raise ValueError(f"augment turns functions of {', '.join(SYSTEMS_2D)}")
        if self.limit == "generator" and self.system not in GAUSSIAN:
            raise ValueError(f"limit: generator is for {', '.join(GAUSSIAN)}")
        if self.limit_length is not None and self.limit in ("fitted", "generator", "white"):
            raise ValueError(f"limit_length: the limit {self.limit} has no length to be set")
        return self

    def kernel(self) -> str | Kernel:
        """The limiting kernel, or its name where the data tell its sizes."""
        if self.limit == "generator":
            return true_kernel(self.system or "")
        if self.limit_length is None:
            return self.limit
        components = 2 if self.system in SYSTEMS_2D else 1
        return make_kernel(self.limit, components, length=self.limit_length)


def train_points(request: Request) -> dict[str, Any]:
    """Fit the limiting kernel, train the network by a time budget, write
    `out/NAME.safetensors` with its card.

    What is raised, as `shared.run.train`; `InputError` too for data that cannot be read.
    """
    with config_errors():
        c = FieldTraining.model_validate(request.config)
        schedule = c.make_schedule()
    steps = 0 if c.network == "none" else schedule.steps
    budget_s = check_run(request.out, request.budget_s, steps, request.resume)
    with config_errors():
        model, count = _fitted(c, budget_s, request.how)
    path = model.save(
        request.out / f"{c.name}.safetensors",
        licence=c.licence,
        training_data=c.training_data,
        description=_describe(c, model),
    )
    return {"weights": str(path), "functions": count, **model.record}


def _fitted(c: FieldTraining, budget_s: float, how: Kept) -> tuple[FieldModel, int]:
    """The model, and how many functions its limiting kernel was fitted to; `how` are the
    trainer's out, resume and progress.
    """
    vector = c.vector or c.system in SYSTEMS_2D
    options: dict[str, Any] = {"vector": vector, "limit": c.kernel(), "base": c.base}
    options |= {"start": c.start, "network": c.network, "seed": c.seed}
    if c.system is None:
        x, y, mask = _arrays(Path(c.data or ""))
        options |= {"schedule": c.schedule, "batch": c.batch, **how}
        model = FieldModel.fit(x, y, mask=mask, budget_s=budget_s, **options)
        return model, len(np.asarray(y))
    x, y, mask = _drawn(c, c.system)
    model = FieldModel.fit(x, y, mask=mask, budget_s=0.0, **options)
    if model.networked:
        batches = _standard(_source(c, c.system, c.pool), model)
        fresh = _standard(_source(c, c.system, None), model)
        unseen = lambda step: fresh(UNSEEN + step)  # noqa: E731
        model.train(batches, budget_s, c.schedule, seed=c.seed, held_out=unseen, **how)
    return model, len(np.asarray(y))


def _describe(c: FieldTraining, model: FieldModel) -> str:
    what = "vector fields" if model.components > 1 else "functions"
    reference = "a learned mixture of GPs" if c.base == "experts" else f"a GP ({c.limit})"
    source = f"distribution over {what} ({c.system or 'user data'}): {reference}"
    if not model.networked:
        return source
    steps, samples = model.record["steps"], model.record["samples"]
    return f"{source} and a network trained for {steps} steps on {samples} functions"


def _source(c: FieldTraining, system: str, pool: int | None) -> Functions:
    return Functions(system, c.batch, c.seed, c.points, pool=pool, turns=c.augment)


def _drawn(c: FieldTraining, system: str) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """Functions that the limiting kernel is fitted to: of the pool, where there is one."""
    points = 100 if system in SYSTEMS_2D else None
    if c.pool is not None:
        x, y = (part[: c.functions] for part in _source(c, system, c.pool).pooled)
        everywhere = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return x.double().numpy(), y.double().numpy(), everywhere.numpy()
    x, y, mask = Functions(system, c.functions, c.seed, points)(
        1 << 30
    )  # a batch that no step of the training sees
    if points is not None:
        mask = torch.ones_like(
            mask
        )  # short distances, which tell the noise from the field, are rare in the plane
    return x.double().numpy(), y.double().numpy(), mask.numpy()


def _standard(
    source: Functions, model: FieldModel
) -> Callable[[int], tuple[Tensor, Tensor, Tensor]]:
    def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        x, y, mask = source(step)
        return x, (y - model.centre) / model.scale * mask[..., None], mask

    return batch


def _arrays(path: Path) -> tuple[ArrayLike, ArrayLike, ArrayLike | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["x"], file["y"], file["mask"] if "mask" in file.files else None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"data must be an .npz file with arrays x and y (and mask), {path} is not: {error}"
        ) from error


run_training = either("kind", {"atoms": entry(train_atoms)}, entry(train_points))
