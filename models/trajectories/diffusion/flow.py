"""The few-step flow: frames not given are carried from noise around a line through the
given ones to a sample, in 10 to 20 calls.

In units of the spread that the training data shows at each distance in time from a
given frame, the residual y of a frame goes from noise to data along y_s = (1 - s) eps +
s y; the network (EGTN with several scaled heads, full graph, speeds) predicts y.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from equidrift.models.trajectories.diffusion.frames import (
    FrameBatch,
    KnownFrames,
    Normal,
    Sampling,
    mean_over_drawn,
)
from equidrift.models.trajectories.diffusion.path import PathConfig, PathNetwork
from equidrift.models.trajectories.diffusion.path_spread import Prior, spread_loss

CALLS = 10  # network calls of a sample, if nothing else is asked for


@dataclass(frozen=True)
class FlowConfig(PathConfig):
    """Sizes and the prior path."""


class Flow(PathNetwork[FlowConfig]):
    """The network over the prior path, which predicts clean residuals."""

    def estimate(self, known: KnownFrames, y: Tensor, prior: Prior, s: Tensor) -> Tensor:
        """The clean residual (b, t, n, d) that the network expects under y at flow time
        s (b,).
        """
        moved = self.moved(known, prior, y, 1000 * s)
        s4 = s[:, None, None, None]
        size = (s4.square() + (1 - s4).square()).sqrt()
        return s4 / size.square() * y + (1 - s4) / size * moved


def flow_loss(model: nn.Module, batch: FrameBatch) -> Tensor:
    """Squared error of the residual in units of its spread, weighed as noise
    prediction's is, over the frames drawn.
    """
    flow = cast(Flow, model)
    batch = batch.at_rest(batch.drift()) if flow.config.comoving else batch
    generator = torch.Generator().manual_seed(batch.seed)
    batch = replace(batch, frames=batch.projected(batch.frames))
    x = batch.frames
    s = torch.rand((len(x),), generator=generator, device=generator.device).to(x)
    eps = batch.normal(generator)
    prior = flow.prior_of(batch)
    y = prior.residual(x)
    s4 = s[:, None, None, None]
    found = flow.estimate(batch, s4 * y + (1 - s4) * eps, prior, s)
    weight = (s4.square() + (1 - s4).square()) / (1 - s4 + 0.05).square()
    loss = mean_over_drawn(weight * (found - y).square(), batch)
    return loss if flow.path_spread is None else loss + spread_loss(prior, batch)


@torch.no_grad()
def draw_flow(model: Flow, known: KnownFrames, normal: Normal, sampling: Sampling) -> Tensor:
    """Euler steps of the flow; given frames are left as they are."""
    x, count = known.frames, sampling.steps or CALLS
    prior = model.prior_of(known)
    y, begin = normal(), 0.0
    if sampling.start is not None:
        begin = 1.0 - sampling.level
        y = (1 - begin) * y + begin * prior.residual(sampling.start)
    grid = torch.linspace(begin, 1.0, count + 1, dtype=x.dtype, device=x.device)
    for k in range(count):
        s, after = grid[k], grid[k + 1]
        clean = model.estimate(known, y, prior, s.expand(len(x)))
        y = y + (after - s) / (1 - s) * (clean - y)
        sampling.told(k + 1, count)
    return model.frames_of(known, y, prior)
