"""Windows drawn by any of the diffusion networks."""

from __future__ import annotations

from collections.abc import Callable

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
    if isinstance(network, GeoTDM):
        return draw(
            network,
            graph,
            x,
            clock,
            given,
            normal,
            start=start,
            level=level,
            steps=steps,
            callback=callback,
        )
    if isinstance(network, ResidualGeoTDM):
        return draw_residual(
            network,
            graph,
            x,
            clock,
            given,
            normal,
            start=start,
            level=level,
            steps=steps,
            callback=callback,
        )
    return draw_flow(
        network,
        graph,
        x,
        clock,
        given,
        normal,
        start=start,
        level=level,
        steps=steps,
        callback=callback,
    )
