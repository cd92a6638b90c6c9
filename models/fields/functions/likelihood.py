"""Log-likelihood of fields by the probability-flow ODE (arXiv:2307.05431, likelihood)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equidrift.models.fields.functions.gram import Gram
from equidrift.models.fields.functions.objective import FieldDiffusion
from equidrift.models.shared.likelihood import flow_and_divergence, probe_vectors


def log_likelihood(
    model: FieldDiffusion,
    x: Tensor,
    y: Tensor,
    mask: Tensor | None = None,
    *,
    steps: int = 60,
    probes: int | None = None,
    first_std: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Tensor:
    """log p(y) of fields (B, n, p) at points (B, n, d), by Heun's method, even in the
    log of the noise.

    Parameters
    ----------
    probes : int or None
        Rademacher probes of Hutchinson's estimate of the divergence; 0 takes the exact
        trace; None the trace for up to `EXACT_VALUES` values and 8 probes above.
    first_std : float
        Noise factor at which the data is taken to be.
    generator : torch.Generator or None
        Of the probes.

    Returns
    -------
    (B,) log densities over the points that are not masked.
    """
    mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    closed = model.closed_log_prob(x, y, mask)
    if closed is not None:
        return closed
    gram = model.kernel.gram(x, mask)
    generator = generator or torch.Generator().manual_seed(0)
    v = probe_vectors(y, probes, generator) * mask[..., None].to(y.dtype)
    low = math.log(first_std / math.sqrt(1 - first_std**2))
    high = math.log(model.schedule.std(1.0) / model.schedule.alpha(1.0))
    grid = torch.linspace(low, high, steps + 1, dtype=torch.float64, device=y.device)
    h = float(grid[1] - grid[0])
    change = y.new_zeros(len(y), dtype=torch.float64)
    slope, rate = _flow(model, gram, x, y, mask, grid[0], v)
    for k in range(steps):
        ahead, ahead_rate = _flow(model, gram, x, y + h * slope, mask, grid[k + 1], v)
        y = y + 0.5 * h * (slope + ahead)
        change = change + 0.5 * h * (rate + ahead_rate)
        if k + 1 < steps:
            slope, rate = _flow(model, gram, x, y, mask, grid[k + 1], v)
    return gram.log_prob(y) + change


def _flow(
    model: FieldDiffusion,
    gram: Gram,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    log_ratio: Tensor,
    v: Tensor,
) -> tuple[Tensor, Tensor]:
    """dy (B, n, p) and its divergence (B,) per unit of log(std / alpha).

    dy = -std^2 (y + K grad log p), since dB = 2 std^2 dlog(std / alpha).
    """
    std = log_ratio.exp() / (1 + (2 * log_ratio).exp()).sqrt()
    t = model.schedule.time_of(std).expand(len(y))
    drift, total = flow_and_divergence(
        lambda at: -(float(std) ** 2) * (at + model.score(t, x, at, mask, gram)), y, v
    )
    return drift * mask[..., None], total
