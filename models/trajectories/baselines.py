"""Trajectory models that learn nothing: the last frame held, and constant velocity.
numpy only; every seed gives the same frames.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.models.trajectories.task import Task, TaskModel


class _Baseline(TaskModel):
    """What both have in common; subclasses give the weights of the given frames."""

    name: str
    min_frames: int
    dt_range_fs = (0.0, math.inf)
    elements = None  # any
    context = None

    def _completed(self, task: Task) -> NDArray[np.float64]:
        self._check_enough(task.given)
        known = np.flatnonzero(task.given)
        frames = np.array(task.trajectory.positions_A, np.float64)
        for k in np.flatnonzero(~task.given).tolist():
            frames[k] = self._filled(frames, known, k)
        return np.repeat(frames[None], len(task.seeds), axis=0)

    def _provenance(self, seed: int) -> dict[str, Any]:
        del seed  # every seed gives the same frames
        return {"model": self.name}

    def _filled(
        self, frames: NDArray[np.float64], known: NDArray[np.int64], k: int
    ) -> NDArray[np.float64]:
        """Frame k from the frames at the places `known`."""
        raise NotImplementedError


class LastFrame(_Baseline):
    """Every frame is the given one before it; those before the first are the first."""

    name = "last-frame"
    min_frames = 1

    def _filled(
        self, frames: NDArray[np.float64], known: NDArray[np.int64], k: int
    ) -> NDArray[np.float64]:
        held: NDArray[np.float64] = frames[known[max(0, int(np.searchsorted(known, k)) - 1)]]
        return held


class ConstantVelocity(_Baseline):
    """A straight line through the given frames on both sides, or through the two
    nearest where one side has none.
    """

    name = "constant-velocity"
    min_frames = 2

    def _filled(
        self, frames: NDArray[np.float64], known: NDArray[np.int64], k: int
    ) -> NDArray[np.float64]:
        place = min(max(1, int(np.searchsorted(known, k))), len(known) - 1)
        a, b = known[place - 1], known[place]
        line: NDArray[np.float64] = frames[a] + (frames[b] - frames[a]) * ((k - a) / (b - a))
        return line
