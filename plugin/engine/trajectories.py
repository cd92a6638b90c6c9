"""Jobs that draw frames: seeds -> chunks of frames -> checks -> drawn again until no
bond is broken -> Trajectory.

A job goes through batches of samples, and a forecast within each through chunks of
frames, so that long runs are streamed and continued. Sample k depends on the run's seed
and on k alone.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift._version import __version__
from equidrift.arguments import check_count
from equidrift.checks.geometry import NO_COORDINATES, GeometryCheck
from equidrift.checks.trajectory import (
    check_model,
    check_related,
    check_trajectory,
    check_units,
    even,
    worth,
)
from equidrift.engine.run import made_by
from equidrift.errors import (
    EquidriftError,
    InputError,
    ModelError,
    NoValidSamplesError,
    UnknownNameError,
)
from equidrift.inputs import as_trajectory
from equidrift.protocols import (
    BatchedTrajectoryModel,
    Callback,
    RefiningTrajectoryModel,
    TrajectoryModel,
    as_trajectory_model,
)
from equidrift.records import Chunk, Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.seeds import check_seed, sample_seeds

BROKEN = ("redraw", "report")
CHUNK = 100  # frames of a forecast drawn, checked and written at a time
CONTEXT = 64  # frames that a model is shown at most
BATCH_SIZE = 32
MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class Settings:
    """What every draw of a run has in common; `equidrift.forecast` explains the fields."""

    model: TrajectoryModel
    seed: int = 0
    steps: int | None = None
    broken: str = "redraw"
    max_attempts: int = MAX_ATTEMPTS
    batch_size: int = BATCH_SIZE
    options: dict[str, Any] = field(default_factory=dict)
    callback: Callback | None = None


def make_settings(
    model: Any = "default",
    *,
    seed: int = 0,
    steps: int | None = None,
    broken: str = "redraw",
    max_attempts: int = MAX_ATTEMPTS,
    batch_size: int | None = None,
    callback: Callback | None = None,
    **model_options: Any,
) -> Settings:
    """Check the options of a run and load its model.

    Raises
    ------
    UnknownNameError
        for an unknown model or way with broken frames, InputError or InputTypeError for
        an option out of its range.
    """
    seed = check_seed(seed)
    for label, value in (
        ("steps", steps),
        ("batch_size", batch_size),
        ("max_attempts", max_attempts),
    ):
        if value is not None:
            check_count(label, value)
    if broken not in BROKEN:
        raise UnknownNameError("way with broken frames", str(broken), BROKEN)
    made = as_trajectory_model(
        made_by(make_trajectory_model, model, model_options) if isinstance(model, str) else model
    )
    size = batch_size or made.batch_size or BATCH_SIZE
    return Settings(made, seed, steps, broken, max_attempts, size, model_options, callback)


Draw = Callable[
    [NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]
]  # (places of samples, their seeds) -> positions_A


class Job(ABC):
    """Draws frames by batches of samples; subclasses say which frames.

    Parameters
    ----------
    frame : a Trajectory with the molecule, box and provenance of the results.
    usual : faults that the given frames show, and that are none of the model's.
    """

    n_frames: int  # of each sample

    def __init__(self, frame: Trajectory, settings: Settings, usual: set[str]) -> None:
        self.frame, self.settings, self.usual = frame, settings, usual - {""}
        self.check = GeometryCheck(frame.molecule)

    @abstractmethod
    def chunks(
        self, n: int, start: tuple[int, int] = (0, 0), done_A: NDArray[np.float64] | None = None
    ) -> Iterator[Chunk]:
        """Chunks of n samples, batch by batch, in constant memory.

        Parameters
        ----------
        start : (samples done, frames done of the next batch), where an earlier run
            ended behind a chunk.
        done_A : (batch, any, n_atoms, 3) the last frames of that batch (CONTEXT of
            them, or all), where its frames done are not 0.
        """

    @abstractmethod
    def trajectory(
        self, positions_A: NDArray[np.float64], provenance: dict[str, Any]
    ) -> Trajectory:
        """One sample (n_frames, n_atoms, 3) as a Trajectory."""

    def position(self, chunk: Chunk, n: int) -> tuple[int, int]:
        """Where a run stands behind a chunk, as `chunks` takes it."""
        frames = chunk.first_frame + chunk.positions_A.shape[1]
        return (
            (chunk.first_sample + len(chunk.seeds), 0)
            if frames >= self.n_frames
            else (chunk.first_sample, frames)
        )

    def trajectories(self, batch: Sequence[Chunk]) -> list[Trajectory]:
        """The samples of one batch, their chunks put together, with their provenance."""
        positions_A = np.concatenate([chunk.positions_A for chunk in batch], axis=1)
        samples = []
        for k, frames_A in enumerate(positions_A):
            rejected, broken = (
                _sorted_sum(getattr(chunk, name)[k] for chunk in batch)
                for name in ("rejected", "broken")
            )
            origin = self.provenance() | {
                "sample": batch[0].first_sample + k,
                "seeds": [int(chunk.seeds[k]) for chunk in batch],
            }
            origin |= {
                "drawn": len(batch) + sum(rejected.values()),
                "rejected": rejected,
                "broken_frames": broken,
            }
            samples.append(self.trajectory(frames_A, origin))
        return samples

    def provenance(self) -> dict[str, Any]:
        """Where the frames come from; `exact` is False, since no model samples the
        dynamics exactly.
        """
        settings, model = self.settings, self.settings.model
        options = {"steps": settings.steps, "broken": settings.broken, **settings.options}
        kept = {
            key: self.frame.provenance[key]
            for key in ("unwrapped_frames",)
            if key in self.frame.provenance
        }
        if self.usual:
            kept["faults_of_given_frames"] = sorted(self.usual)
        return kept | {
            "model": str(model.name),
            "weights_sha256": model.weights_sha256,
            "seed": settings.seed,
            "options": {key: value for key, value in options.items() if value is not None},
            "exact": False,
            "equidrift": __version__,
        }

    def _chunk(self, sample: int, count: int, frame: int, draw: Draw) -> Chunk:
        """A chunk of `count` samples, those that break drawn again; `frame` is the
        first frame of the chunk.
        """
        made: dict[int, NDArray[np.float64]] = {}
        seeds = np.zeros(count, np.int64)
        rejected, broken = (
            [Counter[str]() for _ in range(count)],
            [Counter[str]() for _ in range(count)],
        )
        pending = np.arange(count)
        for attempt in range(self.settings.max_attempts):
            seeds[pending] = chunk_seeds(
                self.settings.seed, sample, sample + count, frame // CHUNK, attempt
            )[pending]
            drawn = _told(self.settings.model, self.frame, lambda: draw(pending, seeds[pending]))  # noqa: B023
            again = []
            for k, frames_A in zip(pending.tolist(), drawn):
                fault = Counter(
                    reason
                    for reason in self.check(frames_A).tolist()
                    if reason and reason not in self.usual
                )
                if NO_COORDINATES in fault or (fault and self.settings.broken == "redraw"):
                    rejected[k][min(fault)] += 1
                    again.append(k)
                else:
                    made[k], broken[k] = frames_A, fault
            pending = np.array(again, np.int64)
            if not again:
                return Chunk(
                    sample,
                    frame,
                    np.array([made[k] for k in range(count)]),
                    seeds,
                    tuple(rejected),
                    tuple(broken),
                )
        raise NoValidSamplesError(
            f"{len(pending)} of {count} samples have broken frames behind frame {frame} in each of {self.settings.max_attempts} draws by "
            f"{self.settings.model.name!r}; ask for fewer frames, raise max_attempts, or keep such frames by broken='report'.",
            _sorted_sum(rejected[k] for k in pending.tolist()),
        )


def _sorted_sum(counts: Any) -> dict[str, int]:
    return dict(sorted(sum(counts, Counter()).items()))


def _told(
    model: Any, frame: Trajectory, call: Callable[[], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The model's frames; what it raises is told as the model's error."""
    try:
        return np.asarray(call(), np.float64)
    except EquidriftError:
        raise
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the model {model.name!r} failed on {frame.molecule!r}: {type(error).__name__}: {error}"
        ) from error


