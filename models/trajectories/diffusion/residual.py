"""GeoTDM in residual form: the prior path goes straight on, and the network learns what
the data do beyond it (`kind: geotdm`, `options: {form: residual}`).

The residual of each frame, in units of its spread in the training data, is denoised
with the preconditioning of EDM (arXiv:2206.00364), where the data have unit variance.
Samples need about 10 network calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from equidrift.models.shared.schedules import noise_level, noise_levels
from equidrift.models.trajectories.diffusion.frames import (
    FrameBatch,
    KnownFrames,
    Normal,
    Sampling,
    mean_over_drawn,
)
from equidrift.models.trajectories.diffusion.multistep import TwoStep
from equidrift.models.trajectories.diffusion.path import PathConfig, PathNetwork
from equidrift.models.trajectories.diffusion.path_spread import Prior, spread_loss

RESIDUAL = "residual"  # the value of a config's key `form`
CALLS = 10  # network calls of a sample, if nothing else is asked for
RHO = 7.0  # how noise levels are spaced (EDM, equation 5)
LOG_SIGMA_MEAN, LOG_SIGMA_STD = -0.5, 1.2  # EDM's training levels, in units of the data's spread


@dataclass(frozen=True)
class ResidualConfig(PathConfig):
    """Sizes, the prior path, and the noise levels where sampling begins and ends, in
    units of the residual's spread.
    """

    highest: float = 20.0
    lowest: float = 0.005


class ResidualGeoTDM(PathNetwork[ResidualConfig]):
    """The network that denoises residuals of the prior path."""

    def denoised(self, known: KnownFrames, y: Tensor, prior: Prior, sigma: Tensor) -> Tensor:
        """The clean residual expected under the noisy one (EDM, equation 7).

        Parameters
        ----------
        known : KnownFrames
            The frames, of which the given ones are read.
        y : Tensor (b, t, n, d)
            The noisy residual, in units of its spread.
        prior : Prior
            The prior path, and the spread.
        sigma : Tensor (b,)
            Noise level of y.

        Returns
        -------
        Tensor (b, t, n, d)
        """
        level = sigma[:, None, None, None]
        size = (level.square() + 1).sqrt()
        time = 1000 * sigma / (1 + sigma)  # 0 to 1000, as the embedding expects
        moved = self.moved(known, prior, y / size, time)
        moved = moved * known.graph.mask[:, None, :, None]
        return y / size.square() + level / size * known.projected(moved)


def residual_loss(model: nn.Module, batch: FrameBatch) -> Tensor:
    """Squared error of the clean residual, weighed so that each noise level counts alike
    (EDM, equation 8), the mean over the frames drawn.
    """
    network = cast(ResidualGeoTDM, model)
    batch = batch.at_rest(batch.drift()) if network.config.comoving else batch
    generator = torch.Generator().manual_seed(batch.seed)
    count = (len(batch),)
    normal = torch.randn(count, generator=generator, device=generator.device)
    sigma = (LOG_SIGMA_MEAN + LOG_SIGMA_STD * normal).exp().to(batch.frames)  # (b,)
    eps = batch.projected(batch.normal(generator))
    batch = replace(batch, frames=batch.projected(batch.frames))
    prior = network.prior_of(batch)
    y = prior.residual(batch.frames)
    level = sigma[:, None, None, None]
    found = network.denoised(batch, y + level * eps, prior, sigma)
    weight = (level.square() + 1) / level.square()
    loss = mean_over_drawn(weight * (found - y).square(), batch)
    return loss if network.path_spread is None else loss + spread_loss(prior, batch)


@torch.no_grad()
def draw_residual(
    model: ResidualGeoTDM, known: KnownFrames, normal: Normal, sampling: Sampling
) -> Tensor:
    """Frames (b, t, n, d) by the probability flow; given frames are left as they are."""
    config, x, start = model.config, known.frames, sampling.start
    prior = model.prior_of(known)
    first = noise_level(1.0 - sampling.level, config.highest, config.lowest, RHO)
    y = first * known.projected(normal())
    if start is not None:
        y = y + prior.residual(start)
    count = sampling.steps or CALLS
    levels = noise_levels(count, highest=first, lowest=config.lowest, rho=RHO)
    solver = TwoStep()
    for k in range(count):
        sigma = torch.full((len(x),), levels[k], dtype=x.dtype, device=x.device)
        clean = model.denoised(known, y, prior, sigma)
        y = solver.step(y, clean, levels[k], levels[k + 1])
        sampling.told(k + 1, count)
    return model.frames_of(known, y, prior)
