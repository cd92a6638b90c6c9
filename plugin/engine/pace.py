"""How far apart new frames lie: as the given ones do, or by the lag of a model that
leaps.
"""

from __future__ import annotations

import dataclasses
import math

from equidrift.engine.frames import TrajectorySettings
from equidrift.errors import InputError
from equidrift.protocols import LeapingTrajectoryModel, TrajectoryModel
from equidrift.records import Trajectory
from equidrift.units import PS_PER_FS

TOLERANCE = 0.01  # of a spacing, by which a multiple of it may be off


def new_spacing_fs(model: TrajectoryModel, given: Trajectory) -> float:
    """Time between the frames that a model makes after given ones.

    Raises
    ------
    InputError
        If it is that of the given ones, and there is a single one.
    """
    own = model.lag_fs if isinstance(model, LeapingTrajectoryModel) else None
    return given.dt_fs if own is None else own


def kept_of(spacing_fs: float, time_fs: float) -> int:
    """Of how many frames `spacing_fs` apart one is kept, so that a time lies between
    those kept; 0 if the time is no multiple of the spacing.
    """
    count = round(time_fs / spacing_fs)
    return count if abs(time_fs / spacing_fs - count) <= TOLERANCE else 0


def leaping_by(settings: TrajectorySettings, time_fs: float) -> tuple[TrajectorySettings, int]:
    """Settings whose model, which leaps, makes frames so far apart; and of how many of
    them one is kept, where the time is longer than the longest leap.

    Raises
    ------
    InputError
        If the time is shorter than the shortest leap, or the model does not leap.
    """
    model = settings.model
    if not isinstance(model, LeapingTrajectoryModel):
        raise InputError(f"the model {model.name!r} does not leap; give frames that far apart")
    low, high = model.lag_range_fs
    count = max(1, math.ceil(time_fs / high - TOLERANCE))
    lag_fs = time_fs / count
    if lag_fs < low * (1 - TOLERANCE):
        raise InputError(
            f"{model.name!r} leaps by {low * PS_PER_FS:g} to {high * PS_PER_FS:g} ps, and "
            f"{time_fs * PS_PER_FS:g} ps is no such leap, nor several; ask for a longer time, or "
            "take plain MD (--model md)"
        )
    options = {**settings.options, "lag_ps": lag_fs * PS_PER_FS}
    made = dataclasses.replace(settings, model=model.leaping(lag_fs=lag_fs), options=options)
    return made, count