def chunk_seeds(seed: int, start: int, stop: int, chunk: int, attempt: int) -> NDArray[np.int64]:
    """Seeds of samples start..stop-1 for a chunk of frames, other ones at each attempt."""
    return sample_seeds(seed, start, stop, attempt=(attempt << 32) + chunk)


class Forecast(Job):
    """The frames behind a trajectory.

    Parameters
    ----------
    given : checked by `equidrift.checks.trajectory`.
    n_frames : new frames.
    """

    def __init__(self, given: Trajectory, n_frames: int, settings: Settings) -> None:
        self.n_frames, self.dt_fs = n_frames, given.dt_fs
        boxes_A = given.boxes_A
        last_A = None if boxes_A is None else boxes_A[-1]  # the new frames' box is not foretold
        self.past = given.replace(box_A=last_A)[-CONTEXT:]
        self.n_given = len(given)
        super().__init__(
            self.past[-1],
            settings,
            set(GeometryCheck(given.molecule)(self.past.positions_A).tolist()),
        )

    def chunks(
        self, n: int, start: tuple[int, int] = (0, 0), done_A: NDArray[np.float64] | None = None
    ) -> Iterator[Chunk]:
        """See `Job.chunks`."""
        sample, frame = start
        while sample < n:
            count = min(n - sample, self.settings.batch_size)
            past_A = np.repeat(self.past.positions_A[None], count, axis=0)
            if frame and done_A is not None:
                past_A = np.concatenate([past_A, done_A], axis=1)[:, -CONTEXT:]
            while frame < self.n_frames:
                chunk = self._chunk(sample, count, frame, self._drawer(past_A, frame))
                past_A = np.concatenate([past_A, chunk.positions_A], axis=1)[:, -CONTEXT:]
                frame += chunk.positions_A.shape[1]
                yield chunk
            sample, frame = sample + count, 0

    def _drawer(self, past_A: NDArray[np.float64], frame: int) -> Draw:
        """Draws the chunk from `frame` on behind past_A (n_samples, any, n_atoms, 3),
        in one call where the model can.
        """
        model, settings = self.settings.model, self.settings
        length = min(CHUNK, self.n_frames - frame)
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
        """See `Job.trajectory`."""
        time_fs = self.past.time_fs[-1] + self.dt_fs * np.arange(1, len(positions_A) + 1)
        return self.frame.replace(
            positions_A=positions_A,
            time_fs=time_fs,
            provenance=provenance | {"given_frames": self.n_given},
        )


