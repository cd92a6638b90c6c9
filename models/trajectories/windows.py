"""Given and missing frames of a trajectory, numpy only: what every trajectory model and
baseline cuts and joins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.records import Trajectory

if TYPE_CHECKING:  # the baselines load no torch
    from torch import Tensor

CONTEXT = 10  # given frames before a gap that are read


def with_blank(
    trajectory: Trajectory, head_A: NDArray[np.float64], n_frames: int
) -> tuple[Trajectory, NDArray[np.bool_]]:
    """A trajectory to complete: frames head_A (k, n_atoms, 3) and `n_frames` missing
    ones (NaN), and which are given.

    Times begin at 0; the time between frames is that of `trajectory`.
    """
    blank = np.full((n_frames, *head_A.shape[1:]), np.nan)
    time_fs = trajectory.dt_fs * np.arange(len(head_A) + n_frames)
    whole = with_last_box(trajectory).replace(
        positions_A=np.concatenate([head_A, blank]), time_fs=time_fs
    )
    return whole, np.arange(len(whole)) < len(head_A)


def continuation(
    trajectory: Trajectory,
    positions_A: NDArray[np.float64],
    provenance: dict[str, Any],
    spacing_fs: float,
) -> Trajectory:
    """New frames (n_frames, n_atoms, 3), `spacing_fs` apart, with the times that come
    after a trajectory.
    """
    time_fs = trajectory.time_fs[-1] + spacing_fs * np.arange(1, len(positions_A) + 1)
    return with_last_box(trajectory).replace(
        positions_A=positions_A, time_fs=time_fs, provenance=provenance
    )


def with_last_box(trajectory: Trajectory) -> Trajectory:
    """The trajectory with the box of its last frame: that of new frames is not
    foretold.
    """
    boxes_A = trajectory.boxes_A
    return trajectory if boxes_A is None else trajectory.replace(box_A=boxes_A[-1])


def gaps(given: NDArray[np.bool_] | Tensor) -> list[tuple[int, int]]:
    """First and last index of every run of frames that are not given (t,)."""
    flags = [True, *given.tolist(), True]
    starts = [k for k in range(len(given)) if flags[k] and not flags[k + 1]]
    ends = [k for k in range(len(given)) if not flags[k + 1] and flags[k + 2]]
    return list(zip(starts, ends, strict=True))


def run_of(given: NDArray[np.bool_] | Tensor, edge: int, way: int) -> slice | None:
    """The run of given frames that ends (way -1) or begins (way 1) at `edge`; None
    where there is none.
    """
    if not 0 <= edge < len(given):
        return None
    k = edge
    while 0 <= k + way < len(given) and bool(given[k + way]):
        k += way
    return slice(k, edge + 1) if way < 0 else slice(edge, k + 1)
