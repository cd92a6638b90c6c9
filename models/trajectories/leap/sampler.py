"""`LeapModel`: frames 1 to 100 ps apart in one network call each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.mmff import mmff_system
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.trajectories.leap.leaper import Leaper
from equidrift.models.trajectories.task import Task, TaskModel
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.seeds import sample_rng

if TYPE_CHECKING:
    import openmm

STEP_FS = 0.5  # of the dynamics that settle a leap
RELAX_STEPS = 50  # of the minimiser, against the clashes of rigid turning
SETTLE_FS = 200.0  # of dynamics after it: bonds and angles are thermal again
SETTLE_FRICTION_PER_FS = 0.02  # which is high, so that this is so within `SETTLE_FS`
Array = NDArray[np.float64]


class LeapModel(TaskModel):
    """Leaps of torsions, everything else settled by a short relaxation and dynamics in a
    force field. Not exact: `proposer.LeapProposer` is the exact twin.

    Parameters
    ----------
    weights, temperature_K
        See `Leaper`; the temperature is that of the dynamics too.
    settle_fs : float
        Length of the dynamics after each leap.
    system : openmm.System or None
        In which leaps settle; None: MMFF94.

    Raises
    ------
    InputError
        For a temperature that the training did not hold, or settle_fs below 0.
    """

    min_frames = 1
    context = 1
    elements = ELEMENTS
    max_atoms = 200

    def __init__(
        self,
        weights: str,
        *,
        temperature_K: float = 300.0,
        settle_fs: float = SETTLE_FS,
        system: openmm.System | None = None,
    ):
        if not 0 <= settle_fs <= 1e5:
            raise InputError(f"settle_fs must lie in 0 to 100000, not {settle_fs}")
        self.leaper = Leaper(weights, temperature_K)
        self.settle_fs, self.system = settle_fs, system
        self.name = str(self.leaper.card["name"])
        self.weights_sha256 = str(self.leaper.card["sha256"])
        low, high = self.leaper.lag_range_ps
        self.dt_range_fs = (1000 * low, 1000 * high)

    def _completed(self, task: Task) -> Array:
        given = task.given
        past = int(given.sum())
        if given.ndim != 1 or not past or not given[:past].all():
            raise InputError(
                f"{self.name} leaps ahead from given frames, and here frames are missing before "
                "given ones; fill gaps with the default model, or by md"
            )
        x = np.where(given[:, None, None], np.asarray(task.trajectory.positions_A, np.float64), 0.0)
        out = np.repeat(x[None], len(task.seeds), axis=0)
        molecule = task.trajectory.molecule
        lag_ps = self.leaper.check_lag(float(task.trajectory.dt_fs) / 1000)
        for sample, seed in zip(out, task.seeds.tolist(), strict=True):
            self._leap(molecule, sample, past, lag_ps, seed)
            if task.callback is not None:
                task.callback({"frames": len(x) - past})
        return out

    def _leap(self, molecule: Molecule, x: Array, first: int, lag_ps: float, seed: int) -> None:
        """Fill the frames of a sample (t, n, 3) from `first` on in place."""
        table, rng = self.leaper.table(molecule), sample_rng(seed)
        run = host_function("openmm", "Langevin")(
            mmff_system(molecule) if self.system is None else self.system,
            x[first - 1],
            temperature_K=self.leaper.temperature_K,
            friction_per_fs=SETTLE_FRICTION_PER_FS,
            step_fs=STEP_FS,
            seed=seed,
        )
        for k in range(first, len(x)):
            phi, _ = self.leaper.drawn(molecule, x[k - 1], lag_ps, rng)
            run.relax(table.tree.set_torsions(x[k - 1], phi), RELAX_STEPS)
            run.warm(self.leaper.temperature_K, int(rng.integers(2**31)))
            x[k] = run.run(round(self.settle_fs / STEP_FS)).positions_A

    def _provenance(self, seed: int) -> dict[str, Any]:
        return super()._provenance(seed) | {"temperature_K": self.leaper.temperature_K}
