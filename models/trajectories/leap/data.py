"""Pairs of conformations a lag apart, from long dynamics of many molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.models.trajectories.leap.density import Leaps, Present
from equidrift.models.trajectories.leap.features import TorsionTable
from equidrift.models.trajectories.leap.scan import BINS, CHANNELS

Array = NDArray[np.float64]
TOGETHER = 4  # molecules of a batch


def present_of(
    table: TorsionTable,
    positions_A: Array,
    lag_ps: Array,
    temperature_K: float,
    *,
    bins: int = BINS,
    scan: Array | None = None,
) -> Present:
    """Conformations (b, n, 3) of a molecule, and the lag (b,) of each.

    Parameters
    ----------
    bins : int
        Of the circle of each torsion.
    scan : (b, m, bins, CHANNELS) array, optional
        What `TorsionScan.channels` gives for them, if it is known.
    """
    if scan is None:
        scan = table.scan.channels(positions_A, temperature_K, bins)
    phi = torch.from_numpy(table.tree.torsions(positions_A)).float()
    return Present(
        torch.from_numpy(table.node(positions_A)).float(),
        torch.from_numpy(table.pair(positions_A)).float(),
        torch.from_numpy(scan).float(),
        phi,
        torch.ones_like(phi, dtype=torch.bool),
        torch.from_numpy(np.asarray(lag_ps)).float(),
        phi.new_full((len(positions_A),), temperature_K),
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """Dynamics of a molecule with torsions to turn, and which lags fit in, in frames."""

    dynamics: Dynamics
    table: TorsionTable
    lags: list[int]
    bins: int

    @cached_property
    def _scans(self) -> NDArray[np.float16]:
        """(s, t, m, bins, CHANNELS) of all frames; NaN where nobody asked yet."""
        shape = (*self.dynamics.positions_A.shape[:2], self.table.count, self.bins, CHANNELS)
        return np.full(shape, np.nan, np.float16)

    def scan(self, burst: NDArray[np.int64], frame: NDArray[np.int64]) -> NDArray[np.float16]:
        """(b, m, bins, CHANNELS) of frames, each worked out once."""
        known, d = self._scans, self.dynamics
        missing = np.isnan(known[burst, frame, 0, 0, 0])
        if missing.any():
            places = np.unique(np.stack([burst[missing], frame[missing]]), axis=1)
            x = d.positions_A[tuple(places)].astype(np.float64)
            made = self.table.scan.channels(x, d.temperature_K, self.bins)
            known[tuple(places)] = made.astype(np.float16)
        found: NDArray[np.float16] = known[burst, frame]
        return found


class LeapBatches:
    """Batch number `step` of an endless, seeded sequence: pairs of frames of a few
    molecules, one lag a molecule, every second one's mirror image.

    Parameters
    ----------
    runs : sequence of Dynamics
        Molecules that have no torsion are left out.
    lags_ps : sequence of float
        Lags that are learned, as near as the spacing of the frames allows.
    pairs : int
        Of a batch.
    bins : int
        Of the circle of each torsion.

    Raises
    ------
    InputError
        If no run has a torsion and two frames at a lag.
    """

    def __init__(
        self,
        runs: Sequence[Dynamics],
        *,
        lags_ps: Sequence[float],
        pairs: int,
        seed: int,
        bins: int = BINS,
    ):
        self.pairs, self.seed, self.runs = pairs, seed, []
        for run in runs:
            table = TorsionTable.of(run.molecule)
            lags = {max(1, round(1000 * lag / run.spacing_fs)) for lag in lags_ps}
            fit = sorted(lag for lag in lags if lag < run.positions_A.shape[1])
            if table.count and fit:
                self.runs.append(_Run(run, table, fit, bins))
        if not self.runs:
            raise InputError(
                "no run has a molecule with a rotatable bond and frames as far apart as a lag; "
                "give longer dynamics (tools/make_leaps.py), or shorter lags_ps"
            )

    def __call__(self, step: int) -> Leaps:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        together = min(TOGETHER, len(self.runs))
        chosen = rng.choice(len(self.runs), together, replace=False)
        parts = [self._part(self.runs[k], max(1, self.pairs // together), rng) for k in chosen]
        return side_by_side(parts)

    def _part(self, run: _Run, count: int, rng: np.random.Generator) -> Leaps:
        x = run.dynamics.positions_A
        lag = int(rng.choice(run.lags))
        burst, start = rng.integers(len(x), size=count), rng.integers(x.shape[1] - lag, size=count)
        mirrored = rng.random(count) < 0.5
        way = np.where(mirrored, -1.0, 1.0)[:, None, None]
        now, after = (way * x[burst, frame].astype(np.float64) for frame in (start, start + lag))
        seen = run.scan(burst, start).astype(np.float64)
        scan = np.where(mirrored[:, None, None, None], seen[:, :, ::-1], seen)
        lag_ps = np.full(count, lag * run.dynamics.spacing_fs / 1000)
        present = present_of(run.table, now, lag_ps, run.dynamics.temperature_K, scan=scan)
        return Leaps(present, torch.from_numpy(run.table.tree.torsions(after)).float())


def side_by_side(parts: Sequence[Leaps]) -> Leaps:
    """One batch of several; rows of molecules with fewer torsions are filled up."""
    most = max(part.phi.shape[1] for part in parts)

    def filled(part: Leaps) -> Leaps:
        p, lack = part.present, most - part.phi.shape[1]
        pad = torch.nn.functional.pad
        present = Present(
            pad(p.node, (0, 0, 0, lack)),
            pad(p.pair, (0, 0, 0, lack, 0, lack)),
            pad(p.scan, (0, 0, 0, 0, 0, lack)),
            pad(p.phi, (0, lack)),
            pad(p.mask, (0, lack)),
            p.lag_ps,
            p.temperature_K,
        )
        return Leaps(present, pad(part.phi, (0, lack)))

    each = [filled(part) for part in parts]
    names = vars(each[0].present)
    joined = {name: torch.cat([vars(e.present)[name] for e in each]) for name in names}
    return Leaps(Present(**joined), torch.cat([e.phi for e in each]))
