"""Windows drawn by any of the diffusion networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from equidrift.models.trajectories.diffusion.flow import Flow, draw_flow
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM, draw
from equidrift.models.trajectories.diffusion.residual import ResidualGeoTDM, draw_residual
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.protocols import Callback

WindowNetwork = Flow | GeoTDM | ResidualGeoTDM


def draw_window(
    network: WindowNetwork,
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
    """Frames (b, t, n, d) in units of the network's length, the given (t,) ones of x left
    as they are; the arguments are those of `geotdm.draw`.
    """
    drawn: Callable[..., Tensor]
    if isinstance(network, GeoTDM):
        drawn = partial(draw, network)
    elif isinstance(network, ResidualGeoTDM):
        drawn = partial(draw_residual, network)
    else:
        drawn = partial(draw_flow, network)
    return drawn(
        graph, x, clock, given, normal, start=start, level=level, steps=steps, callback=callback
    )
