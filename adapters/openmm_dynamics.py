"""Plain Langevin dynamics in OpenMM as arrays: what trajectory models are trained on and measured against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from equidrift.units import KJ_MOL_PER_EV, NM_PER_A, PS_PER_FS


@dataclass(frozen=True)
class State:
    """Positions_A, velocities_A_fs and, where asked for, forces_eV_A, (n, 3) each."""

    positions_A: NDArray[np.float64]
    velocities_A_fs: NDArray[np.float64]
    forces_eV_A: NDArray[np.float64] | None


class Langevin:
    """A run of a System under LangevinMiddle on the Reference platform, whose random numbers a seed fixes.

    Parameters
    ----------
    positions_A : (n, 3), where it starts; velocities are drawn from the temperature unless given as velocities_A_fs.
    """

    def __init__(
        self,
        system: openmm.System,
        positions_A: NDArray[np.float64],
        *,
        temperature_K: float,
        friction_per_fs: float,
        step_fs: float,
        seed: int,
        velocities_A_fs: NDArray[np.float64] | None = None,
    ):
        number = seed % (2**31 - 2) + 1
        self.integrator = openmm.LangevinMiddleIntegrator(temperature_K, friction_per_fs / PS_PER_FS, step_fs * PS_PER_FS)
        self.integrator.setRandomNumberSeed(number)
        self.context = openmm.Context(system, self.integrator, openmm.Platform.getPlatformByName("Reference"))
        self.context.setPositions(positions_A * NM_PER_A)
        if velocities_A_fs is None:
            self.context.setVelocitiesToTemperature(temperature_K, number)
        else:
            self.context.setVelocities(velocities_A_fs * NM_PER_A / PS_PER_FS)

    def run(self, steps: int, forces: bool = False) -> State:
        """The state `steps` steps later."""
        self.integrator.step(steps)
        state = self.context.getState(positions=True, velocities=True, forces=forces)
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.angstrom / unit.femtosecond)
        pull = None
        if forces:
            pull = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) / KJ_MOL_PER_EV
        return State(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom), velocities, pull)
