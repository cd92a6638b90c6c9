"""What follows a leap of torsions: a short relaxation and dynamics in a System."""

from __future__ import annotations

import numpy as np
import openmm
from numpy.typing import NDArray

from equidrift.adapters.openmm.simulation import Langevin
from equidrift.protocols import Settle

STEP_FS = 0.5  # of the dynamics
RELAX_STEPS = 50  # of the minimiser, against the clashes of rigid turning
FRICTION_PER_FS = 0.02  # which is high, so that velocities are thermal within 100 fs


def settle_in(system: openmm.System, *, temperature_K: float, settle_fs: float) -> Settle:
    """A function (positions_A (n, 3), a seed) -> positions_A, that lets bonds and angles
    come to thermal equilibrium.

    Parameters
    ----------
    system : openmm.System
        Of one molecule.
    temperature_K, settle_fs : float
        Of the dynamics after the minimiser, and their length.
    """

    def settle(positions_A: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        run = Langevin(
            system,
            positions_A,
            temperature_K=temperature_K,
            friction_per_fs=FRICTION_PER_FS,
            step_fs=STEP_FS,
            seed=seed,
        )
        run.relax(positions_A, RELAX_STEPS)
        run.warm(temperature_K, seed)
        return np.asarray(run.run(round(settle_fs / STEP_FS)).positions_A, np.float64)

    return settle
