"""Prior paths: where frames that are not given would be if the motion went straight on,
and how far data stray from there.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from equidrift.models.trajectories.diffusion.egtn import EGTN, EGTNConfig


class PathConfig(Protocol):
    """What a network over a prior path reads of its configuration."""

    @property
    def network(self) -> EGTNConfig:
        """Sizes of the network."""
        ...

    @property
    def frames(self) -> int:
        """The longest window."""
        ...

    @property
    def line(self) -> float:
        """Share of the velocity that is kept beyond given frames."""
        ...


class PathNetwork(nn.Module):
    """An EGTN, and the spread (frames,) of residuals from the prior path at each
    distance in frames from the nearest given one.
    """

    def __init__(self, config: PathConfig):
        super().__init__()
        self.line = config.line
        self.network = EGTN(config.network)
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(config.frames))  # a buffer moves with the module

    def anchors(self, x: Tensor, given: Tensor) -> Tensor:
        """The prior path (b, t, n, d) through the frames of x that are given (t,).

        Between two given frames it is the line that joins them. Beyond them it goes on
        with the share `line` of the last velocity. From one given frame it stays there;
        without any it is zero.
        """
        known = torch.nonzero(given)[:, 0].tolist()
        if not known:
            return torch.zeros_like(x)
        if len(known) == 1:
            return x[:, known].expand_as(x)
        return torch.stack([self._on_path(x, known, k) for k in range(x.shape[1])], 1)

    def _on_path(self, x: Tensor, known: list[int], k: int) -> Tensor:
        """Frame k (b, n, d) of the path through the frames `known`, two or more."""
        following = next((j for j, place in enumerate(known) if place >= k), len(known))
        j = min(max(1, following), len(known) - 1)
        a, b = known[j - 1], known[j]
        outside = k > b or k < a
        near = b if k > b else a
        slope = (x[:, b] - x[:, a]) / (b - a)
        return x[:, near] + slope * ((k - near) * (self.line if outside else 1.0))

    def scale(self, given: Tensor) -> Tensor:
        """The spread (t,) of each frame's residual."""
        return self.spread[distance(given).clamp_max(len(self.spread) - 1)]

    def coordinates(self, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """The prior path (b, t, n, d) and the units (1, t, 1, 1) of residuals from it, in
        which given frames, that have none, keep their own.
        """
        kept = given[None, :, None, None]
        units = torch.where(kept, 1.0, self.scale(given)[None, :, None, None]).to(x.dtype)
        return self.anchors(x, given), units


def distance(given: Tensor) -> Tensor:
    """Frames (t,) to the nearest given frame; 0 for given ones, and 0 everywhere if
    none is given.
    """
    known = torch.nonzero(given)[:, 0]
    t = torch.arange(len(given), device=given.device)
    return (t[:, None] - known[None]).abs().amin(1) if len(known) else torch.zeros_like(t)
