"""`LeapModel`: frames 1 to 100 ps apart in one network call each."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.mmff import mmff_system
from equidrift.models.shared.devices import Device
from equidrift.models.trajectories.leap.leaper import SLACK, Leaper
from equidrift.models.trajectories.task import Task, TaskModel
from equidrift.protocols import LeapingTrajectoryModel, Settle
from equidrift.records import SYMBOLS, Molecule, Trajectory
from equidrift.registry import host_function
from equidrift.seeds import sample_rng

if TYPE_CHECKING:
    import openmm

SETTLE_FS = 200.0  # of dynamics after a leap: bonds and angles are thermal again
FS_PER_PS = 1000.0
Array = NDArray[np.float64]


class LeapModel(TaskModel, LeapingTrajectoryModel):
    """Leaps of torsions, everything else settled by a short relaxation and dynamics in a
    force field. Not exact: `proposer.LeapProposer` is the exact twin.

    Parameters
    ----------
    weights, temperature_K, device
        See `Leaper`; the temperature is that of the dynamics too.
    lag_ps : float or None
        Time between the frames that are made, whatever that between the given ones,
        of which the last alone is read; None takes the given ones'.
    settle_fs : float
        Length of the dynamics after each leap.
    system : openmm.System or None
        In which leaps settle; None: MMFF94.

    Raises
    ------
    InputError
        For a temperature or a lag that the training did not hold, or settle_fs below 0.
    """

    min_frames = 1
    context = 1
    max_atoms = 200

    def __init__(
        self,
        weights: str,
        *,
        lag_ps: float | None = None,
        temperature_K: float = 300.0,
        settle_fs: float = SETTLE_FS,
        system: openmm.System | None = None,
        device: Device = None,
    ):
        if not 0 <= settle_fs <= 1e5:
            raise InputError(f"settle_fs must lie in 0 to 100000, not {settle_fs}")
        self.leaper = Leaper(weights, temperature_K, device)
        self.temperature_K, self.settle_fs, self.system = temperature_K, settle_fs, system
        self.name = str(self.leaper.card["name"])
        self.weights_sha256 = str(self.leaper.card["sha256"])
        symbols = self.leaper.card["elements"]  # of the molecules that were trained on
        self.elements = tuple(SYMBOLS.index(symbol) for symbol in symbols)
        low, high = self.leaper.lag_range_ps
        self.lag_range_fs = (FS_PER_PS * low, FS_PER_PS * high)
        self.settle: Settle | None = None
        self.settles: dict[Molecule, Settle] = {}
        self.set_lag(None if lag_ps is None else FS_PER_PS * lag_ps)

    def leaping(
        self,
        *,
        lag_fs: float | None = None,
        temperature_K: float | None = None,
        settle: Settle | None = None,
    ) -> LeapModel:
        """The same model with another lag or temperature, or whose leaps settle
        otherwise.

        Parameters
        ----------
        lag_fs : float, optional
            Time between the frames that are made.
        temperature_K : float, optional
            Of the dynamics.
        settle : callable, optional
            (positions_A (n, 3) after the torsions were turned, a seed) -> positions_A
            with everything else in thermal equilibrium.

        Returns
        -------
        LeapModel

        Raises
        ------
        InputError
            For a lag or a temperature that the training did not hold.
        """
        made = copy.copy(self)
        made.settles = {}
        if temperature_K is not None:
            made.leaper = self.leaper.at(temperature_K)
            made.temperature_K = temperature_K
        if lag_fs is not None:
            made.set_lag(lag_fs)
        made.settle = self.settle if settle is None else settle
        return made

    def set_lag(self, lag_fs: float | None) -> None:
        """Fix the time between new frames, or leave it to the given ones."""
        self.lag_fs = lag_fs
        if lag_fs is None:
            self.dt_range_fs = self.lag_range_fs
            return
        self.leaper.check_lag(lag_fs / FS_PER_PS)
        self.dt_range_fs = (0.0, math.inf)  # of given frames, whose spacing is not read

    def _completed(self, task: Task) -> Array:
        given = task.given
        past = int(given.sum())
        if given.ndim != 1 or not past or not given[:past].all():
            raise InputError(
                f"{self.name} leaps ahead from given frames, and here frames are missing before "
                "given ones; fill gaps with the default model, or by md"
            )
        dt_fs = float(task.trajectory.dt_fs)
        if self.lag_fs is not None and abs(dt_fs / self.lag_fs - 1) > SLACK:
            raise InputError(
                f"the frames to fill are {dt_fs:g} fs apart, and {self.name} leaps by "
                f"{self.lag_fs:g} fs; give lag_ps={dt_fs / FS_PER_PS:g}, or leave it out"
            )
        positions = np.asarray(task.trajectory.positions_A, np.float64)
        x = np.where(given[:, None, None], positions, 0.0)
        out = np.repeat(x[None], len(task.seeds), axis=0)
        made = self._leaps(task, x[past - 1], len(x) - past, dt_fs)
        for sample, frames in zip(out, made, strict=True):
            sample[past:] = frames
        return out

    def _following(self, task: Task, n_frames: int) -> Iterable[Array]:
        """New frames (n_frames, n, 3) for each seed, after the last given one."""
        last = np.asarray(task.trajectory.positions_A[-1], np.float64)
        return self._leaps(task, last, n_frames, self._spacing_fs(task.trajectory))

    def _spacing_fs(self, trajectory: Trajectory) -> float:
        return trajectory.dt_fs if self.lag_fs is None else self.lag_fs

    def _leaps(self, task: Task, start: Array, count: int, lag_fs: float) -> list[Array]:
        """For each seed `count` frames (count, n, 3) that lie `lag_fs` apart."""
        molecule = task.trajectory.molecule
        lag_ps = self.leaper.check_lag(lag_fs / FS_PER_PS)
        made = []
        for seed in task.seeds.tolist():
            made.append(self._one(molecule, start, count, lag_ps, seed))
            if task.callback is not None:
                task.callback({"frames": count})
        return made

    def _one(self, molecule: Molecule, x: Array, count: int, lag_ps: float, seed: int) -> Array:
        """The frames (count, n, 3) of one seed after x (n, 3)."""
        tree, rng = self.leaper.table(molecule).tree, sample_rng(seed)
        settle = self._settled(molecule)
        frames = np.empty((count, *x.shape))
        for frame in frames:
            phi, _ = self.leaper.drawn(molecule, x, lag_ps, rng)
            x = settle(tree.set_torsions(x, phi), int(rng.integers(2**31)))
            frame[:] = x
        return frames

    def _settled(self, molecule: Molecule) -> Settle:
        """How leaps of a molecule settle."""
        if self.settle is not None:
            return self.settle
        if molecule not in self.settles:
            self.settles[molecule] = host_function("openmm", "settle_in")(
                mmff_system(molecule) if self.system is None else self.system,
                temperature_K=self.temperature_K,
                settle_fs=self.settle_fs,
            )
        return self.settles[molecule]

    def _provenance(self, seed: int) -> dict[str, Any]:
        told = super()._provenance(seed) | {"temperature_K": self.temperature_K}
        return told if self.lag_fs is None else told | {"lag_fs": self.lag_fs}
