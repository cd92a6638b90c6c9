"""Noise on coordinates, for the generator's solver and the conditional sampler."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equidrift.models.shared.solvers import ancestral_step


class ToClean:
    """Noise on coordinates, times being its levels in A, where an estimate of the clean
    conformer (b, n, 3) stands for the score.
    """

    def __init__(self, start: Tensor, churn: float):
        self.start, self.churn = start, churn

    def prior(self, noise: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's
        """The start that the samples' seeds have made; `noise` is not read."""
        return self.start

    def transition(self, y: Tensor, earlier: float, later: float, noise: Tensor) -> Tensor:
        """Noise of level `later` on what has noise of level `earlier`."""
        out: Tensor = y + (later**2 - earlier**2) ** 0.5 * noise
        return out

    def reverse(
        self,
        y: Tensor,
        t: float,
        to: float,
        score: Tensor,
        noise: Tensor | Callable[[], Tensor] | None,
    ) -> Tensor:
        """Towards the clean estimate, by an ancestral step with churn; noise is drawn
        only where some is added.
        """
        return ancestral_step(y, score, t, to, 0.0 if noise is None else self.churn, noise)

    def langevin(
        self, y: Tensor, t: float, step: float, score: Tensor, noise: Tensor, free: Tensor
    ) -> Tensor:
        """One step on the free atoms, in units of the level's variance: the score is
        (clean - y) / t^2.
        """
        move = 0.5 * step * (score - y) + step**0.5 * t * noise
        return torch.where(free[..., None], y + move, y)
