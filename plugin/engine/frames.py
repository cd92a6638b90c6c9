"""Jobs that draw frames: their settings, and chunks of frames drawn again until no bond
is broken.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.geometry import NO_COORDINATES, GeometryCheck
from equidrift.engine.run import MAX_ATTEMPTS, RunSettings, check_counts, model_of
from equidrift.errors import NoValidSamplesError, UnknownNameError, told_error
from equidrift.protocols import Callback, TrajectoryModel, as_trajectory_model
from equidrift.records import Chunk, Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.seeds import check_seed, sample_seeds
from equidrift.stereo import CONTINUED, stereo_notes, with_stereo_in_space
from equidrift.text import counted

BROKEN = ("redraw", "report")
CHUNK = 100  # frames of a forecast drawn, checked and written at a time
CONTEXT = 64  # frames that a model is shown at most
BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class TrajectorySettings(RunSettings[TrajectoryModel]):
    """What every draw of a run has in common; `equidrift.forecast` explains the fields."""

    broken: str = "redraw"
    batch_size: int = BATCH_SIZE
    chunk: int = CHUNK
    context: int = CONTEXT


def make_settings(  # noqa: PLR0913 - public: the options of `equidrift.forecast`
    model: object = "default",
    *,
    seed: int = 0,
    steps: int | None = None,
    broken: str = "redraw",
    max_attempts: int = MAX_ATTEMPTS,
    batch_size: int | None = None,
    callback: Callback | None = None,
    options: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    context: int | None = None,
    **model_options: Any,
) -> TrajectorySettings:
    """Check the options of a run and load its model.

    `options` are those that a model handed in as an object was made with: they are told
    in the provenance. `chunk` frames are drawn, checked and written at a time, and a
    model is shown `context` frames at most; None for CHUNK and CONTEXT.

    Raises
    ------
    UnknownNameError
        For an unknown model or way with broken frames, InputError or InputTypeError for
        an option out of its range.
    """
    seed = check_seed(seed)
    check_counts(steps=steps, batch_size=batch_size, max_attempts=max_attempts)
    check_counts(chunk=chunk, context=context)
    if broken not in BROKEN:
        raise UnknownNameError("way with broken frames", str(broken), BROKEN)
    made = model_of(make_trajectory_model, as_trajectory_model, model, model_options)
    size = batch_size or made.batch_size or BATCH_SIZE
    return TrajectorySettings(
        model=made,
        seed=seed,
        steps=steps,
        broken=broken,
        max_attempts=max_attempts,
        batch_size=size,
        options={**model_options, **(options or {})},
        callback=callback,
        chunk=chunk or CHUNK,
        context=context or CONTEXT,
    )


# (places of samples, their seeds) -> positions_A
Draw = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


class FrameJob(ABC):
    """Draws frames by batches of samples; subclasses say which frames.

    Parameters
    ----------
    frame : Trajectory
        With the molecule, box and provenance of the results.
    usual : set of str
        Faults that the given frames show, and that are none of the model's.
    notes : sequence of str
        What a user should know of the request.
    """

    n_frames: int  # of each sample

    def __init__(
        self,
        frame: Trajectory,
        settings: TrajectorySettings,
        usual: set[str],
        notes: Sequence[str] = (),
    ) -> None:
        self.frame, self.settings, self.usual = frame, settings, usual - {""}
        self.check = check_of(frame)
        self.notes = [*stereo_notes(frame.molecule, CONTINUED), *notes]

    @abstractmethod
    def chunks(
        self, n: int, start: tuple[int, int] = (0, 0), done_A: NDArray[np.float64] | None = None
    ) -> Iterator[Chunk]:
        """Chunks of n samples, batch by batch, in constant memory.

        Parameters
        ----------
        start : (int, int)
            (Samples done, frames done of the next batch), at which an earlier run ended
            after a chunk.
        done_A : (batch, any, n_atoms, 3) array, optional
            The last frames of that batch (`settings.context` of them, or all), if its frames done
            are not 0.
        """

    @abstractmethod
    def trajectory(
        self, positions_A: NDArray[np.float64], provenance: dict[str, Any]
    ) -> Trajectory:
        """One sample (n_frames, n_atoms, 3) as a Trajectory."""

    def position(
        self,
        chunk: Chunk,
        n: int,  # noqa: ARG002 - of the whole run; jobs may ask for it
    ) -> tuple[int, int]:
        """Where a run stands after a chunk, as `chunks` takes it."""
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
            rejected = sorted_sum(chunk.rejected[k] for chunk in batch)
            broken = sorted_sum(chunk.broken[k] for chunk in batch)
            origin = self.provenance() | {
                "sample": batch[0].first_sample + k,
                "seeds": [int(chunk.seeds[k]) for chunk in batch],
            }
            origin |= {
                "drawn": len(batch) + sum(rejected.values()),
                "rejected": rejected,
                "broken_frames": broken,
            }
            if self.notes:
                origin["notes"] = list(self.notes)
            samples.append(self.trajectory(frames_A, origin))
        return samples

    def provenance(self) -> dict[str, Any]:
        """Where the frames come from; `exact` is False, since no model samples the
        dynamics exactly.
        """
        kept = {
            key: self.frame.provenance[key]
            for key in ("unwrapped_frames",)
            if key in self.frame.provenance
        }
        if self.usual:
            kept["faults_of_given_frames"] = sorted(self.usual)
        return kept | self.settings.origin(broken=self.settings.broken) | {"exact": False}

    def frames_from(self, frame: int) -> int:
        """Frames of the chunk that begins at this one."""
        return min(self.settings.chunk, self.n_frames - frame)

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
                self.settings.seed, sample, sample + count, frame // self.settings.chunk, attempt
            )[pending]
            drawn = _told(self.settings.model, self.frame, lambda: draw(pending, seeds[pending]))  # noqa: B023
            again = []
            for k, frames_A in zip(pending.tolist(), drawn, strict=False):
                fault = self._faults(frames_A)
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
            f"{len(pending)} of {counted(count, 'sample', 'has', 'have')} broken frames "
            f"after frame {frame} in each of {self.settings.max_attempts} draws by "
            f"{self.settings.model.name!r}; ask for fewer frames, raise max_attempts, or "
            "keep such frames by broken='report'.",
            sorted_sum(rejected[k] for k in pending.tolist()),
        )

    def _faults(self, frames_A: NDArray[np.float64]) -> Counter[str]:
        """What is wrong with the frames of a sample, beside what the given ones show."""
        reasons = self.check(frames_A).tolist()
        return Counter(reason for reason in reasons if reason and reason not in self.usual)


def check_of(given: Trajectory) -> GeometryCheck:
    """The check of frames that go with the given ones: stereo that the molecule leaves
    open is that of the last given frame.
    """
    return GeometryCheck(with_stereo_in_space(given.molecule, given.positions_A))


def sorted_sum(counts: Iterable[Counter[str]]) -> dict[str, int]:
    """Counts added up, by name."""
    return dict(sorted(sum(counts, Counter[str]()).items()))


def _told(
    model: TrajectoryModel, frame: Trajectory, call: Callable[[], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The model's frames; what it raises is told as the model's error."""
    try:
        return np.asarray(call(), np.float64)
    except (RuntimeError, ValueError) as error:
        raise told_error(error, f"the model {model.name!r} failed on {frame.molecule!r}") from error


def chunk_seeds(seed: int, start: int, stop: int, chunk: int, attempt: int) -> NDArray[np.int64]:
    """Seeds of samples start..stop-1 for a chunk of frames, other ones at each attempt."""
    return sample_seeds(seed, start, stop, attempt=(attempt << 32) + chunk)
