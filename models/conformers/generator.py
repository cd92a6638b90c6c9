"""The generator's preconditioning and loss: EDM (Karras 2022) with x0-prediction on conformers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.conformers.objective import Example, geometry_loss

SIGMA_LOG_MEAN, SIGMA_LOG_STD = -0.9, 1.4
SIGMA_DATA_A = 1.4


def generator_loss(network: nn.Module, example: Example) -> Tensor:
    """Error of each stage's estimate of the clean conformer; sigma decides how much of it can be known, so it is weighed down."""
    outs = network(example.batch, example.start, example.level, example.sigma)
    scale = [0.25] * (len(outs) - 1) + [1.0]
    return sum((s * geometry_loss(example, x) for s, x in zip(scale, outs)), start=torch.zeros(()))
