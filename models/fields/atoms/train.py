"""`equidrift train fields CONFIG` with `kind: atoms`: fields on atoms, from a user's
arrays or from a system of `atom_data`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from equidrift.errors import InputError
from equidrift.files.data import data_given
from equidrift.models.fields.atoms.data import RMD17, UNSEEN, joined, qm9_charges, rmd17
from equidrift.models.fields.atoms.fit import FitOptions
from equidrift.models.fields.atoms.sampler import AtomFieldModel
from equidrift.models.shared.backbones.choice import Backbone
from equidrift.models.shared.config import (
    Name,
    TrainingConfig,
    check_run,
    config_errors,
    make_schedule,
)
from equidrift.models.shared.run import Kept, Request

# name -> (rank, quantity, unit)
SYSTEMS = {
    "rmd17-forces": ("vector", "forces", "eV/A"),
    "rmd17-virial": ("tensor", "virial", "eV"),
    "qm9-charges": ("scalar", "charges", "e"),
}
QM9_TRAIN, QM9_VALIDATION = 2000, 150


class AtomTraining(TrainingConfig):
    """What a training YAML with `kind: atoms` may say. Unknown keys are errors.

    `data` is an .npz file: numbers (n,) or (F, n) with 0 for padding, positions_A (F,
    n, 3), values (F, n), (F, n, 3) or (F, n, 3, 3) with NaN where not known. `system`
    is one of `SYSTEMS`, read from the folder EQUIDRIFT_DATA.
    """

    kind: str = Field(pattern="^atoms$")
    data: str | None = None
    system: str | None = None
    rank: str = Field(default="vector", pattern="^(scalar|vector|tensor)$")
    quantity: str = "field"
    unit: str = ""
    balanced: bool | None = None
    sizes: dict[str, Any] = Field(default={})
    backbone: Backbone | None = None
    score_schedule: dict[str, Any] = Field(default={})
    batch: int = Field(default=16, ge=1)
    folds: int = Field(default=0, ge=0)  # fits for intervals of molecules not trained on
    name: Name = "my-atom-field"

    @model_validator(mode="after")
    def _one_source(self) -> AtomTraining:
        if self.network:
            raise ValueError("network: fields on atoms take their sizes from `sizes`")
        if (self.data is None) == (self.system is None):
            raise ValueError("give either data: FILE.npz or system: NAME")
        if self.system is not None and self.system not in SYSTEMS:
            raise ValueError(f"unknown system {self.system!r}; known are {', '.join(SYSTEMS)}")
        return self


def train_atoms(request: Request) -> dict[str, Any]:
    """Fit mean and kernel, calibrate them, train the score's network, write
    `out/NAME.safetensors` with its card.

    Errors as `fields.train.train_points`; the budget is shared by the two trainings.
    """
    with config_errors():
        c = AtomTraining.model_validate(request.config)
        make_schedule(c.schedule)
        make_schedule(c.score_schedule)
    steps = (
        c.schedule.get("steps")
        if c.sizes.get("score_layers") == 0 or "steps" in c.score_schedule
        else None
    )
    budget_s = check_run(request.out / "limit", request.budget_s, steps, request.resume)
    with config_errors():
        model = _fitted(c, budget_s, request.how)
    path = model.save(
        request.out / f"{c.name}.safetensors", licence=c.licence, training_data=c.training_data
    )
    return {"weights": str(path), **model.record}


def _fitted(c: AtomTraining, budget_s: float, how: Kept) -> AtomFieldModel:
    """The model of a config; `how` are the trainer's out, resume and progress."""
    trunk = {"backbone": c.backbone} if c.backbone is not None else {}
    own: dict[str, Any] = {"balanced": c.balanced, "config": c.sizes | trunk, "batch": c.batch}
    own |= {"folds": c.folds}
    own |= {"schedule": c.schedule, "score_schedule": c.score_schedule, "seed": c.seed}
    if c.system is not None:
        train, validation = read_system(c.system)
        options = FitOptions(*SYSTEMS[c.system], **own)
        return AtomFieldModel.fit_fields(train, validation, options, budget_s, **how)
    numbers, positions, values = read_arrays(Path(c.data or ""))
    own |= {"rank": c.rank, "quantity": c.quantity, "unit": c.unit}
    return AtomFieldModel.fit(numbers, positions, values, budget_s=budget_s, **own, **how)


def read_system(system: str) -> tuple[Any, Any]:
    """Training and validation fields of a system; of rMD17 one molecule, `UNSEEN`, is
    left out.
    """
    folder = data_given()
    if folder is None:
        raise InputError(
            f"system {system} is read from a folder that the environment variable EQUIDRIFT_DATA "
            "names; it is not set"
        )
    if system == "qm9-charges":
        return qm9_charges(folder, "train", QM9_TRAIN), qm9_charges(
            folder, "validation", QM9_VALIDATION
        )
    molecules, what = [m for m in RMD17 if m != UNSEEN], system.partition("-")[2]
    train, validation = (
        joined([rmd17(folder, m, split, what) for m in molecules])
        for split in ("train", "validation")
    )
    return train, validation


def read_arrays(path: Path) -> tuple[Any, Any, Any]:
    """A user's arrays without their padding."""
    try:
        with np.load(path, allow_pickle=False) as file:
            numbers, positions, values = file["numbers"], file["positions_A"], file["values"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"data must be an .npz file with arrays numbers, positions_A and values, {path} is "
            f"not: {error}"
        ) from error
    if (
        positions.ndim != 3
        or len(values) != len(positions)
        or numbers.shape not in (positions.shape[:2], positions.shape[1:2])
    ):
        raise InputError(
            "data must hold numbers (n,) or (F, n), positions_A (F, n, 3) and values (F, n, "
            f"...), not shapes {numbers.shape}, "
            f"{positions.shape} and {values.shape}"
        )
    rows = np.broadcast_to(numbers, positions.shape[:2])
    return (
        [z[z > 0] for z in rows],
        [x[z > 0] for x, z in zip(positions, rows, strict=True)],
        [y[z > 0] for y, z in zip(values, rows, strict=True)],
    )
