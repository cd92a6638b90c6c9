"""Jobs that draw frames: seeds -> chunks of frames -> checks -> drawn again until no
bond is broken -> Trajectory.

A job goes through batches of samples, and a forecast within each through chunks of
frames, so that long runs are streamed and continued. Sample k depends on the run's seed
and on k alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from equidrift.arguments import check_count
from equidrift.checks.frames import check_model, worth
from equidrift.checks.trajectory import (
    check_is_trajectory,
    check_related,
    check_trajectory,
    check_units,
    even,
)
from equidrift.engine.frames import (
    BROKEN,
    Draw,
    FrameJob,
    TrajectorySettings,
    check_of,
    make_settings,
    sorted_sum,
)
from equidrift.engine.gaps import Completion, grid_of, windows
from equidrift.engine.pace import new_spacing_fs
from equidrift.errors import InputError
from equidrift.inputs import as_trajectory
from equidrift.notes import warn
from equidrift.progress import frame_bar
from equidrift.protocols import BatchedTrajectoryModel, RefiningTrajectoryModel
from equidrift.records import Chunk, Trajectory

__all__ = [
    "BROKEN",
    "Completion",
    "Forecast",
    "FrameJob",
    "Refinement",
    "TrajectorySettings",
    "forecast_job",
    "grid_of",
    "interpolation_job",
    "make_settings",
    "masked_job",
    "refinement_job",
    "run",
    "windows",
]

_Job = TypeVar("_Job", bound=FrameJob)


class Forecast(FrameJob):
    """The frames after a trajectory.

    Parameters
    ----------
    given : Trajectory
        Checked by `equidrift.checks.trajectory`.
    n_frames : int
        New frames that are kept.
    every : int
        One frame is kept of so many that are made, the last of them.
    """

    def __init__(
        self,
        given: Trajectory,
        n_frames: int,
        settings: TrajectorySettings,
        notes: Sequence[str] = (),
        *,
        every: int = 1,
    ) -> None:
        self.n_frames, self.every = n_frames * every, every
        self.dt_fs = new_spacing_fs(settings.model, given)
        boxes_A = given.boxes_A
        last_A = None if boxes_A is None else boxes_A[-1]  # the new frames' box is not foretold
        self.past = given.replace(box_A=last_A)[-settings.context :]
        self.n_given = len(given)
        super().__init__(
            self.past[-1],
            settings,
            set(check_of(self.past)(self.past.positions_A).tolist()),
            notes,
        )

    def chunks(
        self, n: int, start: tuple[int, int] = (0, 0), done_A: NDArray[np.float64] | None = None
    ) -> Iterator[Chunk]:
        """See `FrameJob.chunks`."""
        context = self.settings.context
        sample, frame = start
        while sample < n:
            count = min(n - sample, self.settings.batch_size)
            past_A = np.repeat(self.past.positions_A[None], count, axis=0)
            if frame and done_A is not None:
                past_A = np.concatenate([past_A, done_A], axis=1)[:, -context:]
            while frame < self.n_frames:
                chunk = self._chunk(sample, count, frame, self._drawer(past_A, frame))
                past_A = np.concatenate([past_A, chunk.positions_A], axis=1)[
                    :, -self.settings.context :
                ]
                frame += chunk.positions_A.shape[1]
                yield chunk
            sample, frame = sample + count, 0

    def _drawer(self, past_A: NDArray[np.float64], frame: int) -> Draw:
        """Draws the chunk from `frame` on, after past_A (n_samples, any, n_atoms, 3),
        in one call if the model can.
        """
        model, settings = self.settings.model, self.settings
        length = self.frames_from(frame)
        time_fs = self.past.time_fs[-1] + self.dt_fs * (frame + np.arange(1 - past_A.shape[1], 1))

        calls: dict[str, Any] = {"steps": settings.steps, "callback": settings.callback}

        def draw(places: NDArray[np.int64], seeds: NDArray[np.int64]) -> NDArray[np.float64]:
            pasts = [
                self.past.replace(positions_A=past_A[place], time_fs=time_fs)
                for place in places.tolist()
            ]
            if frame == 0:  # the samples share their past
                made = model.continue_(pasts[0], length, seeds, **calls)
            elif isinstance(model, BatchedTrajectoryModel):
                made = model.continue_many(pasts, length, seeds, **calls)
            else:
                made = [
                    model.continue_(past, length, seeds[k : k + 1], **calls)[0]
                    for k, past in enumerate(pasts)
                ]
            return np.array([sample.positions_A for sample in made])

        return draw

    def trajectory(
        self, positions_A: NDArray[np.float64], provenance: dict[str, Any]
    ) -> Trajectory:
        """See `FrameJob.trajectory`."""
        kept = np.arange(self.every, len(positions_A) + 1, self.every)
        thinned = {} if self.every == 1 else {"every": self.every}
        return self.frame.replace(
            positions_A=positions_A[kept - 1],
            time_fs=self.past.time_fs[-1] + self.dt_fs * kept,
            provenance=provenance | thinned | {"given_frames": self.n_given},
        )


class Refinement(FrameJob):
    """A coarse trajectory noised and denoised.

    Parameters
    ----------
    coarse : Trajectory
        Checked, its bonds apart.
    level : float
        Of the noise, above 0 to 1.
    """

    def __init__(self, coarse: Trajectory, level: float, settings: TrajectorySettings) -> None:
        if not isinstance(settings.model, RefiningTrajectoryModel):
            raise InputError(
                f"the model {settings.model.name!r} does not refine trajectories; use one that "
                "does, such as 'default'"
            )
        self.n_frames, self.coarse, self.level = len(coarse), coarse, level
        self.refine = settings.model.refine
        super().__init__(coarse, settings, set())

    def chunks(
        self,
        n: int,
        start: tuple[int, int] = (0, 0),
        done_A: NDArray[np.float64] | None = None,  # noqa: ARG002 - a refinement begins anew
    ) -> Iterator[Chunk]:
        """See `FrameJob.chunks`."""
        refine = self.refine
        for sample in range(start[0], n, self.settings.batch_size):
            count = min(n - sample, self.settings.batch_size)
            yield self._chunk(
                sample, count, 0, lambda _, seeds: refine(self.coarse, seeds, level=self.level)
            )

    def trajectory(
        self, positions_A: NDArray[np.float64], provenance: dict[str, Any]
    ) -> Trajectory:
        """See `FrameJob.trajectory`."""
        before = sorted_sum(
            [Counter(reason for reason in self.check(self.coarse.positions_A).tolist() if reason)]
        )
        return self.coarse.replace(
            positions_A=positions_A,
            provenance=provenance | {"level": self.level, "broken_frames_before": before},
        )


def run(job: FrameJob, n: int, progress: bool = False) -> list[Trajectory]:
    """Samples of a job, n of them, with a progress bar if it is to be shown."""
    batches: list[list[Chunk]] = []
    with frame_bar(n * job.n_frames, shown=progress) as report:
        for chunk in job.chunks(n):
            if chunk.first_frame == 0:
                batches.append([])
            batches[-1].append(chunk)
            if report is not None:
                report(chunk)
    return [trajectory for batch in batches for trajectory in job.trajectories(batch)]


def forecast_job(
    trajectory: object, n_frames: int, settings: TrajectorySettings, *, every: int = 1
) -> Forecast:
    """The checked job of `forecast`; a `UserWarning`, a log record and
    provenance["notes"] say when it is not worth its cost.
    """
    check_count("n_frames", n_frames)
    check_count("every", every)
    given = check_trajectory(as_trajectory(trajectory))
    check_model(settings.model, given, n_given=len(given))
    check_related(given)
    notes = worth(settings.model, given)
    return _told(Forecast(given, n_frames, settings, notes, every=every))


def interpolation_job(
    trajectory: object, n_frames: int | None, settings: TrajectorySettings
) -> Completion:
    """The checked job of `interpolate`."""
    whole, known = grid_of(as_trajectory(trajectory), n_frames)
    check_model(settings.model, whole, n_given=int(known.sum()), between=True)
    return _told(Completion(whole, known, settings))


def masked_job(trajectory: object, given: object, settings: TrajectorySettings) -> Completion:
    """The checked job of `interpolate` for single atoms that are known."""
    whole = check_is_trajectory(as_trajectory(trajectory))
    mask = np.asarray(given)
    if mask.dtype != bool or mask.shape != whole.positions_A.shape[:2]:
        raise InputError(
            f"given must be bool of shape (n_frames, n_atoms) = {whole.positions_A.shape[:2]}, not "
            f"{mask.dtype} of shape {mask.shape}; for whole frames leave it out"
        )
    if not mask.any() or mask.all():
        what = (
            "no atom is given"
            if not mask.any()
            else "every atom of every frame is given, none is missing"
        )
        raise InputError(f"{what}; mark with True what is known, with False what is to be drawn")
    if not np.isfinite(whole.positions_A[mask]).all():
        frame, atom = np.argwhere(mask & ~np.isfinite(whole.positions_A).all(2))[0]
        raise InputError(
            f"atom {atom} of frame {frame} is marked as given and is NaN or infinite; mark it as "
            "not given, or mend it"
        )
    complete = mask.all(1)
    if complete.any():
        check_units(whole[np.flatnonzero(complete)])
    whole = even(whole.replace(positions_A=np.where(mask[..., None], whole.positions_A, np.nan)))
    check_model(settings.model, whole, n_given=int(mask.any(1).sum()), between=True)
    return _told(Completion(whole, mask, settings))


def refinement_job(trajectory: object, level: float, settings: TrajectorySettings) -> Refinement:
    """The checked job of `refine_trajectory`."""
    if (
        isinstance(level, bool)
        or not isinstance(level, int | float | np.number)
        or not 0 < level <= 1
    ):
        raise InputError(
            f"level must be a number above 0 and at most 1, not {level!r}; give for example 0.3"
        )
    coarse = check_trajectory(as_trajectory(trajectory), whole=False)
    check_model(settings.model, coarse, n_given=len(coarse))
    return _told(Refinement(coarse, float(level), settings))


def _told(job: _Job) -> _Job:
    """The job, its notes told to the caller of the public function."""
    for note in job.notes:
        warn(note, "engine", stacklevel=4)
    return job
