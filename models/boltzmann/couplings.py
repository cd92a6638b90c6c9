"""Parts of the couplings of equation (3) in `network`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two hidden layers; the last starts at zero, so that a flow starts as the
    identity.
    """
    last = nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last
    )


def bounded(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shift, log scale, skew and log tail of a coupling; all but the shift bounded, so
    that no sample overflows.
    """
    shift, others = numbers.tensor_split([numbers.shape[1] // 4], dim=1)
    log_scale, skew, log_tail = torch.tanh(others).chunk(3, dim=1)
    return shift, log_scale, skew, 0.5 * log_tail


def asinh(x: Tensor) -> Tensor:
    """asinh, several times faster than torch's."""
    return torch.copysign(torch.log(x.abs() + torch.sqrt(x**2 + 1)), x)


def log_cosh(x: Tensor) -> Tensor:
    """log cosh, which does not overflow."""
    return x.abs() + torch.log1p((-2 * x.abs()).exp()) - math.log(2.0)
