"""Energy minima of an OpenMM System, one geometry after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from equidrift.units import KJ_MOL_PER_EV, NM_PER_A

Floats = NDArray[np.float64]
RMS_FORCE_KJ_MOL_NM = 10.0  # of a relaxed geometry, 0.01 eV/A


def minimiser(
    system: openmm.System, held: Sequence[int] = ()
) -> Callable[[Floats], tuple[Floats, float]]:
    """A function that goes to the minimum next to a geometry.

    Parameters
    ----------
    system : openmm.System
        It is the function's from then on.
    held : sequence of int, optional
        Particles that stay where they are.

    Returns
    -------
    callable
        Of positions (n, 3) in A: the positions at the minimum and the energy in eV.
    """
    for k in held:  # a particle without mass does not move
        system.setParticleMass(int(k), 0.0)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001))

    def minimum(start_A: Floats) -> tuple[Floats, float]:
        context.setPositions(start_A * NM_PER_A)
        openmm.LocalEnergyMinimizer.minimize(context, RMS_FORCE_KJ_MOL_NM)
        state = context.getState(getPositions=True, getEnergy=True)
        x = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return np.asarray(x, np.float64), float(energy) / KJ_MOL_PER_EV

    return minimum
