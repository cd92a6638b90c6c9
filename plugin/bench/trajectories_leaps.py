"""What leaps are measured by: how often torsions change their well, how long they
remember it, and how they are distributed, against long dynamics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from equidrift.models.trajectories.arrays import metrics
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.protocols import TrajectoryModel
from equidrift.records import Trajectory
from equidrift.torsions import TorsionTree

Array = NDArray[np.float64]
WELLS = 3  # of a torsion: a third of the circle each, about 180, 60 and -60 degrees
BINS = 36  # of a torsion's histogram
FEWEST = 10  # changes of well in the dynamics before a rate or a timescale means something


def wells(phi: Array) -> NDArray[np.int64]:
    """The well (...) of torsions (...) in rad: 0 about 180 degrees, 1 about 60, 2 about
    -60.
    """
    third = np.floor((np.asarray(phi) % (2 * np.pi)) / (2 * np.pi / WELLS)).astype(np.int64)
    return np.array([1, 0, 2])[np.minimum(third, WELLS - 1)]


def transitions(states: NDArray[np.int64], lag: int) -> Array:
    """Counts (WELLS, WELLS) of going from one well to another in `lag` frames, both ways
    of time counted, so that they are in detailed balance.
    """
    counts = np.zeros((WELLS, WELLS))
    np.add.at(counts, (states[:-lag], states[lag:]), 1.0)
    return counts + counts.T


def timescale(counts: Array, lag_ps: float) -> float:
    """The longest implied timescale in ps of counts; NaN if only one well is seen, or
    none is remembered.
    """
    seen = counts.sum(1) > 0
    matrix = counts[np.ix_(seen, seen)]
    if len(matrix) < 2:
        return math.nan
    values = np.sort(np.linalg.eigvals(matrix / matrix.sum(1, keepdims=True)).real)
    second = float(values[-2])
    return -lag_ps / math.log(second) if 0 < second < 1 else math.nan


def compared(leapt: Array, run: Array, lag: int, lag_ps: float) -> dict[str, float]:
    """Figures of one torsion: leapt (k,), angles a lag apart, and dynamics (t,), whose
    frames are lag_ps / lag apart.

    JSD: Jensen-Shannon distance of the histograms, and that of the halves of the
    dynamics, which is what its own length leaves open. rate_ratio: changes of well a lag,
    over those of the dynamics. timescale_ratio: the same of the implied timescales.
    """
    bounds = (-np.pi, np.pi)
    half = len(run) // 2
    values = {
        "JSD_torsions": metrics.jensen_shannon(leapt, run, BINS, bounds),
        "JSD_halves": metrics.jensen_shannon(run[:half], run[half:], BINS, bounds),
    }
    found, truth = transitions(wells(leapt), 1), transitions(wells(run), lag)
    changes = [float(c.sum() - np.trace(c)) / 2 for c in (found, truth)]
    if changes[1] >= FEWEST * lag:  # overlapping windows count each change `lag` times
        share = [change / (c.sum() / 2) for change, c in zip(changes, (found, truth), strict=True)]
        values["rate_ratio"] = share[0] / share[1]
        values["timescale_ratio"] = timescale(found, lag_ps) / timescale(truth, lag_ps)
    return values


def leap_values(
    model: TrajectoryModel, run: Dynamics, lag_ps: float, frames: int, seed: int
) -> dict[str, Array]:
    """The figures of each torsion of a molecule's dynamics (1, t, n, 3), and nanoseconds a
    CPU second of the leaps.
    """
    tree = TorsionTree.of(run.molecule)
    lag = max(1, round(1000 * lag_ps / run.spacing_fs))
    x = run.positions_A[0].astype(np.float64)
    times_fs = np.array([0.0, 1000.0 * lag_ps])
    past = Trajectory(run.molecule, x[: lag + 1 : lag], times_fs)
    begun = time.process_time()
    (made,) = model.continue_(past, frames, np.array([seed]))
    spent = time.process_time() - begun
    leapt, truth = tree.torsions(made.positions_A), tree.torsions(x)
    each = [compared(leapt[:, k], truth[:, k], lag, lag_ps) for k in range(tree.n_torsions)]
    names = dict.fromkeys(name for values in each for name in values)
    columns = {name: np.array([v.get(name, math.nan) for v in each]) for name in names}
    return columns | {"ns_per_cpu_s": np.array([1e-3 * lag_ps * frames / spent])}


def geometric(columns: Mapping[str, Array]) -> dict[str, float]:
    """Geometric means of ratios, of those that are finite and above 0."""
    out = {}
    for name, values in columns.items():
        good = values[np.isfinite(values) & (values > 0)]
        if name.endswith("_ratio") and len(good):
            out[name] = float(np.exp(np.log(good).mean()))
    return out
