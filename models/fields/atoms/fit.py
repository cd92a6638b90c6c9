"""Fitting a field on atoms: mean and kernel by marginal likelihood, their calibration,
and the score's network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from equidrift.models.fields.atoms.data import AtomFields
from equidrift.models.fields.atoms.network import AtomKernel
from equidrift.models.fields.atoms.objective import random_subsets
from equidrift.models.fields.atoms.posterior import COVERAGES, SHARES, given_share, gp_posterior
from equidrift.models.fields.atoms.unseen import (
    UnseenWidth,
    compositions,
    folds_of,
    width_by_folds,
)
from equidrift.models.shared.config import make_schedule
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.run import fit
from equidrift.models.shared.trainer import Progress, Stepped, Trainer, stepped

if TYPE_CHECKING:
    from equidrift.models.fields.atoms.sampler import AtomFieldModel

BALANCED = 1e-3  # share of the values' size that a net value may have in a field without one
FULL_PRECISION = 0.3  # last share of the kernel's training that is run in float32
LIMIT_SHARE = 0.7  # of a time budget, for mean and kernel
NOISE, SUBSETS = 0x5EED, 0xA70  # salts of the seeds of noise and of subsets in training


@dataclass(frozen=True)
class FitOptions:
    """What is to be learned, and how; see `AtomFieldModel.fit`."""

    rank: str
    quantity: str = "field"
    unit: str = ""
    balanced: bool | None = None
    config: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    score_schedule: dict[str, Any] = field(default_factory=dict)
    batch: int = 16
    seed: int = 0
    folds: int = 0


@dataclass(frozen=True)
class FitRun:
    """Where and how both trainings of a model run."""

    folder: Path
    batch: int
    seed: int
    resume: bool
    progress: Progress | None


def train_both(
    model: AtomFieldModel,
    data: AtomFields,
    validation: AtomFields,
    options: FitOptions,
    budget_s: float,
    run: FitRun,
) -> None:
    """Train mean and kernel, calibrate them, then train the score's network."""
    if options.folds:
        folds_of(data, options.folds)  # what it cannot do, it says before the training
    alone = model.diffusion.gaussian
    share = 1.0 if alone else LIMIT_SHARE
    limit_s = budget_s * share / (1 + options.folds)  # each fold trains as long
    first = train_limit(model, data, options.schedule, limit_s, run, validation)
    calibrate(model, validation)
    if options.folds:
        model.unseen = unseen_width(type(model), options, run, limit_s, data, validation)
    model.record, model.training = first.summary(), first.card()
    if alone:
        return
    second = train_score(model, data, options.score_schedule, budget_s * (1 - share), run)
    minutes = (first.seconds + second.seconds) / 60
    model.record |= {"score_steps": second.step, "minutes": minutes}
    model.training["trained"]["score_steps"] = second.step
    model.training["run"]["minutes"] = round(minutes, 2)


def unseen_width(
    kind: type[AtomFieldModel],
    options: FitOptions,
    run: FitRun,
    budget_s: float,
    data: AtomFields,
    validation: AtomFields,
) -> UnseenWidth:
    """How wide molecules are that were not trained on, by `options.folds` fits of
    `budget_s` seconds each.
    """
    config = options.config | {"score_layers": 0}

    def fitted(part: AtomFields, fold: int) -> AtomFieldModel:
        own = replace(options, config=config, seed=options.seed + 1 + fold)
        one = kind.unfitted(part, own)
        here = replace(run, folder=run.folder / f"fold-{fold}", seed=own.seed)
        train_limit(one, part, options.schedule, budget_s, here)
        names = set(compositions(part))
        alike = torch.tensor(
            [name in names for name in compositions(validation)], device=validation.x.device
        )
        if alike.any():
            calibrate(one, validation[alike])
        return one

    return width_by_folds(fitted, data, options.folds, options.seed)


def train_limit(
    model: AtomFieldModel,
    data: AtomFields,
    schedule: dict[str, Any],
    budget_s: float,
    run: FitRun,
    held_out: AtomFields | None = None,
) -> Trainer:
    """Fit mean and kernel by marginal likelihood, with fresh noise of the kernel's
    white part on the values.
    """
    kernel: AtomKernel = model.diffusion.kernel  # type: ignore[assignment]
    generator = torch.Generator()

    def surprise(network: nn.Module, part: AtomFields, mixed: int, short: bool) -> Tensor:
        """Minus the log density per value, in bfloat16 if `short` and faster."""
        generator.manual_seed(mixed)
        y = part.y + model.config.noise * torch.randn(
            part.y.shape, generator=generator, device=generator.device, dtype=part.y.dtype
        )
        with short_products(y.device, short):
            mean, gram = network.law(part.x.float(), part.mask)  # type: ignore[operator]
        count = part.mask.sum() * model.components
        out: Tensor = -gram.log_prob((y - mean) * part.mask[..., None]).sum() / count
        return out

    def held_out_loss(network: nn.Module, part: AtomFields) -> Tensor:
        return surprise(network, part, run.seed ^ NOISE, short=False)

    unseen = None if held_out is None else _batches(model.standard(held_out), run.batch, run.seed)
    settings = make_schedule(schedule, weight_decay=0.0, learning_rate=2e-3, clip=5.0, ema=0.998)
    trainer = Trainer(kernel, settings, run.folder / "limit", unseen, held_out_loss)
    if run.resume:
        trainer.resume()

    def loss(network: nn.Module, part: AtomFields) -> Tensor:
        short = trainer.share(budget_s) < 1 - FULL_PRECISION
        return surprise(network, part, (run.seed * 1_000_003 + trainer.step) ^ NOISE, short)

    trainer.fit(_batches(model.standard(data), run.batch, run.seed), loss, budget_s, run.progress)
    kernel.load_state_dict(trainer.ema)
    kernel.eval()
    return trainer


