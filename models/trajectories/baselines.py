"""Trajectory models that learn nothing: the last frame held, and constant velocity.
numpy only; every seed gives the same frames.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.trajectories.windows import continuation, with_blank
from equidrift.protocols import Callback, TrajectoryModel
from equidrift.records import Trajectory


class _Baseline(TrajectoryModel):
    """What both have in common; subclasses give the weights of the given frames."""

    name: str
    min_frames: int
    dt_range_fs = (0.0, math.inf)
    elements = None  # any

    def complete(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]:
        """The frames not given, as the rule of this baseline fills them; see
        `TrajectoryModel.complete`.

        Raises
        ------
        InputError
            where fewer frames are given than the rule needs.
        """
        del steps, callback
        known = np.flatnonzero(given)
        if len(known) < self.min_frames:
            raise InputError(
                f"{self.name} needs {self.min_frames} given frames, and there are "
                f"{len(known)}; give more"
            )
        frames = np.array(trajectory.positions_A, np.float64)
        for k in np.flatnonzero(~np.asarray(given)).tolist():
            frames[k] = self._filled(frames, known, k)
        return np.repeat(frames[None], len(seeds), axis=0)

    def continue_(
        self, trajectory: Trajectory, n_frames: int, seeds: NDArray[np.int64], **options: Any
    ) -> list[Trajectory]:
        """The n_frames after the trajectory, one Trajectory per seed; see
        `TrajectoryModel.continue_`.
        """
        whole, given = with_blank(trajectory, trajectory.positions_A, n_frames)
        made = self.complete(whole, given, seeds, **options)
        return [continuation(trajectory, frames[~given], {"model": self.name}) for frames in made]

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
