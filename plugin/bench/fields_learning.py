"""Rows of `equidrift bench fields` on networks trained within the bench, each on the
same number of steps: what symmetry is worth where functions are few, and what the
limiting kernel is worth.

`few-SYSTEM/METHOD-N`: N functions, drawn once; `e2` is the E(2)-equivariant network,
`frames` plain attention averaged over four frames, `plain` the same attention, and
`augmented` that on turned functions. `loss` is denoising score matching on unseen
functions with the same noise for all rows; `optimum` is that of the exact score, and
`above_optimum` has the standard error of the paired differences. Plain attention is
several times cheaper a step than the other two: `cpu_s`.

`limit-SYSTEM/LIMIT`: log-likelihood per target of a small network under limiting kernels
that know the generator more and more, on the same functions; `over_white` is paired, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, means, row
from equidrift.models.fields.functions.data import Functions, true_kernel
from equidrift.models.fields.functions.kernels import Kernel, make_kernel
from equidrift.models.fields.functions.network import NetworkConfig
from equidrift.models.fields.functions.objective import AnalyticScore, FieldDiffusion, draw_times
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.shared.run import own_random_state

FEW = (8, 32, 128, 512)  # functions to learn from
SYSTEM, LIMIT_SYSTEM = "2d-div-free", "se"
UNSEEN = 1 << 29  # the first batch of functions that no training comes to
WAVES = {"wave_min": 1.0, "wave_max": 10.0}
METHODS: dict[str, dict[str, Any]] = {
    "e2": {"kind": "vector", "width": 24, "layers": 3, **WAVES},
    "frames": {"kind": "frames", "width": 48, "layers": 2, **WAVES},
    "plain": {"kind": "plain", "width": 48, "layers": 2, **WAVES},
    "augmented": {"kind": "plain", "width": 48, "layers": 2, **WAVES},
}
LENGTHS = (0.1, 0.25, 0.6)  # of the noisy squared exponential; the generator's is 0.25
CONTEXT, TARGETS = 5, 15


@dataclass(frozen=True)
class Effort:
    """Steps, functions of a step and points of a function of the trainings, unseen
    functions that they are judged on, and steps of a likelihood.
    """

    steps: int
    batch: int
    points: int
    unseen: int
    flow: int


QUICK = Effort(steps=300, batch=8, points=24, unseen=128, flow=20)  # some 3 CPU-minutes in all
FULL = Effort(steps=1500, batch=16, points=40, unseen=512, flow=60)


def learning_rows(full: bool, say: Progress) -> list[Row]:
    """All rows of this module."""
    effort = FULL if full else QUICK
    return few_rows(effort, say) + limit_rows(effort, say)


def few_rows(effort: Effort, say: Progress, few: tuple[int, ...] = FEW) -> list[Row]:
    """Loss on unseen functions against the number of functions to learn from."""
    test = Judged.drawn(effort)
    best = test.errors(optimal_score(test))
    rows = []
    for name, sizes in METHODS.items():
        for count in few:
            say(f"few-{SYSTEM}/{name}-{count}, {effort.steps} steps")
            source = Functions(
                SYSTEM, effort.batch, 0, effort.points, pool=count, turns=name == "augmented"
            )
            config = NetworkConfig(components=2, dimension=2, **sizes)
            model, cpu_s = trained(source, make_kernel("white", 2), config, effort)
            errors = test.errors(model_score(model, test))
            values = means({"loss": errors, "optimum": best, "above_optimum": errors - best})
            values |= {"cpu_s": cpu_s, "steps": effort.steps, "knows_generator": 0.0}
            rows.append(row(f"few-{SYSTEM}/{name}-{count}", values, effort.unseen))
    return rows


@dataclass(frozen=True)
class Judged:
    """Unseen functions: points, values, times and noise."""

    x: Tensor
    y: Tensor
    t: Tensor
    z: Tensor

    @classmethod
    def drawn(cls, effort: Effort) -> Judged:
        """As many as an effort says."""
        x, y, _ = Functions(SYSTEM, effort.unseen, 1, effort.points)(UNSEEN)
        generator = torch.Generator().manual_seed(20_240_004)
        z = torch.randn(y.shape, generator=generator)
        return cls(x, y, draw_times(len(x), reference().schedule, generator), z)

    def errors(self, score: Callable[[Tensor], Tensor]) -> Tensor:
        """Denoising score matching (F,) of a score of noisy values, as in training."""
        std, alpha = (u.float() for u in reference().factors(self.t))
        found = score(alpha * self.y + std * self.z)
        return (std * found + self.z).square().sum(-1).mean(-1)


def reference() -> FieldDiffusion:
    """Noising towards white noise in the plane, without a network."""
    return FieldDiffusion(make_kernel("white", 2), NetworkConfig("none", components=2, dimension=2))


def optimal_score(test: Judged) -> Callable[[Tensor], Tensor]:
    """The exact score of the generator."""
    exact = AnalyticScore(true_kernel(SYSTEM), make_kernel("white", 2), reference().schedule)

    def score(noisy: Tensor) -> Tensor:
        parts = [
            exact.at(test.x[k : k + 1].double())(noisy[k : k + 1].double(), float(test.t[k]))
            for k in range(len(noisy))
        ]
        return torch.cat(parts).float()

    return score


def model_score(model: FieldModel, test: Judged) -> Callable[[Tensor], Tensor]:
    """The score of a trained network."""
    everywhere = torch.ones(test.x.shape[:2], dtype=torch.bool)

    def score(noisy: Tensor) -> Tensor:
        with torch.no_grad():
            gram = model.diffusion.kernel.gram(test.x, everywhere)
            return model.diffusion.score(test.t, test.x, noisy, everywhere, gram)

    return score


def trained(
    source: Functions, limit: Kernel, config: NetworkConfig, effort: Effort
) -> tuple[FieldModel, float]:
    """A model trained on a source for the steps of an effort, and its CPU-seconds."""
    with own_random_state(0):
        diffusion = FieldDiffusion(limit, config)
    model = FieldModel(diffusion, dimension=config.dimension)
    begun = time.process_time()
    schedule = {"steps": effort.steps, "learning_rate": 2e-3, "warmup_steps": 20, "ema": 0.99}
    model.train(source, 1e9, schedule)
    return model, time.process_time() - begun


def limits() -> dict[str, Kernel]:
    """The limiting kernels that are compared."""
    noisy = {f"noisy-se-{length}": make_kernel("noisy-se", length=length) for length in LENGTHS}
    return {"white": make_kernel("white"), **noisy, "true": true_kernel(LIMIT_SYSTEM)}


def limit_rows(effort: Effort, say: Progress) -> list[Row]:
    """Log-likelihood per target under each limiting kernel."""
    count = max(4, effort.unseen // 4)
    x, y, _ = Functions(LIMIT_SYSTEM, count, 1, CONTEXT + TARGETS)(UNSEEN)
    best = per_target(lambda a, b: true_kernel(LIMIT_SYSTEM).gram(a).log_prob(b), x, y)
    rows: list[Row] = []
    white: Tensor | None = None
    for name, kernel in limits().items():
        say(f"limit-{LIMIT_SYSTEM}/{name}, {effort.steps} steps")
        source = Functions(LIMIT_SYSTEM, 2 * effort.batch, 0, 30)
        config = NetworkConfig(width=48, layers=2, wave_min=0.07, wave_max=16.0)
        model, cpu_s = trained(source, kernel, config, effort)

        def joint(a: Tensor, b: Tensor, model: FieldModel = model) -> Tensor:
            found = model.log_prob(a.numpy(), b.numpy(), probes=0, steps=effort.flow)
            return torch.tensor(found, device=a.device)

        found = per_target(joint, x.double(), y.double())
        white = found if white is None else white
        columns = {"loglik": found, "below_optimum": best - found, "over_white": found - white}
        knows = {"knows_generator": float(name == "true"), "optimum": float(best.mean())}
        values = means(columns) | knows | {"cpu_s": cpu_s, "steps": effort.steps}
        rows.append(row(f"limit-{LIMIT_SYSTEM}/{name}", values, count))
    return rows


def per_target(joint: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Log-likelihood (F,) per target, given the first `CONTEXT` points."""
    x, y = x.double(), y.double()
    return (joint(x, y) - joint(x[:, :CONTEXT], y[:, :CONTEXT])) / TARGETS
