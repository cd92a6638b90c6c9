"""What conditional samples cost against the size of context and query, and what the
corrector's steps buy.

`corrector/M-...` and `corrector/rejection` are measured on one context with the exact
score: M Langevin steps after each step (none of them is the replacement method), and
rejection sampling of whole functions. `network_calls` are those of one sample.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import Row, row
from equidrift.errors import UnknownNameError
from equidrift.models.fields.functions.data import true_kernel
from equidrift.models.fields.functions.kernels import make_kernel
from equidrift.models.fields.functions.objective import AnalyticScore, LinearBeta, OUNoising
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.shared.conditioning import conditional_sample

MODEL = "field-se-network"
SIZES = (10, 50, 200)  # points of the context or of the query
BASE = 10  # points of the other one
CORRECTIONS = (0, 5, 50)  # of a step
SAMPLES = 4  # drawn at once, and timed
ERROR_SAMPLES = 4000  # that the errors of mean and covariance are measured on
STEPS = 20
REJECTION_BATCH, REJECTION_BATCHES = 100_000, 20
NEAREST = 0.15  # a function is kept if all three values are so near to the context's


def cost_rows(say: Progress = silent) -> list[Row]:
    """Seconds of 4 conditional samples of the network for each size, and the
    corrector's rows; none if no network is shipped.
    """
    try:
        model = FieldModel.load(MODEL)
    except UnknownNameError:
        return []
    say("cost and corrector")
    rows = []
    for name in ("context", "query"):
        for size in SIZES:
            known, asked = (size, BASE) if name == "context" else (BASE, size)
            values = {"seconds": _seconds(model, known, asked)}
            rows.append(row(f"cost/{name}-{size}", values, SAMPLES))
    for m in CORRECTIONS:
        values = {
            **_errors(m),
            "network_calls": STEPS * (1 + m),
            "seconds": _seconds(model, BASE, BASE, corrections=m),
            "samples_timed": SAMPLES,
        }
        rows.append(row(f"corrector/M-{m}", values, ERROR_SAMPLES))
    values, kept = rejection()
    rows.append(row("corrector/rejection", values, kept))
    return rows


def _seconds(model: FieldModel, known: int, asked: int, **options: Any) -> float:
    generator = torch.Generator().manual_seed(1)
    x = 4 * torch.rand(1, known + asked, 1, generator=generator, dtype=torch.float64) - 2
    y = (
        true_kernel("se")
        .gram(x)
        .root(torch.randn(x.shape, generator=generator, dtype=torch.float64))[0]
        .numpy()
    )
    conditioned = model.condition(x[0, :known].numpy(), y[:known])
    conditioned.sample(x[0, known:].numpy(), 1, steps=1)  # what only the first call costs
    begun = time.perf_counter()
    conditioned.sample(x[0, known:].numpy(), SAMPLES, steps=STEPS, **options)
    return time.perf_counter() - begun


@dataclass(frozen=True)
class Known:
    """One context whose posterior is known in closed form: points (1, 6, 1), values of
    the first three, and mean and covariance of the others.
    """

    x: Tensor
    context: Tensor
    mean: Tensor
    covariance: Tensor

    def errors(self, made: Tensor) -> dict[str, float]:
        """Largest errors of mean and covariance of samples (n, 3), in posterior standard
        deviations.
        """
        sd = self.covariance.diagonal().sqrt()
        mean_error = ((made.mean(0) - self.mean) / sd).abs().max()
        found = torch.tensor(np.cov(made.T.numpy()), device=made.device)
        spread_error = ((found - self.covariance) / (sd[:, None] * sd)).abs().max()
        return {"mean_error_sd": float(mean_error), "covariance_error": float(spread_error)}


def _known() -> Known:
    """The context that all samplers are measured on."""
    x = torch.tensor([-0.6, -0.2, 0.35, -0.4, 0.1, 0.6], dtype=torch.float64)[None, :, None]
    context = torch.tensor([0.5, -1.0, 0.8], dtype=torch.float64)
    k = true_kernel("se").gram(x).dense[0]
    weights = torch.linalg.solve(k[:3, :3], k[:3, 3:]).T
    return Known(x, context, weights @ context, k[3:, 3:] - weights @ k[:3, 3:])


def _drawn(
    known: Known, free: Tensor, samples: int, generator: torch.Generator, **options: Any
) -> Tensor:
    """Values (samples, 6) by the exact score under white noising."""
    limit, schedule = make_kernel("white"), LinearBeta()
    filled = torch.cat([known.context, torch.zeros(3, dtype=torch.float64)])
    return conditional_sample(
        OUNoising(limit.gram(known.x), schedule),
        AnalyticScore(true_kernel("se"), limit, schedule).at(known.x),
        filled[None, :, None].expand(samples, -1, -1),
        free,
        schedule.times(STEPS, 4e-3),
        lambda: torch.randn(samples, 6, 1, generator=generator, dtype=torch.float64),
        tau=1.0,
        **options,
    )[..., 0]


def _errors(corrections: int, samples: int = ERROR_SAMPLES) -> dict[str, float]:
    """Errors of the corrector with an exact score; without corrections it is the
    replacement method.
    """
    known, free = _known(), torch.tensor([False] * 3 + [True] * 3)
    made = _drawn(
        known,
        free,
        samples,
        torch.Generator().manual_seed(2),
        corrections=corrections,
        psi=0.4 * corrections if corrections > 10 else 0.8 * corrections,
    )
    return known.errors(made[:, free])


def rejection(
    batches: int = REJECTION_BATCHES, nearest: float = NEAREST
) -> tuple[dict[str, float], int]:
    """Errors of rejection sampling with the same score, and how many samples were kept:
    functions are drawn without a context, and those within `nearest` of all its values
    are kept.
    """
    known, everything = _known(), torch.ones(6, dtype=torch.bool)
    generator = torch.Generator().manual_seed(3)
    kept = []
    for _ in range(batches):
        made = _drawn(known, everything, REJECTION_BATCH, generator, corrections=0)
        close = ((made[:, :3] - known.context).abs() < nearest).all(1)
        kept.append(made[close, 3:])
    values = torch.cat(kept)
    drawn = float(REJECTION_BATCH * batches)
    return known.errors(values) | {"network_calls": STEPS * drawn / len(values)}, len(values)
