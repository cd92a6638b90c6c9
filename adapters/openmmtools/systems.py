"""Test systems and integrators of openmmtools: what the sampling benchmark runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from openmmtools import integrators, testsystems
from openmmtools.testsystems import unit


def alanine_dipeptide(constrained: bool = True) -> tuple[Any, Any, NDArray[np.float64]]:
    """(Topology, System, positions_A (22, 3)) of alanine dipeptide, ff96 with OBC
    implicit water, bonds to hydrogen constrained or not.
    """
    made = testsystems.AlanineDipeptideImplicit(**({} if constrained else {"constraints": None}))
    positions_A = np.asarray(made.positions.value_in_unit(unit.angstrom), np.float64)
    return made.topology, made.system, positions_A


def hybrid_monte_carlo(temperature_K: float, n_steps: int, timestep_ps: float) -> Any:
    """An integrator each of whose steps is one hybrid Monte Carlo move of `n_steps`
    velocity Verlet steps.
    """
    return integrators.HMCIntegrator(temperature_K, nsteps=n_steps, timestep=timestep_ps)
