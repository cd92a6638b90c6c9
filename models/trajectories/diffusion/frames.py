"""Windows of frames of which some are given, and how the others are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from equidrift.models.shared.batches import Batched
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.protocols import Callback

Normal = Callable[[], Tensor]  # standard normal numbers (b, t, n, d), the next at each call


@dataclass
class KnownFrames(Batched):
    """Frames (b, t, n, d) in units of the model's length, their times (t,), and which
    are given (t,); what the others hold is not read.

    `path` (b, t, n, d): a prior path that was made beforehand, None where the network
    draws it itself.
    """

    graph: Graph
    frames: Tensor
    clock: Tensor
    given: Tensor
    path: Tensor | None = field(default=None, kw_only=True)

    @property
    def any_given(self) -> bool:
        """Whether there is a given frame; without one, windows are drawn centred."""
        return bool(self.given.any())

    @property
    def fixed(self) -> Tensor:
        """`given` in the shape of frames, (1, t, 1, 1)."""
        return self.given[None, :, None, None]

    @property
    def given_each(self) -> Tensor:
        """`given` of each trajectory (b, t)."""
        return self.given[None].expand(len(self.frames), -1)

    def drift(self) -> Tensor:
        """The steady motion (b, t, 1, d) of the mean of all nodes that fits the given
        frames best; none where fewer than two are given.
        """
        x = self.frames
        share = self.graph.mask.to(x.dtype)[:, None, :, None]
        centre = (x * share).sum(2) / share.sum(2).clamp_min(1.0)  # (b, t, d)
        given, clock = self.given.to(x.dtype), self.clock.to(x.dtype)
        middle = (given * clock).sum() / given.sum().clamp_min(1.0)
        since = clock - middle
        square = (given * since.square()).sum()
        moved = ((given * since)[None, :, None] * centre).sum(1)
        speed = moved / torch.where(square > 0, square, 1.0)  # (b, d)
        return since[None, :, None, None] * speed[:, None, None]

    def at_rest(self, drift: Tensor) -> Self:
        """The same in the frame of reference that moves with a drift (b, t, 1, d)."""
        path = None if self.path is None else self.path - drift
        return replace(self, frames=self.frames - drift, path=path)

    def projected(self, x: Tensor) -> Tensor:
        """x (b, t, n, d), centred if no frame is given."""
        return x if self.any_given else centred(x, self.graph)


@dataclass
class FrameBatch(KnownFrames):
    """Known frames to train on, with the seed of the noise and the number of the batch."""

    seed: int = 0
    step: int = 0

    def normal(self, generator: torch.Generator) -> Tensor:
        """Standard normal numbers in the shape of the frames, drawn where the generator
        is.
        """
        x = self.frames
        return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(
            x.device
        )


@dataclass(frozen=True)
class Sampling:
    """How frames are drawn.

    Parameters
    ----------
    start : Tensor (b, t, n, d) or None
        Frames to begin from, noised up to the share `level` of the noise levels and
        denoised again (refinement); None begins from noise.
    level : float
        Share of the noise levels, from the lowest up.
    steps : int or None
        Network calls; None takes the model's own number.
    callback : callable or None
        Is called after each step.
    """

    start: Tensor | None = None
    level: float = 1.0
    steps: int | None = None
    callback: Callback | None = None

    def told(self, step: int, steps: int) -> None:
        """Tell of a step that is done."""
        if self.callback is not None:
            self.callback({"step": step, "steps": steps})


def centred(x: Tensor, graph: Graph) -> Tensor:
    """x less its one mean over all frames and nodes (arXiv:2410.13027, unconditional
    diffusion).
    """
    share = graph.mask.to(x.dtype)[:, None, :, None]
    return (
        x - (x * share).sum((1, 2), keepdim=True) / (share.sum((1, 2), keepdim=True) * x.shape[1])
    ) * share


def mean_over_drawn(square: Tensor, batch: FrameBatch) -> Tensor:
    """The mean of squared errors (b, t, n, d) over the atoms of the frames drawn."""
    drawn = ~batch.given
    share = batch.graph.mask[:, None, :, None].to(square.dtype)
    total = (square * share)[:, drawn].sum()
    return total / (share.sum() * int(drawn.sum()) * square.shape[-1])
