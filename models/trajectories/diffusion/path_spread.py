"""How far data stray from a prior path, told by the path itself: little where particles
keep apart, much where two of them nearly meet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from equidrift.models.trajectories.diffusion.egtn import EGTN, EGTNConfig
from equidrift.models.trajectories.diffusion.frames import FrameBatch, KnownFrames, mean_over_drawn

LAYERS = 2
BEND = 3.0  # in units of the spread: residuals beyond it are drawn by their logarithm
LARGEST_BEND = 10.0  # logarithm of the largest residual that is drawn, some 30,000 spreads
LARGEST_LOG = 7.0  # of the factor on the ordinary spread
FREEDOM = 5.0  # degrees of freedom of Student's distribution, by which spreads are learned


@dataclass(frozen=True)
class Prior:
    """Where frames would be if nothing unforeseen happened, and how far data stray.

    Parameters
    ----------
    line : Tensor (b, t, n, d)
        The prior path.
    units : Tensor, broadcast to (b, t, n, 1)
        The spread of residuals from it, in which they are drawn.
    usual : Tensor (1, t, 1, 1)
        The spread at each distance in frames from a given one.
    told : Tensor (b, t, n, w) or None
        What the network is told of the path; residuals much larger than their units are
        then drawn by their logarithm.
    """

    line: Tensor
    units: Tensor
    usual: Tensor
    told: Tensor | None = None

    def residual(self, frames: Tensor) -> Tensor:
        """The residual (b, t, n, d) of frames, in its units, which count as fixed numbers:
        they are learned by `spread_loss` alone, a path by whatever reads the residual.
        """
        y = (frames - self.line) / self.units.detach()
        if self.told is None:
            return y
        length = (y.square().sum(-1, keepdim=True) + 1e-24).sqrt()
        return y * (BEND * torch.asinh(length / BEND) / length)

    def frames(self, y: Tensor) -> Tensor:
        """Frames (b, t, n, d) of a residual."""
        if self.told is not None:
            length = (y.square().sum(-1, keepdim=True) + 1e-24).sqrt()
            bent = (length / BEND).clamp_max(LARGEST_BEND)
            y = y * (BEND * torch.sinh(bent) / length)
        return self.line + self.units * y


class PathSpread(nn.Module):
    """The spread of each node's residual in each frame, as a factor on the ordinary one;
    1 before training.
    """

    def __init__(self, config: EGTNConfig):
        super().__init__()
        self.network = EGTN(replace(config, layers=LAYERS, times=False))
        self.head = nn.Linear(config.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, known: KnownFrames, line: Tensor) -> tuple[Tensor, Tensor]:
        """Factors (b, t, n, 1), and features (b, t, n, w) of the path."""
        frames = torch.where(known.fixed, known.frames, line)
        _, h = self.network(known.graph, frames, known.clock, known.given_each)
        h = nn.functional.layer_norm(h, h.shape[-1:])
        return (LARGEST_LOG * torch.tanh(self.head(h) / LARGEST_LOG)).exp(), h


def spread_loss(prior: Prior, batch: FrameBatch) -> Tensor:
    """Minus the log likelihood of residuals from the path under Student's distribution
    whose variance is the square of their units, up to a constant, the mean over the
    numbers drawn. Rare large residuals count less than under a Gaussian.
    """
    square = ((batch.frames - prior.line) / prior.units).square()
    heavy = 0.5 * (FREEDOM + 1) * torch.log1p(square / (FREEDOM - 2))
    return mean_over_drawn(heavy + (prior.units / prior.usual).log(), batch)
