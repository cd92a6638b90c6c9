"""Windows of frames of which some are given, and how the others are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

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
