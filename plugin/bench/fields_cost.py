"""What conditional samples cost against the size of context and query, and what the
corrector's steps buy.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

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


def cost_rows() -> list[Row]:
    """Seconds of 4 conditional samples of the network for each size, and the
    corrector's rows; none if no network is shipped.
    """
    try:
        model = FieldModel.load(MODEL)
    except UnknownNameError:
        return []
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


def _errors(corrections: int, samples: int = ERROR_SAMPLES) -> dict[str, float]:
    """Largest errors of mean and covariance, in posterior standard deviations, with an
    exact score under white noising.
    """
    data, limit, schedule = true_kernel("se"), make_kernel("white"), LinearBeta()
    x = torch.tensor([-0.6, -0.2, 0.35, -0.4, 0.1, 0.6], dtype=torch.float64)[None, :, None]
    free = torch.tensor([False] * 3 + [True] * 3)
    generator = torch.Generator().manual_seed(2)
    k = data.gram(x).dense[0]
    context = torch.tensor([0.5, -1.0, 0.8], dtype=torch.float64)
    known = torch.cat([context, torch.zeros(3, dtype=torch.float64)])[None, :, None].expand(
        samples, -1, -1
    )
    made = conditional_sample(
        OUNoising(limit.gram(x), schedule),
        AnalyticScore(data, limit, schedule).at(x),
        known,
        free,
        schedule.times(STEPS, 4e-3),
        lambda: torch.randn(samples, 6, 1, generator=generator, dtype=torch.float64),
        corrections=corrections,
        psi=0.4 * corrections if corrections > 10 else 0.8 * corrections,
        tau=1.0,
    )[:, free, 0]
    weights = torch.linalg.solve(k[:3, :3], k[:3, 3:]).T
    covariance = k[3:, 3:] - weights @ k[:3, 3:]
    sd = covariance.diagonal().sqrt()
    mean_error = ((made.mean(0) - weights @ context) / sd).abs().max()
    spread_error = (
        ((torch.tensor(np.cov(made.T.numpy())) - covariance) / (sd[:, None] * sd)).abs().max()
    )
    return {"mean_error_sd": float(mean_error), "covariance_error": float(spread_error)}
