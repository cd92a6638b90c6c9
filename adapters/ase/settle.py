"""What follows a leap of torsions: a short relaxation and dynamics by a calculator."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import FIRE
from numpy.typing import NDArray

from equidrift.protocols import Settle
from equidrift.settling import LIGHTEST_AMU, RELAX_STEPS, STEP_FS

RELAXED_EV_A = 0.1  # largest force at which it ends
FRICTION_PER_FS = 0.02  # which is high, so that velocities are thermal within 100 fs


def settle_by(atoms: Atoms, *, temperature_K: float, settle_fs: float) -> Settle:
    """A function (positions_A (n, 3), a seed) -> positions_A, that lets bonds and angles
    come to thermal equilibrium in the potential of the atoms' calculator.

    Parameters
    ----------
    atoms : Atoms
        With a calculator; they stay where they are. Without constraints no atom weighs
        less than 4 amu in the dynamics.
    temperature_K, settle_fs : float
        Of the dynamics after the optimiser, and their length.
    """

    def settle(positions_A: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        moved = atoms.copy()
        moved.calc, moved.positions = atoms.calc, positions_A
        if not moved.constraints:
            moved.set_masses(np.maximum(moved.get_masses(), LIGHTEST_AMU))
        FIRE(moved, logfile=None).run(fmax=RELAXED_EV_A, steps=RELAX_STEPS)
        rng = np.random.default_rng(seed)
        thermal(moved, temperature_K, rng)
        run = Langevin(
            moved,
            STEP_FS * units.fs,
            temperature_K=temperature_K,
            friction=FRICTION_PER_FS / units.fs,
            rng=rng,
        )
        run.run(round(settle_fs / STEP_FS))
        return np.asarray(moved.positions, np.float64)

    return settle


def thermal(atoms: Atoms, temperature_K: float, rng: np.random.Generator) -> None:
    """Draw momenta of a temperature."""
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature_K, rng=rng)
