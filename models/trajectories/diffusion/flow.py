"""The few-step flow: frames not given are carried from noise around a line through the
given ones to a sample, in 10 to 20 calls.

In units of the spread that the training data shows at each distance in time from a
given frame, the residual y of a frame goes from noise to data along y_s = (1 - s) eps +
s y; the network (EGTN with several scaled heads, full graph, speeds) predicts y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from equidrift.models.trajectories.diffusion.egtn import EGTNConfig
from equidrift.models.trajectories.diffusion.geotdm import FrameBatch, centred, mean_over_drawn
from equidrift.models.trajectories.diffusion.path import PathNetwork
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.protocols import Callback

CALLS = 10


@dataclass(frozen=True)
class FlowConfig:
    """`frames`: longest window; `line`: share of the velocity that the line keeps
    beyond given frames (1 straight on, 0 stay).
    """

    network: EGTNConfig = field(
        default_factory=lambda: EGTNConfig(
            width=64, layers=4, heads=4, scaled=True, velocities=True
        )
    )
    frames: int = 30
    line: float = 1.0


class Flow(PathNetwork):
    """The network over the prior path, which predicts clean residuals."""

    def __init__(self, config: FlowConfig):
        super().__init__(config)
        self.config = config

    def estimate(
        self,
        graph: Graph,
        x: Tensor,
        y: Tensor,
        anchor: Tensor,
        clock: Tensor,
        given: Tensor,
        s: Tensor,
    ) -> Tensor:
        """The clean residual (b, t, n, d) that the network expects under y at flow time
        s (b,).
        """
        scale = self.scale(given)[None, :, None, None].to(x.dtype)
        frames = torch.where(given[None, :, None, None], x, anchor + scale * y)
        out, _ = self.network(graph, frames, clock, given[None].expand(len(x), -1), 1000 * s)
        s4 = s[:, None, None, None]
        size = (s4.square() + (1 - s4).square()).sqrt()
        return s4 / size.square() * y + (1 - s4) / size * (out - frames) / scale


def flow_loss(model: nn.Module, batch: FrameBatch) -> Tensor:
    """Squared error of the residual in units of its spread, weighed as noise
    prediction's is, over the frames drawn.
    """
    flow = cast(Flow, model)
    generator = torch.Generator().manual_seed(batch.seed)
    x = batch.frames
    if not bool(batch.given.any()):
        x = centred(x, batch.graph)
    s = torch.rand((len(x),), generator=generator).to(x.dtype)
    eps = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    anchor = flow.anchors(x, batch.given)
    y = (x - anchor) / flow.scale(batch.given)[None, :, None, None].to(x.dtype)
    s4 = s[:, None, None, None]
    found = flow.estimate(
        batch.graph, x, s4 * y + (1 - s4) * eps, anchor, batch.clock, batch.given, s
    )
    weight = (s4.square() + (1 - s4).square()) / (1 - s4 + 0.05).square()
    return mean_over_drawn(weight * (found - y).square(), batch)


@torch.no_grad()
def draw_flow(
    model: Flow,
    graph: Graph,
    x: Tensor,
    clock: Tensor,
    given: Tensor,
    normal: Callable[[], Tensor],
    *,
    anchor: Tensor | None = None,
    start: Tensor | None = None,
    level: float = 1.0,
    steps: int | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Euler steps of the flow; given frames are left as they are.

    `start` and `level`: see `geotdm.draw`.
    """
    count = steps or CALLS
    line = model.anchors(x, given) if anchor is None else anchor
    scale = model.scale(given)[None, :, None, None].to(x.dtype)
    y, begin = normal(), 0.0
    if start is not None:
        begin = 1.0 - level
        y = (1 - begin) * y + begin * (start - line) / scale
    grid = torch.linspace(begin, 1.0, count + 1, dtype=x.dtype)
    for k in range(count):
        s, after = grid[k], grid[k + 1]
        clean = model.estimate(graph, x, y, line, clock, given, s.expand(len(x)))
        y = y + (after - s) / (1 - s) * (clean - y)
        if callback is not None:
            callback({"step": k + 1, "steps": count})
    made = torch.where(given[None, :, None, None], x, line + scale * y)
    return made if bool(given.any()) else centred(made, graph)
