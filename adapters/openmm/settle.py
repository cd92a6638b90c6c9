"""What follows a leap of torsions: a short relaxation and dynamics in a System."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from equidrift.adapters.openmm.simulation import Langevin
from equidrift.protocols import Settle
from equidrift.seeds import sample_rng
from equidrift.settling import LIGHTEST_AMU, RELAX_STEPS, STEP_FS

# Between fresh velocities: after some ten the energy of a bond or angle is thermal. Equal
# times would leave cold what swings a whole number of half periods in them.
REDRAW_FS = (10.0, 30.0)


def settle_in(system: openmm.System, *, temperature_K: float, settle_fs: float) -> Settle:
    """A function (positions_A (n, 3), a seed) -> positions_A, that lets bonds and angles
    come to thermal equilibrium.

    Velocities are drawn anew every 10 to 30 fs, from the seed alone: the same positions
    and seed give the same result, whatever was settled before.

    Parameters
    ----------
    system : openmm.System
        Of one molecule; it is not changed. Without constraints its hydrogens weigh 4 amu
        here.
    temperature_K, settle_fs : float
        Of the dynamics after the minimiser, and their length.
    """

    @cache
    def dynamics() -> Langevin:  # made once: a Context of MMFF94 costs as much as 2000 steps
        return Langevin(
            without_light_atoms(system),
            np.zeros((system.getNumParticles(), 3)),
            temperature_K=temperature_K,
            friction_per_fs=0.0,
            step_fs=STEP_FS,
            seed=0,
        )

    def settle(positions_A: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        run, rng = dynamics(), sample_rng(seed)
        run.relax(positions_A, RELAX_STEPS)
        left = round(settle_fs / STEP_FS)
        while left > 0:
            count = min(left, round(rng.uniform(*REDRAW_FS) / STEP_FS))
            run.warm(temperature_K, int(rng.integers(2**31)))
            run.run(count)
            left -= count
        return np.asarray(run.run(0).positions_A, np.float64)

    return settle


def without_light_atoms(system: openmm.System) -> openmm.System:
    """The System with no moving particle lighter than 4 amu, if it has no constraints,
    whose positions' density would depend on masses.
    """
    made = copy.deepcopy(system)
    if made.getNumConstraints():
        return made
    for k in range(made.getNumParticles()):
        mass = made.getParticleMass(k).value_in_unit(unit.dalton)
        if 0 < mass < LIGHTEST_AMU:
            made.setParticleMass(k, LIGHTEST_AMU)
    return made