class Completion(Job):
    """The frames of a trajectory that are not known, in overlapping windows where it is
    longer than the model sees (`model.window`).

    Parameters
    ----------
    whole : rows that are not known may be NaN.
    known : (n_frames,) bool, or (n_frames, n_atoms) where single atoms are known; these
        frames stand in windows as known ones do.
    """

    def __init__(self, whole: Trajectory, known: NDArray[np.bool_], settings: Settings) -> None:
        self.n_frames, self.whole, self.known = len(whole), whole, known
        by_frame: NDArray[np.bool_] = known.reshape(len(known), -1)
        frames: NDArray[np.bool_] = np.asarray(by_frame.any(axis=1))
        complete: NDArray[np.bool_] = np.asarray(by_frame.all(axis=1))
        size = settings.model.window or len(known)
        self.windows = list(windows(frames, size, int(settings.model.min_frames), complete))
        super().__init__(
            whole,
            settings,
            set(GeometryCheck(whole.molecule)(whole.positions_A[complete]).tolist()),
        )

    def chunks(
        self, n: int, start: tuple[int, int] = (0, 0), done_A: NDArray[np.float64] | None = None
    ) -> Iterator[Chunk]:
        """See `Job.chunks`."""
        for sample in range(start[0], n, self.settings.batch_size):
            yield self._chunk(
                sample,
                min(n - sample, self.settings.batch_size),
                0,
                lambda _, seeds: self._filled(seeds),
            )

    def _filled(self, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """(len(seeds), n_frames, n_atoms, 3); known frames are exactly what came in."""
        model, settings = self.settings.model, self.settings
        made = np.repeat(self.whole.positions_A[None], len(seeds), axis=0)
        for number, (begin, stop, filled) in enumerate(self.windows):
            have = self.known[begin:stop].copy()
            have[:filled] = True
            streams = (
                seeds
                if number == 0
                else np.concatenate(
                    [sample_seeds(int(seed), number, number + 1) for seed in seeds.tolist()]
                )
            )
            for group in [np.arange(len(seeds))] if filled == 0 else np.arange(len(seeds))[:, None]:
                part = self.whole[begin:stop].replace(positions_A=made[group[0], begin:stop])
                drawn = model.complete(
                    part, have, streams[group], steps=settings.steps, callback=settings.callback
                )
                block = made[group, begin:stop]
                block[:, ~have] = np.asarray(drawn, np.float64)[:, ~have]
                made[group, begin:stop] = block
        return made

    def trajectory(
        self, positions_A: NDArray[np.float64], provenance: dict[str, Any]
    ) -> Trajectory:
        """See `Job.trajectory`."""
        if self.known.ndim == 2:
            return self.whole.replace(
                positions_A=positions_A,
                provenance=provenance | {"given_atoms": int(self.known.sum())},
            )
        places = np.flatnonzero(self.known).tolist()
        return self.whole.replace(
            positions_A=positions_A,
            provenance=provenance | {"given_frames": len(places), "given": places},
        )


def windows(
    known: NDArray[np.bool_], size: int, min_frames: int, complete: NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, int, int]]:
    """(begin, stop, frames at its start that are filled by then) of windows of at most
    `size` frames that have something to fill in.

    complete : frames with nothing to fill in, `known` where None.

    Raises
    ------
    InputError
        where a gap is longer than a window.
    """
    n, overlap = len(known), max(min_frames, size // 3)
    gap = int(np.diff(np.flatnonzero(known), prepend=-1, append=n).max()) - 1
    if size < n and gap + overlap + 1 > size:
        raise InputError(
            f"{gap} frames are missing in a row, and the model sees {size} at a time; give frames in between, or another model"
        )
    begin = filled = 0
    while filled < n:
        stop = min(n, begin + size)
        if stop < n:  # end on a frame that is known, so that both ends of a gap are seen
            stop = int(np.flatnonzero(known[:stop])[-1]) + 1
        if not (known if complete is None else complete)[filled:stop].all():
            yield begin, stop, filled - begin
        filled, begin = stop, max(0, stop - overlap)


class Refinement(Job):
    """A coarse trajectory noised and denoised.

    Parameters
    ----------
    coarse : checked, its bonds apart.
    level : of the noise, above 0 to 1.
    """

    def __init__(self, coarse: Trajectory, level: float, settings: Settings) -> None:
        if not isinstance(settings.model, RefiningTrajectoryModel):
            raise InputError(
                f"the model {settings.model.name!r} does not refine trajectories; use one that does, such as 'default'"
            )
        self.n_frames, self.coarse, self.level = len(coarse), coarse, level
        self.refine = settings.model.refine
        super().__init__(coarse, settings, set())

    def chunks(
        self, n: int, start: tuple[int, int] = (0, 0), done_A: NDArray[np.float64] | None = None
    ) -> Iterator[Chunk]:
        """See `Job.chunks`."""
        refine = self.refine
        for sample in range(start[0], n, self.settings.batch_size):
            count = min(n - sample, self.settings.batch_size)
            yield self._chunk(
                sample, count, 0, lambda _, seeds: refine(self.coarse, seeds, level=self.level)
            )

    def trajectory(
        self, positions_A: NDArray[np.float64], provenance: dict[str, Any]
    ) -> Trajectory:
        """See `Job.trajectory`."""
        before = _sorted_sum(
            [Counter(reason for reason in self.check(self.coarse.positions_A).tolist() if reason)]
        )
        return self.coarse.replace(
            positions_A=positions_A,
            provenance=provenance | {"level": self.level, "broken_frames_before": before},
        )


_GRID = 0.01  # how far, over the spacing, a time may lie off the grid of an interpolation


def run(job: Job, n: int, progress: bool = False) -> list[Trajectory]:
    """n samples of a job."""
    from equidrift.progress import frame_bar

    batches: list[list[Chunk]] = []
    with frame_bar(n * job.n_frames, shown=progress) as report:
        for chunk in job.chunks(n):
            if chunk.first_frame == 0:
                batches.append([])
            batches[-1].append(chunk)
            if report is not None:
                report(chunk)
    return [trajectory for batch in batches for trajectory in job.trajectories(batch)]


def forecast_job(trajectory: Any, n_frames: int, settings: Settings) -> Forecast:
    """The checked job of `forecast`; a `UserWarning` says when it is not worth its
    cost.
    """
    check_count("n_frames", n_frames)
    given = check_trajectory(as_trajectory(trajectory))
    check_model(settings.model, given, n_given=len(given))
    check_related(given)
    for note in worth(settings.model, given):
        warnings.warn(note, UserWarning, stacklevel=3)
    return Forecast(given, n_frames, settings)


def interpolation_job(trajectory: Any, n_frames: int | None, settings: Settings) -> Completion:
    """The checked job of `interpolate`."""
    whole, known = grid_of(as_trajectory(trajectory), n_frames)
    check_model(settings.model, whole, n_given=int(known.sum()), between=True)
    return Completion(whole, known, settings)


def masked_job(trajectory: Any, given: Any, settings: Settings) -> Completion:
    """The checked job of `interpolate` for single atoms that are known."""
    whole = as_trajectory(trajectory)
    if not isinstance(whole, Trajectory):
        check_trajectory(whole)  # which says what is expected
    mask = np.asarray(given)
    if mask.dtype != bool or mask.shape != whole.positions_A.shape[:2]:
        raise InputError(
            f"given must be bool of shape (n_frames, n_atoms) = {whole.positions_A.shape[:2]}, not {mask.dtype} of shape {mask.shape}; "
            "for whole frames leave it out"
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
            f"atom {atom} of frame {frame} is marked as given and is NaN or infinite; mark it as not given, or mend it"
        )
    complete = mask.all(1)
    if complete.any():
        check_units(whole[complete])
    whole = even(whole.replace(positions_A=np.where(mask[..., None], whole.positions_A, np.nan)))
    check_model(settings.model, whole, n_given=int(mask.any(1).sum()), between=True)
    return Completion(whole, mask, settings)


def refinement_job(trajectory: Any, level: float, settings: Settings) -> Refinement:
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
    return Refinement(coarse, float(level), settings)


def grid_of(trajectory: Any, n_frames: int | None) -> tuple[Trajectory, NDArray[np.bool_]]:
    """(trajectory on the grid of an interpolation, its new frames NaN; which frames are
    given).
    """
    if n_frames is not None:
        check_count("n_frames", n_frames)
        given = check_trajectory(trajectory)
        place = np.arange(len(given)) * (n_frames + 1)
        dt_fs = given.dt_fs / (n_frames + 1)
    else:
        given, place, dt_fs = _places(trajectory)
    known = np.zeros(int(place[-1]) + 1, bool)
    known[place] = True
    if known.all():
        raise InputError(
            "the frames are evenly spaced, none is missing between them; give n_frames, the number to put between neighbours"
        )
    positions_A = np.full((len(known), given.molecule.n_atoms, 3), np.nan)
    positions_A[place] = given.positions_A
    time_fs = given.time_fs[0] + dt_fs * np.arange(len(known))
    boxes_A = given.box_A
    if boxes_A is not None and boxes_A.ndim == 3:
        boxes_A = _between(boxes_A, place, len(known))
    return given.replace(positions_A=positions_A, time_fs=time_fs, box_A=boxes_A), known


def _between(
    boxes_A: NDArray[np.float64], place: NDArray[np.int64], n_frames: int
) -> NDArray[np.float64]:
    """Boxes (n_frames, 3, 3) on a line between those of the given frames."""
    columns = boxes_A.reshape(len(boxes_A), 9).T
    frames = np.arange(n_frames)
    return np.stack([np.interp(frames, place, column) for column in columns], 1).reshape(-1, 3, 3)


def _places(trajectory: Any) -> tuple[Trajectory, NDArray[np.int64], float]:
    """(checked trajectory, its frames' places on the grid of the shortest step, that
    step).
    """
    given = check_trajectory(trajectory, spaced=False)
    steps = np.diff(given.time_fs)
    if not len(steps) or not steps.min() > 0:
        raise InputError(
            f"{given!r} has no two frames at times that advance; sort the frames, or give n_frames to put between neighbours"
        )
    dt_fs = float(steps.min())
    off = np.abs(steps / dt_fs - np.rint(steps / dt_fs))
    if off.max() > _GRID * steps.max() / dt_fs:
        k = int(off.argmax())
        raise InputError(
            f"the step of {steps[k]:g} fs behind frame {k} is no multiple of the shortest, {dt_fs:g} fs, so that no even grid holds the "
            "frames; give frames on a grid"
        )
    place = np.concatenate([[0], np.cumsum(np.rint(steps / dt_fs))]).astype(np.int64)
    return given, place, dt_fs
