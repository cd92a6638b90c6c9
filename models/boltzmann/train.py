"""`equidrift train boltzmann CONFIG`: a Boltzmann generator of the user's own molecule, from frames of its own dynamics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.boltzmann.data import Batches, Frames, chart_data, soft_torsions
from equidrift.models.boltzmann.network import BoltzmannFlow, FlowConfig
from equidrift.models.boltzmann.objective import Batch, likelihood_loss, path_loss
from equidrift.models.boltzmann.sampler import BoltzmannGenerator, load_boltzmann
from equidrift.models.shared.training import (
    HELD_OUT,
    Names,
    Progress,
    Schedule,
    Trainer,
    check_run,
    config_errors,
    make_schedule,
)
from equidrift.records import SYMBOLS
from equidrift.units import BOLTZMANN_EV_PER_K
from equidrift.weights import save_weights

LEAST_FRAMES = 10  # that are held out; of fewer the loss says nothing


class TrainingConfig(BaseModel):
    """What a training YAML may say. Unknown keys are errors.

    `data` names .npz files (`Frames.load`) of one molecule at one temperature; `shares` is how much of every batch each gives (all alike
    if left out) and `importance` what its frames count in the likelihood: a run confined to a rare basin has a large share and an
    importance of (population of the basin) / share. After `likelihood_steps` the torsions' density p(s) stays as it is (measured on alanine
    dipeptide: 6,000 frames are overfitted after a few thousand steps), unless `likelihood` > 0, and the rest goes on by path gradients,
    which need forces.
    """

    model_config = ConfigDict(extra="forbid")

    data: Names
    name: str = Field(default="my-boltzmann", pattern=r"^[\w.+-]+$")
    shares: list[float] = []
    importance: list[float] = []
    temperature_K: float | None = Field(default=None, gt=0)
    network: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    batch: int = Field(default=256, ge=2)
    copies: int = Field(default=3, ge=1)
    likelihood_steps: int = Field(default=400, ge=0)
    likelihood: float = Field(default=0.0, ge=0)
    held_out: float = Field(default=HELD_OUT, ge=0, lt=0.5)
    seed: int = Field(default=0, ge=0)
    description: str = ""
    licence: str = "as the training data's owner decides"
    training_data: str = "user data"


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train by a time budget and write `out/NAME.safetensors` with its card; returns what was done.

    Parameters
    ----------
    config : the fields of `TrainingConfig`.
    out : folder of the checkpoint and of the result.
    budget_s : seconds of training in all, those before a resume included; None where `schedule` sets `steps`.
    resume : go on from the checkpoint in `out`.

    Raises
    ------
    InputError
        for a config that does not fit, frames that do not fit each other, or an output folder that holds a checkpoint when `resume` is
        not given.
    """
    c, schedule, budget_s = _checked(config, out, budget_s, resume)
    options = {} if c.temperature_K is None else {"temperature_K": c.temperature_K}
    path, trainer, frames = _fit(c, schedule, [Frames.load(path, **options) for path in c.data], out, budget_s, resume, progress)
    done = {"weights": str(path), **trainer.summary()}
    return {**done, "frames": frames}


