"""GeoTDM in residual form: the prior path goes straight on, and the network learns what
the data do beyond it (`kind: geotdm`, `options: {form: residual}`).

The residual of each frame, in units of its spread in the training data, is denoised
with the preconditioning of EDM (arXiv:2206.00364), where the data have unit variance.
Samples need about 10 network calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from equidrift.models.shared.schedules import noise_level, noise_levels
from equidrift.models.trajectories.diffusion.egtn import EGTNConfig
from equidrift.models.trajectories.diffusion.geotdm import FrameBatch, centred, mean_over_drawn
from equidrift.models.trajectories.diffusion.multistep import TwoStep
from equidrift.models.trajectories.diffusion.path import PathNetwork
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.protocols import Callback

RESIDUAL = "residual"  # the value of a config's key `form`
CALLS = 10  # network calls of a sample, if nothing else is asked for
RHO = 7.0  # how noise levels are spaced (EDM, equation 5)
LOG_SIGMA_MEAN, LOG_SIGMA_STD = -0.5, 1.2  # EDM's training levels, in units of the data's spread


@dataclass(frozen=True)
class ResidualConfig:
    """Sizes and the prior path.

    Parameters
    ----------
    network : EGTNConfig
        Sizes of the network.
    frames : int
        The longest window.
    line : float
        Share of the velocity that the prior path keeps beyond given frames: 1 is
        constant velocity, 0 holds the nearest given frame.
    highest, lowest : float
        Noise levels where sampling begins and ends, in units of the residual's spread.
    """

    network: EGTNConfig = field(
        default_factory=lambda: EGTNConfig(
            width=64, layers=4, heads=4, scaled=True, velocities=True
        )
    )
    frames: int = 30
    line: float = 1.0
    highest: float = 20.0
    lowest: float = 0.005


class ResidualGeoTDM(PathNetwork):
    """The network that denoises residuals of the prior path."""

    def __init__(self, config: ResidualConfig):
        super().__init__(config)
        self.config = config

    def denoised(
        self,
        graph: Graph,
        x: Tensor,
        y: Tensor,
        anchor: Tensor,
        clock: Tensor,
        given: Tensor,
        sigma: Tensor,
    ) -> Tensor:
        """The clean residual expected under the noisy one (EDM, equation 7).

        Parameters
        ----------
        x, anchor : Tensor (b, t, n, d)
            The frames, of which the given ones are read, and the prior path.
        y : Tensor (b, t, n, d)
            The noisy residual, in units of its spread.
        clock, given : Tensor (t,)
            Times of the frames, and which are given.
        sigma : Tensor (b,)
            Noise level of y.

        Returns
        -------
        Tensor (b, t, n, d)
        """
        scale = self.scale(given)[None, :, None, None].to(x.dtype)
        level = sigma[:, None, None, None]
        size = (level.square() + 1).sqrt()
        frames = torch.where(given[None, :, None, None], x, anchor + scale * y / size)
        time = 1000 * sigma / (1 + sigma)  # 0 to 1000, as the embedding expects
        out, _ = self.network(graph, frames, clock, given[None].expand(len(x), -1), time)
        moved = (out - frames) / scale * graph.mask[:, None, :, None]
        moved = moved if bool(given.any()) else centred(moved, graph)
        return y / size.square() + level / size * moved


def residual_loss(model: nn.Module, batch: FrameBatch) -> Tensor:
    """Squared error of the clean residual, weighed so that each noise level counts alike
    (EDM, equation 8), the mean over the frames drawn.
    """
    network = cast(ResidualGeoTDM, model)
    generator = torch.Generator().manual_seed(batch.seed)
    x = batch.frames
    logs = LOG_SIGMA_MEAN + LOG_SIGMA_STD * torch.randn((len(x),), generator=generator)
    sigma = logs.exp().to(x)  # (b,)
    eps = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    if not bool(batch.given.any()):
        x, eps = centred(x, batch.graph), centred(eps, batch.graph)
    anchor = network.anchors(x, batch.given)
    y = (x - anchor) / network.scale(batch.given)[None, :, None, None].to(x.dtype)
    level = sigma[:, None, None, None]
    found = network.denoised(
        batch.graph, x, y + level * eps, anchor, batch.clock, batch.given, sigma
    )
    weight = (level.square() + 1) / level.square()
    return mean_over_drawn(weight * (found - y).square(), batch)


@torch.no_grad()
def draw_residual(
    model: ResidualGeoTDM,
    graph: Graph,
    x: Tensor,
    clock: Tensor,
    given: Tensor,
    normal: Callable[[], Tensor],
    *,
    start: Tensor | None = None,
    level: float = 1.0,
    steps: int | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Frames (b, t, n, d) by the probability flow; given frames are left as they are.

    Parameters
    ----------
    start : Tensor (b, t, n, d) or None
        Frames to begin from, see `geotdm.draw`; None begins from noise.
    level : float
        Share of the noise levels, from the lowest up, that `start` is noised to.
    steps : int or None
        Network calls; None takes 10.
    """
    config = model.config
    anchor = model.anchors(x, given)
    scale = model.scale(given)[None, :, None, None].to(x.dtype)
    first = noise_level(1.0 - level, config.highest, config.lowest, RHO)
    noise = normal() if bool(given.any()) else centred(normal(), graph)
    y = first * noise
    if start is not None:
        y = y + (start - anchor) / scale
    count = steps or CALLS
    levels = noise_levels(count, highest=first, lowest=config.lowest, rho=RHO)
    solver = TwoStep()
    for k in range(count):
        sigma = torch.full((len(x),), levels[k], dtype=x.dtype, device=x.device)
        clean = model.denoised(graph, x, y, anchor, clock, given, sigma)
        y = solver.step(y, clean, levels[k], levels[k + 1])
        if callback is not None:
            callback({"step": k + 1, "steps": count})
    made = torch.where(given[None, :, None, None], x, anchor + scale * y)
    return made if bool(given.any()) else centred(made, graph)
