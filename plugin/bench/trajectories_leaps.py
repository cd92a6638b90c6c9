"""What leaps are measured by: how often torsions change their well, how long they
remember it, and how they are distributed after 1, 10 and 100 leaps, against long
dynamics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from equidrift.models.trajectories.arrays import metrics
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.protocols import LeapingTrajectoryModel
from equidrift.records import Trajectory
from equidrift.torsions import TorsionTree

Array = NDArray[np.float64]
WELLS = 3  # of a torsion: a third of the circle each, about 180, 60 and -60 degrees
BINS = 36  # of a torsion's histogram
PAIR_BINS = 12  # of each torsion in the histogram of a pair
FEWEST = 10  # changes of well in the dynamics before a rate or a timescale means something
# leaps: the first and the last whose frames, of all chains, make a histogram
LADDER = {1: (1, 1), 10: (6, 10), 100: (51, 100)}


def wells(phi: Array) -> NDArray[np.int64]:
    """The well (...) of torsions (...) in rad: 0 about 180 degrees, 1 about 60, 2 about
    -60.
    """
    third = np.floor((np.asarray(phi) % (2 * np.pi)) / (2 * np.pi / WELLS)).astype(np.int64)
    return np.array([1, 0, 2])[np.minimum(third, WELLS - 1)]


def transitions(states: NDArray[np.int64], lag: int) -> Array:
    """Counts (WELLS, WELLS) of going from one well to another in `lag` frames, in one
    chain (t,) or several (s, t); both ways of time counted, so that they are in detailed
    balance.
    """
    counts = np.zeros((WELLS, WELLS))
    np.add.at(counts, (states[..., :-lag].ravel(), states[..., lag:].ravel()), 1.0)
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
    """Figures of one torsion: leapt (k,) or (s, k), angles a lag apart, and dynamics (t,),
    whose frames are lag_ps / lag apart.

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


def pair_cells(phi: Array) -> Array:
    """The cell (k, m - 1) of each torsion and the next one, of angles (k, m)."""
    turns = np.clip((phi + np.pi) / (2 * np.pi), 0.0, 1.0 - 1e-12)
    cell = np.floor(turns * PAIR_BINS)
    found: Array = cell[:, :-1] * PAIR_BINS + cell[:, 1:]
    return found


def distances(made: Array, truth: Array) -> dict[str, float]:
    """Jensen-Shannon distances of angles (k, m) and (t, m): the mean over torsions, and
    over pairs of neighbours.
    """
    turns, cells = (-np.pi, np.pi), (-0.5, PAIR_BINS**2 - 0.5)
    single = [
        metrics.jensen_shannon(made[:, q], truth[:, q], BINS, turns) for q in range(made.shape[1])
    ]
    values = {"torsion_JSD": float(np.mean(single))}
    one, other = pair_cells(made), pair_cells(truth)
    pairs = [
        metrics.jensen_shannon(one[:, q], other[:, q], PAIR_BINS**2, cells)
        for q in range(one.shape[1])
    ]
    return values | ({"pair_JSD": float(np.mean(pairs))} if pairs else {})


def ladder(leapt: Array, run: Array, rng: np.random.Generator) -> dict[str, float]:
    """Distances after 1, 10 and 100 leaps of chains (s, k, m), begun at frames of a run
    (t, m), from the whole run; and their floors: those of as many frames of the run.
    """
    values: dict[str, float] = {}
    for name, (first, last) in LADDER.items():
        if leapt.shape[1] < last:
            break
        some = leapt[:, first - 1 : last].reshape(-1, leapt.shape[-1])
        chance = run[rng.integers(len(run), size=len(some))]
        values |= {f"{key}_{name}": value for key, value in distances(some, run).items()}
        values |= {f"{key}_{name}_floor": value for key, value in distances(chance, run).items()}
    return values


def leap_values(
    model: LeapingTrajectoryModel, run: Dynamics, lag_ps: float, leaps: int, chains: int
) -> dict[str, float]:
    """The figures of a molecule's dynamics (1, t, n, 3), means over its torsions, and
    nanoseconds a CPU second of chains of leaps that begin at frames of it.
    """
    tree = TorsionTree.of(run.molecule)
    lag = max(1, round(1000 * lag_ps / run.spacing_fs))
    x = run.positions_A[0].astype(np.float64)
    ahead = model.leaping(lag_fs=1000.0 * lag_ps)
    begun, made = time.process_time(), []
    for k, start in enumerate(np.linspace(0, len(x) - 1, chains).astype(int).tolist()):
        past = Trajectory(run.molecule, x[start : start + 1], np.zeros(1))
        made.append(ahead.continue_(past, leaps, np.array([k]))[0].positions_A)
    spent = time.process_time() - begun
    leapt = np.stack([tree.torsions(each) for each in made])  # (chains, leaps, m)
    truth = tree.torsions(x)
    each = [compared(leapt[..., k], truth[:, k], lag, lag_ps) for k in range(tree.n_torsions)]
    names = dict.fromkeys(name for values in each for name in values)
    columns = {name: np.array([v.get(name, math.nan) for v in each]) for name in names}
    values = {"JSD_halves": float(columns["JSD_halves"].mean())}
    values |= ladder(leapt, truth, np.random.default_rng(0))
    values |= geometric(columns)
    return values | {"ns_per_cpu_s": 1e-3 * lag_ps * leaps * chains / spent}


def geometric(columns: Mapping[str, Array]) -> dict[str, float]:
    """Geometric means of ratios, of those that are finite and above 0."""
    out = {}
    for name, values in columns.items():
        good = values[np.isfinite(values) & (values > 0)]
        if name.endswith("_ratio") and len(good):
            out[name] = float(np.exp(np.log(good).mean()))
    return out
