"""Windows drawn by any of the diffusion networks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from equidrift.models.trajectories.diffusion.flow import Flow, draw_flow
from equidrift.models.trajectories.diffusion.frames import KnownFrames, Normal, Sampling
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM, draw
from equidrift.models.trajectories.diffusion.residual import ResidualGeoTDM, draw_residual

WindowNetwork = Flow | GeoTDM | ResidualGeoTDM


def draw_window(
    network: WindowNetwork, known: KnownFrames, normal: Normal, sampling: Sampling
) -> Tensor:
    """Frames (b, t, n, d) in units of the network's length; the given ones are left as
    they are.
    """
    if not network.config.comoving:
        return _drawn(network, known, normal, sampling)
    drift = known.drift()
    start = None if sampling.start is None else sampling.start - drift
    made = _drawn(network, known.at_rest(drift), normal, replace(sampling, start=start))
    return torch.where(known.fixed, known.frames, made + drift)


def _drawn(
    network: WindowNetwork, known: KnownFrames, normal: Normal, sampling: Sampling
) -> Tensor:
    """The same, in whatever frame of reference the known frames are in."""
    if isinstance(network, GeoTDM):
        return draw(network, known, normal, sampling)
    if isinstance(network, ResidualGeoTDM):
        return draw_residual(network, known, normal, sampling)
    return draw_flow(network, known, normal, sampling)
