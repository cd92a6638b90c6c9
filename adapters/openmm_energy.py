"""Energies of many configurations from one OpenMM System: what importance weights are made of."""

from __future__ import annotations

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import unit

from equidrift.errors import InputError
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A


class SystemEnergy:
    """(k, n, 3) positions in A -> (k,) potential energies in eV; NaN where there is none.

    Parameters
    ----------
    system : an openmm System, without constraints: a density of all Cartesian coordinates says nothing of a constrained one.
    platform : name; CPU uses the threads of OPENMM_CPU_THREADS.

    Raises
    ------
    InputError
        for a System with constraints.
    """

    def __init__(self, system: openmm.System, platform: str = "CPU") -> None:
        if system.getNumConstraints():
            raise InputError(
                f"the System has {system.getNumConstraints()} constraints, and a density of Cartesian coordinates has no weights there; "
                "build it with constraints=None, rigidWater=False"
            )
        self.n_atoms = system.getNumParticles()
        integrator = openmm.VerletIntegrator(0.001)
        try:
            host = openmm.Platform.getPlatformByName(platform)
            self._context = openmm.Context(system, integrator, host)
        except openmm.OpenMMException as error:
            raise InputError(
                f"OpenMM cannot evaluate this System on the platform {platform}: {error}"
            ) from error

    def __call__(self, positions_A: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(positions_A, np.float64)
        if x.ndim != 3 or x.shape[1:] != (self.n_atoms, 3):
            raise InputError(f"positions_A has shape {x.shape}, expected (k, {self.n_atoms}, 3), in A")
        return np.array([self._one(frame) for frame in x])

    def _one(self, x: NDArray[np.float64]) -> float:
        if not np.isfinite(x).all():
            return np.nan
        try:
            self._context.setPositions(x * NM_PER_A)
            energy = self._context.getState(energy=True).getPotentialEnergy()
        except openmm.OpenMMException:
            return np.nan
        return float(energy.value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV
