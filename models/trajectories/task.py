"""What a trajectory model is asked for as one record, and the two methods of
`TrajectoryModel` on it; numpy only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.trajectories.windows import CONTEXT, continuation, with_blank
from equidrift.protocols import Callback, TrajectoryModel
from equidrift.records import Trajectory


@dataclass(frozen=True)
class Task:
    """What `complete` is asked for.

    Parameters
    ----------
    trajectory : Trajectory
        t frames of n atoms.
    given : bool, shape (t,) or (t, n)
        Frames that are known, or atoms in frames.
    seeds : int64, shape (s,)
        One per sample.
    steps, callback
        See `TrajectoryModel.complete`.
    """

    trajectory: Trajectory
    given: NDArray[np.bool_]
    seeds: NDArray[np.int64]
    steps: int | None = None
    callback: Callback | None = None

    def with_given(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """The samples (s, t, n, 3) with what is given as it came."""
        samples[:, self.given] = np.asarray(self.trajectory.positions_A)[self.given]
        return samples


class TaskModel(TrajectoryModel):
    """A trajectory model that is told by what it makes of a `Task`.

    Subclasses give `_completed`; those that go on in windows also `_following`.
    """

    context: int | None = CONTEXT  # last frames that are read to go on from; None is all

    def complete(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]:
        """Fill in the frames that are not given; see `TrajectoryModel.complete`.

        Parameters
        ----------
        trajectory : Trajectory
            Frames in A; those that are not given are ignored and may be NaN.
        given : bool, shape (n_frames,) or (n_frames, n_atoms)
            Frames that are known; or, for models that take them, atoms in frames.
        seeds : int64, shape (s,)
            Sample k depends on seeds[k] alone.
        steps : int or None
            Network calls, for models that have steps.
        callback : callable or None
            Told how far it has come.

        Returns
        -------
        float64, shape (s, n_frames, n_atoms, 3)
            Samples in A, with the given frames as they came.

        Raises
        ------
        InputError
            If fewer frames are given than the model needs, or single atoms to a model
            that takes frames, or if given frames are not finite.
        """
        known, chosen = np.asarray(given, bool), np.asarray(seeds, np.int64)
        return self._completed(Task(trajectory, known, chosen, steps, callback))

    def continue_(
        self,
        trajectory: Trajectory,
        n_frames: int,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Trajectory]:
        """The frames after a trajectory; see `TrajectoryModel.continue_`.

        Parameters
        ----------
        trajectory : Trajectory
            All of its frames are known.
        n_frames : int
            How many are to follow.
        seeds, steps, callback
            See `complete`.

        Returns
        -------
        list of Trajectory
            The new frames alone, one trajectory per seed.
        """
        chosen, known = np.asarray(seeds, np.int64), np.ones(len(trajectory), bool)
        made = self._following(Task(trajectory, known, chosen, steps, callback), n_frames)
        spacing_fs = self._spacing_fs(trajectory)
        return [
            continuation(trajectory, x, self._provenance(int(seed)), spacing_fs)
            for x, seed in zip(made, chosen, strict=True)
        ]

    def _spacing_fs(self, trajectory: Trajectory) -> float:
        """Of the frames after a trajectory."""
        return trajectory.dt_fs

    def _completed(self, task: Task) -> NDArray[np.float64]:
        """Samples (s, t, n, 3) with what is given as it came."""
        raise NotImplementedError

    def _following(self, task: Task, n_frames: int) -> Iterable[NDArray[np.float64]]:
        """New frames (n_frames, n, 3) for each seed, here in one run of whatever length."""
        positions = task.trajectory.positions_A
        head = positions if self.context is None else positions[-self.context :]
        whole, given = with_blank(task.trajectory, head, n_frames)
        made = self.complete(whole, given, task.seeds, steps=task.steps, callback=task.callback)
        return made[:, ~given]

    def _provenance(self, seed: int) -> dict[str, Any]:
        """What new frames carry with them."""
        told: dict[str, Any] = {"model": self.name, "exact": False}
        if self.weights_sha256 is not None:
            told["weights_sha256"] = self.weights_sha256
        return told | {"seed": seed}

    def _check_enough(self, given: NDArray[np.bool_]) -> None:
        """Raise `InputError` if fewer frames (t,) are given than the model needs."""
        if (count := int(given.sum())) < self.min_frames:
            raise InputError(
                f"{self.name} needs {self.min_frames} given frames, and there are {count}; give "
                "more"
            )
