"""GeoTDM as published (arXiv:2410.13027): diffusion of the frames that are not given,
around a learned equivariant prior.

Any mask of given frames is one mechanism; no given frame at all is the unconditional
model, in the subspace of zero mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from equidrift.models.shared.schedules import noise_levels
from equidrift.models.trajectories.diffusion.egtn import EGTN, EGTNConfig
from equidrift.models.trajectories.diffusion.frames import (
    FrameBatch,
    KnownFrames,
    Normal,
    Sampling,
    mean_over_drawn,
)
from equidrift.models.trajectories.diffusion.multistep import TwoStep
from equidrift.models.trajectories.diffusion.path import combined, prior_network

STRIDE_RHO = 7.0  # how fewer steps are spaced in noise (Karras et al., arXiv:2206.00364, eq. 5)
Prior = Literal["learned", "point", "com", "last"]


@dataclass(frozen=True)
class GeoTDMConfig:
    """`steps` of the diffusion; `prior` of conditional models; `frames`: the longest
    window, for the prior's weights; `comoving`: see `PathConfig`, not as published.
    """

    network: EGTNConfig = field(default_factory=EGTNConfig)
    steps: int = 1000
    prior: Prior = "learned"
    frames: int = 30
    comoving: bool = False


class GeoTDM(nn.Module):
    """The denoiser and the prior.

    Works in scaled coordinates; the caller divides by a length.
    """

    def __init__(self, config: GeoTDMConfig):
        super().__init__()
        self.config = config
        self.denoiser = EGTN(config.network)
        self.prior = prior_network(config.network) if config.prior == "learned" else None
        self.gamma = nn.Parameter(torch.ones(config.frames)) if config.prior == "learned" else None
        beta = torch.linspace(1e-4, 0.02, config.steps, dtype=torch.float64) * (1000 / config.steps)
        self.beta: Tensor
        self.kept: Tensor
        self.register_buffer("beta", beta.clamp_max(0.999), persistent=False)
        self.register_buffer("kept", torch.cumprod(1 - self.beta, 0), persistent=False)

    def anchors(self, known: KnownFrames) -> Tensor:
        """Where the diffusion ends for every frame (b, t, n, d): combinations of the
        given frames whose weights sum to 1.

        Without a given frame: zero, around which the unconditional model is centred.
        """
        x = known.frames
        if not known.any_given or self.config.prior == "point":
            return torch.zeros_like(x)
        given = x[:, known.given]
        if self.config.prior == "com":
            share = known.graph.mask.to(x.dtype)[:, None, :, None]
            centre = (given * share).sum((1, 2), keepdim=True) / (
                share.sum((1, 2), keepdim=True) * given.shape[1]
            )
            return centre.expand_as(x)
        if self.config.prior == "last" or self.prior is None or self.gamma is None:
            return given[:, -1:].expand_as(x)
        return combined(self.prior, self.gamma, known)

    def noise_of(self, known: KnownFrames, y: Tensor, tau: Tensor) -> Tensor:
        """The noise (b, t, n, d) that the network sees in the frames y that are not
        given, at the steps tau (b,).
        """
        frames = torch.where(known.fixed, known.frames, y)
        time = tau.to(y.dtype) * (1000 / self.config.steps)
        out, _ = self.denoiser(known.graph, frames, known.clock, known.given_each, time)
        eps = (out - frames) * ~known.fixed * known.graph.mask[:, None, :, None]
        return known.projected(eps)


def geotdm_loss(model: nn.Module, batch: FrameBatch) -> Tensor:
    """Squared error of the noise, the mean over the frames drawn.

    Gradients reach the prior through the anchors.
    """
    geotdm = cast(GeoTDM, model)
    generator = torch.Generator().manual_seed(batch.seed)
    batch = batch.at_rest(batch.drift()) if geotdm.config.comoving else batch
    x = batch.frames
    tau = torch.randint(
        0, geotdm.config.steps, (len(x),), generator=generator, device=generator.device
    ).to(x.device)
    eps = batch.projected(batch.normal(generator))
    batch = replace(batch, frames=batch.projected(x))
    anchor = geotdm.anchors(batch)
    kept = geotdm.kept[tau].to(x.dtype)[:, None, None, None]
    y = anchor + kept.sqrt() * (batch.frames - anchor) + (1 - kept).sqrt() * eps
    return mean_over_drawn((geotdm.noise_of(batch, y, tau) - eps).square(), batch)


@torch.no_grad()
def draw(model: GeoTDM, known: KnownFrames, normal: Normal, sampling: Sampling) -> Tensor:
    """Frames (b, t, n, d); given frames are left as they are.

    All steps of the diffusion: ancestral sampling with the fixed, large variance, as
    published. That variance is right only for steps as small as the training's, so that
    fewer steps follow the probability flow instead.
    """
    x, start, steps = known.frames, sampling.start, sampling.steps
    total = model.config.steps
    first = total if start is None else max(1, round(sampling.level * total))
    anchor = model.anchors(known)
    y = known.projected(normal())
    if start is not None:
        kept = model.kept[first - 1].to(x.dtype)
        y = kept.sqrt() * known.projected(start - anchor) + (1 - kept).sqrt() * y

    def noise(y: Tensor, tau: int) -> Tensor:
        return model.noise_of(known, y + anchor, torch.full((len(x),), tau, device=x.device))

    if steps is None or steps >= first:
        y = ancestral(y, noise, model.kept[:first], lambda: known.projected(normal()), sampling)
    else:
        y = strided(y, noise, model.kept[:first], steps, sampling)
    return torch.where(known.fixed, x, y + anchor)


def ancestral(
    y: Tensor,
    noise: Callable[[Tensor, int], Tensor],
    kept: Tensor,
    normal: Normal,
    sampling: Sampling,
) -> Tensor:
    """Residuals without noise from y of the last step, by one call for each step, with
    the variance beta (Ho et al., arXiv:2006.11239, algorithm 2).

    Parameters
    ----------
    noise : function
        The noise in y at a step of the diffusion.
    kept : Tensor (steps,)
        Share of the variance kept after each step (alpha bar).
    """
    levels = [1.0, *kept.tolist()]
    for tau in range(len(kept) - 1, -1, -1):
        beta = 1 - levels[tau + 1] / levels[tau]
        share = beta / (1 - levels[tau + 1]) ** 0.5
        y = (y - share * noise(y, tau)) / (1 - beta) ** 0.5
        if tau:
            y = y + beta**0.5 * normal()
        sampling.told(len(kept) - tau, len(kept))
    return y


def strided(
    y: Tensor,
    noise: Callable[[Tensor, int], Tensor],
    kept: Tensor,
    count: int,
    sampling: Sampling,
) -> Tensor:
    """Residuals without noise from y of the last step, in at most `count` calls without
    fresh noise; arguments as for `ancestral`.
    """
    sigmas = ((1 - kept) / kept).sqrt()  # of y / sqrt(kept) = clean + sigma noise
    wanted = noise_levels(
        count, highest=float(sigmas[-1]), lowest=float(sigmas[0]), rho=STRIDE_RHO
    )[:-1]
    nearest = [int((sigmas.log() - math.log(level)).abs().argmin()) for level in wanted]
    grid = sorted(set(nearest), reverse=True)
    levels = [*sigmas[grid].tolist(), 0.0]
    solver = TwoStep()
    z = y / float(kept[grid[0]]) ** 0.5
    for k, tau in enumerate(grid):
        clean = z - levels[k] * noise(float(kept[tau]) ** 0.5 * z, tau)
        z = solver.step(z, clean, levels[k], levels[k + 1])
        sampling.told(k + 1, len(grid))
    return z
