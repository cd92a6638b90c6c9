"""The divergence of a flow, by which densities are carried along it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

EXACT_VALUES = 16  # per sample: up to this many the trace is taken, above it is estimated
PROBES = 8  # of an estimate, if the caller says nothing


def probe_vectors(y: Tensor, probes: int | None, generator: torch.Generator) -> Tensor:
    """The vectors v (k, batch, ...) whose sum of v . J v is the trace of J, or its estimate.

    Parameters
    ----------
    y : Tensor, shape (batch, ...)
        The state whose shape, type and device the vectors take.
    probes : int or None
        Random signs of Hutchinson's estimate (1989, doi:10.1080/03610918908812806); 0 takes
        unit vectors, so that the trace is exact; None is 0 up to `EXACT_VALUES` values per
        sample and `PROBES` above.
    generator : torch.Generator
        Of the signs.
    """
    if probes is None:
        probes = 0 if y[0].numel() <= EXACT_VALUES else PROBES
    if probes == 0:
        units = torch.eye(y[0].numel(), dtype=y.dtype, device=y.device)
        return units.reshape(-1, 1, *y.shape[1:]).expand(-1, *y.shape)
    drawn = torch.randint(2, (probes, *y.shape), generator=generator, device=generator.device)
    signs = 2.0 * drawn - 1
    return signs.to(y) / math.sqrt(probes)


def flow_and_divergence(
    field: Callable[[Tensor], Tensor], y: Tensor, vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """A field (batch, ...) at y, and its divergence (batch,) in float64.

    `vectors` are those of `probe_vectors`; no gradient leads out of either.
    """
    over = tuple(range(1, y.ndim))
    total = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        drift = field(y)
        for k, vector in enumerate(vectors):
            more = k + 1 < len(vectors)
            gradient = torch.autograd.grad(drift, y, vector, retain_graph=more)[0]
            total = total + (gradient * vector).sum(over).double()
    return drift.detach(), total
