"""The generator from noise: x0-prediction over a range of noise levels (EDM, Karras
2022), and its solver.

The estimate is the conformer itself, not its mean over the posterior: at high noise the
loss is a median-like one (Huber on distances and on superposed coordinates), which
keeps every estimate a sensible molecule.
"""

from __future__ import annotations

from torch import Tensor, nn

from equidrift.models.conformers.objective import Example, geometry_loss
from equidrift.models.shared.layers import SIGMA_DATA_A

SIGMA_LOG_MEAN, SIGMA_LOG_STD = 0.0, 1.3


def generator_loss(network: nn.Module, example: Example) -> Tensor:
    """Error of each stage's estimate of the clean conformer, over the error that its
    noise level leaves to be expected.
    """
    outs = network(example.batch, example.start, example.level, example.sigma)
    scale = [0.25] * (len(outs) - 1) + [1.0]
    expected = (
        0.1 + example.sigma * SIGMA_DATA_A / (example.sigma.square() + SIGMA_DATA_A**2).sqrt()
    )
    return sum(
        (s * geometry_loss(example, x, 1.0 / expected) for s, x in zip(scale, outs, strict=True)),
        start=example.sigma.new_zeros(()),
    )
