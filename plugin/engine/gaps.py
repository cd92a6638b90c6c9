"""Frames between given ones: the grid they lie on, and windows that fill it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.arguments import check_count
from equidrift.checks.trajectory import check_trajectory
from equidrift.engine.frames import FrameJob, TrajectorySettings, check_of
from equidrift.errors import InputError
from equidrift.records import Chunk, Trajectory
from equidrift.seeds import sample_seeds
from equidrift.text import counted

_GRID = 0.01  # how far, over the spacing, a time may lie off the grid of an interpolation


class Completion(FrameJob):
    """The frames of a trajectory that are not known, in overlapping windows if it is
    longer than the model sees (`model.window`).

    Parameters
    ----------
    whole : Trajectory
        Rows that are not known may be NaN.
    known : (n_frames,) or (n_frames, n_atoms) array of bool
        Frames that are known, or single atoms; these frames stand in windows as known
        ones do.
    """

    def __init__(
        self, whole: Trajectory, known: NDArray[np.bool_], settings: TrajectorySettings
    ) -> None:
        self.n_frames, self.whole, self.known = len(whole), whole, known
        by_frame: NDArray[np.bool_] = known.reshape(len(known), -1)
        frames: NDArray[np.bool_] = np.asarray(by_frame.any(axis=1))
        complete: NDArray[np.bool_] = np.asarray(by_frame.all(axis=1))
        size = settings.model.window or len(known)
        self.windows = list(windows(frames, size, int(settings.model.min_frames), complete))
        super().__init__(
            whole,
            settings,
            set(check_of(whole)(whole.positions_A[complete]).tolist()),
        )

    def chunks(
        self,
        n: int,
        start: tuple[int, int] = (0, 0),
        done_A: NDArray[np.float64] | None = None,  # noqa: ARG002 - a batch is one chunk
    ) -> Iterator[Chunk]:
        """See `FrameJob.chunks`."""
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
        """See `FrameJob.trajectory`."""
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

    complete : frames with nothing to fill in, `known` if None.

    Raises
    ------
    InputError
        If a gap is longer than a window.
    """
    n, overlap = len(known), max(min_frames, size // 3)
    gap = int(np.diff(np.flatnonzero(known), prepend=-1, append=n).max()) - 1
    if size < n and gap + overlap + 1 > size:
        raise InputError(
            f"{counted(gap, 'frame', 'is', 'are')} missing in a row, and the model sees {size} "
            "at a time; give frames in between, or another model"
        )
    begin = filled = 0
    while filled < n:
        stop = min(n, begin + size)
        if stop < n:  # end on a frame that is known, so that both ends of a gap are seen
            stop = int(np.flatnonzero(known[:stop])[-1]) + 1
        if not (known if complete is None else complete)[filled:stop].all():
            yield begin, stop, filled - begin
        filled, begin = stop, max(0, stop - overlap)


def grid_of(trajectory: object, n_frames: int | None) -> tuple[Trajectory, NDArray[np.bool_]]:
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
            "the frames are evenly spaced, none is missing between them; give n_frames, the "
            "number to put between neighbours"
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


def _places(trajectory: object) -> tuple[Trajectory, NDArray[np.int64], float]:
    """(checked trajectory, its frames' places on the grid of the shortest step, that
    step).
    """
    given = check_trajectory(trajectory, spaced=False)
    steps = np.diff(given.time_fs)
    if not len(steps) or not steps.min() > 0:
        raise InputError(
            f"{given!r} has no two frames at times that advance; sort the frames, or give "
            "n_frames to put between neighbours"
        )
    dt_fs = float(steps.min())
    off = np.abs(steps / dt_fs - np.rint(steps / dt_fs))
    if off.max() > _GRID * steps.max() / dt_fs:
        k = int(off.argmax())
        raise InputError(
            f"the step of {steps[k]:g} fs after frame {k} is no multiple of the shortest, "
            f"{dt_fs:g} fs, so that no even grid holds the frames; give frames on a grid"
        )
    place = np.concatenate([[0], np.cumsum(np.rint(steps / dt_fs))]).astype(np.int64)
    return given, place, dt_fs