def fit(
    sets: Frames | Sequence[Frames],
    out: Path | str,
    *,
    budget_s: float | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> BoltzmannGenerator:
    """A generator of the molecule in these frames; as `run_training`, with its other `settings` by name."""
    sets = [sets] if isinstance(sets, Frames) else list(sets)
    c, schedule, budget_s = _checked({**settings, "data": ["frames"]}, Path(out), budget_s, resume)
    path, _, _ = _fit(c, schedule, sets, Path(out), budget_s, resume, progress)
    return load_boltzmann(path)


def _checked(config: dict[str, Any], out: Path, budget_s: float | None, resume: bool) -> tuple[TrainingConfig, Schedule, float]:
    """What was asked for and the seconds it may take, before any file is read."""
    with config_errors():
        c = TrainingConfig.model_validate(config)
        schedule = make_schedule(c.schedule, ema=0.995, warmup_steps=50)
    return c, schedule, check_run(out, budget_s, schedule.steps, resume)


def _fit(
    c: TrainingConfig,
    schedule: Schedule,
    sets: list[Frames],
    out: Path,
    budget_s: float,
    resume: bool,
    progress: Progress | None,
) -> tuple[Path, Trainer, int]:
    """The weights' path, the trainer behind them, and how many frames there were."""
    for name, values in (("shares", c.shares), ("importance", c.importance)):
        if values and (len(values) != len(sets) or min(values) <= 0):
            raise InputError(f"{name} must hold a positive number for each of the {len(sets)} data files, got {values}")
    sets, held = part_frames(sets, c.held_out)
    flow = make_flow(sets, c.seed, c.network)
    trainer = Trainer(flow, schedule, out, held_batches(flow, held, c), likelihood)
    if resume:
        trainer.resume()
    train(trainer, sets, c, budget_s, progress)
    path = save_weights(out / f"{c.name}.safetensors", trainer.ema, make_card(c, flow, sets, trainer))
    return path, trainer, sum(len(s.positions_A) for s in sets)


def part_frames(sets: Sequence[Frames], share: float) -> tuple[list[Frames], list[Frames]]:
    """Each set without its last frames, and these: neighbours in time are alike, so that a block is held out, not single frames."""
    kept, held = [], []
    for frames in sets:
        n = len(frames.positions_A)
        count = round(share * n)
        if count < LEAST_FRAMES:
            kept.append(frames)
            continue
        parts = []
        for rows in (slice(0, n - count), slice(n - count, n)):
            forces = None if frames.forces_eV_A is None else frames.forces_eV_A[rows]
            weights = None if frames.weights is None else frames.weights[rows]
            parts.append(dataclasses.replace(frames, positions_A=frames.positions_A[rows], forces_eV_A=forces, weights=weights))
        kept.append(parts[0])
        held.append(parts[1])
    return kept, held


def held_batches(flow: BoltzmannFlow, held: Sequence[Frames], c: TrainingConfig) -> Callable[[int], Batch] | None:
    """Batches of the frames that are not trained on."""
    if not held:
        return None
    kT_eV = BOLTZMANN_EV_PER_K * held[0].temperature_K
    plain = [dataclasses.replace(frames, forces_eV_A=None) for frames in held]
    rows = [(chart_data(flow, frames, kT_eV)[0], None, np.ones(len(frames.positions_A)), 1.0) for frames in plain]
    return Batches(rows, min(c.batch, sum(len(row[0]) for row in rows)), c.seed)


def likelihood(network: nn.Module, batch: Batch) -> Tensor:
    """The loss that held-out frames are told by: minus their log density in the chart."""
    return likelihood_loss(cast(BoltzmannFlow, network), batch)


def make_flow(sets: Sequence[Frames], seed: int = 0, network: dict[str, Any] | None = None) -> BoltzmannFlow:
    """The flow of a molecule, started as the normal distribution of its first set of frames; the user's random state is left alone.

    Raises
    ------
    InputError
        where the sets are not of one molecule and temperature, or `network` has an unknown key.
    """
    first = sets[0]
    for other in sets[1:]:
        if not np.array_equal(first.numbers, other.numbers) or first.temperature_K != other.temperature_K:
            raise InputError("the data files are of different molecules or temperatures; a Boltzmann generator is of one system")
    tree = first.tree()
    positions = np.concatenate([s.positions_A for s in sets])
    try:
        config = FlowConfig(**{**tree.to_dict(), "soft": soft_torsions(tree, positions), "seed": seed, **(network or {})})
    except TypeError as error:
        raise InputError(f"the network settings do not fit: {error}") from error
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        flow = BoltzmannFlow(config)
    flow.start_from(torch.as_tensor(np.asarray(first.positions_A, np.float64)))
    return flow


def train(trainer: Trainer, sets: Sequence[Frames], c: TrainingConfig, budget_s: float, progress: Progress | None = None) -> None:
    """Likelihood first, then path gradients where every set has forces."""
    flow, kT_eV = cast(BoltzmannFlow, trainer.network), BOLTZMANN_EV_PER_K * sets[0].temperature_K
    shares, importance = c.shares or [s.share for s in sets], c.importance or [1.0] * len(sets)
    chosen: list[tuple[Tensor, Tensor | None, Any, float]] = []
    for k, frames in enumerate(sets):
        y, score = chart_data(flow, frames, kT_eV, copies=c.copies, seed=c.seed + k)
        weights = np.ones(len(frames.positions_A)) if frames.weights is None else frames.weights / frames.weights.mean()
        chosen.append((y, score, weights * importance[k], shares[k]))
    batches = Batches(chosen, c.batch, c.seed)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        if trainer.step < c.likelihood_steps or batch.score is None:
            return likelihood_loss(cast(BoltzmannFlow, network), batch)
        return path_loss(cast(BoltzmannFlow, network), batch, c.likelihood)

    trainer.fit(batches, loss, budget_s, progress)


def make_card(c: TrainingConfig, flow: BoltzmannFlow, sets: Sequence[Frames], trainer: Trainer) -> dict[str, Any]:
    """The model card of a run."""
    frames = sum(len(s.positions_A) for s in sets)
    return {
        "name": c.name,
        "family": "boltzmann",
        "task": "boltzmann",
        "description": c.description or f"draws one molecule with an exact density; {trainer.step} steps on {frames} frames",
        "config": flow.config.to_dict(),
        "numbers": sets[0].numbers.tolist(),
        "bonds": sets[0].bonds.tolist(),
        "temperature_K": sets[0].temperature_K,
        "elements": sorted({SYMBOLS[z] for z in sets[0].numbers.tolist()}),
        "max_atoms": len(sets[0].numbers),
        "units": "A",
        "dtype": "float32",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
        **trainer.card(),
    }