def train_score(
    model: AtomFieldModel, data: AtomFields, schedule: dict[str, Any], budget_s: float, run: FitRun
) -> Trainer:
    """Train the score's network on values of random subsets of atoms."""
    generator = torch.Generator()

    def loss(_: nn.Module, part: Stepped) -> Tensor:
        generator.manual_seed(part.seed(run.seed, SUBSETS))
        known: AtomFields = part.data
        y = known.y + model.config.noise * torch.randn(
            known.y.shape, generator=generator, device=generator.device, dtype=known.y.dtype
        )
        mask = known.mask & random_subsets(known.mask, generator)
        return model.diffusion.loss(known.x.float(), y * mask[..., None], mask, generator)

    trainer = fit(
        model.diffusion.network,
        stepped(_batches(model.standard(data), run.batch, run.seed + 1)),
        loss,
        make_schedule(schedule, weight_decay=0.0),
        budget_s,
        out=run.folder / "score",
        resume=run.resume,
        progress=run.progress,
    )
    model.diffusion.eval()
    return trainer


def calibrate(model: AtomFieldModel, validation: AtomFields) -> float:
    """Set the factor of the kernel that validation molecules like best; returns it."""
    kernel: AtomKernel = model.diffusion.kernel  # type: ignore[assignment]
    kernel.log_scale.zero_()
    noise, factors = float(kernel.log_noise.exp()), np.exp(np.linspace(-1.0, 2.0, 31))
    total = torch.zeros(len(factors), dtype=torch.float64, device="cpu")
    for begin in range(0, len(validation), 32):
        part = model.standard(validation[slice(begin, begin + 32)])
        with torch.no_grad():
            mean, gram = kernel.law(part.x.float(), part.mask)
        values, vectors = torch.linalg.eigh(gram.matrix)
        here = (vectors.square() * part.mask.repeat_interleave(model.components, 1)[..., None]).sum(
            1
        )  # which are of known values
        away = (vectors.mT @ ((part.y - mean) * part.mask[..., None]).flatten(1)[..., None])[
            ..., 0
        ].square()
        spread = torch.from_numpy(factors)[:, None, None] * (values - noise).clamp(min=0) + noise
        total -= 0.5 * (away / spread + here * spread.log()).sum((1, 2))
    best = float(factors[int(total.argmax())])
    kernel.log_scale.fill_(math.log(best))
    calibrate_intervals(model, validation)
    return best


def calibrate_intervals(
    model: AtomFieldModel, validation: AtomFields, most: int = 150, seed: int = 0
) -> None:
    """Set `quantiles` to those of deviations over standard deviations, of values of
    validation molecules that are not given.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(validation), generator=generator, device=generator.device)[:most]
    scores: list[list[Tensor]] = [[] for _ in SHARES]
    for k in chosen.tolist():
        one = model.standard(validation[slice(k, k + 1)])
        law = model.law(one)
        for row, share in zip(scores, SHARES, strict=True):
            given = given_share(one.mask, share, generator)
            mean, variance = gp_posterior(*law, one.y, given)
            row.append(((one.y - mean).abs() / variance.sqrt())[one.mask & ~given].reshape(-1))
    model.quantiles = np.array(
        [np.quantile(torch.cat(row).cpu().numpy(), COVERAGES) for row in scores]
    )


def _batches(data: AtomFields, batch: int, seed: int) -> Callable[[int], AtomFields]:
    """Batches of molecules of about one size, by step number."""
    order = torch.argsort((data.x[..., 3] > 0).sum(1), stable=True)
    window = min(len(data), max(4 * batch, len(data) // 16))

    def draw(step: int) -> AtomFields:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        # begins that stick out at the ends are pushed in, so that the smallest and largest are as
        # frequent as the others
        begin = int(
            torch.randint(
                -window // 2,
                len(data) - window // 2,
                (1,),
                generator=generator,
                device=generator.device,
            )
        )
        begin = min(max(begin, 0), len(data) - window)
        return data[
            order[
                begin
                + torch.randint(
                    window, (min(batch, len(data)),), generator=generator, device=generator.device
                )
            ]
        ]

    return draw


def element_means(data: AtomFields) -> dict[int, float]:
    """Mean of the known scalars of each element."""
    z = data.x[..., 3][data.mask]
    return {int(k): float(data.y[data.mask][z == k].mean()) for k in torch.unique(z)}


def is_balanced(data: AtomFields, rank: str) -> bool:
    """Whether whole molecules' values sum to zero and, as vectors, exert no torque
    about the centre.
    """
    whole = data[torch.where((data.mask == (data.x[..., 3] > 0)).all(1))[0]] if len(data) else data
    if rank == "tensor" or not len(whole):
        return False
    y = whole.y * whole.mask[..., None]
    size = float(y.square().sum((1, 2)).mean().sqrt())
    net = y.sum(1)
    if rank == "vector":
        arm = (
            whole.x[..., :3]
            - whole.x[..., :3].sum(1, keepdim=True) / whole.mask.sum(1)[:, None, None]
        )
        net = torch.cat(
            [
                net,
                torch.linalg.cross(arm * whole.mask[..., None], y).sum(1)
                / max(1.0, float(arm.square().mean().sqrt())),
            ],
            1,
        )
    return float(net.square().mean().sqrt()) < BALANCED * size
