"""What proposals are measured against in OpenMM: a Simulation with any integrator, and OpenMM's own replica exchange."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import app, unit

from equidrift.units import NM_PER_A


def simulation_with(
    integrator: openmm.Integrator,
    topology: app.Topology,
    system: openmm.System,
    positions_A: NDArray[np.float64],
    temperature_K: float,
    platform: str,
) -> app.Simulation:
    """A minimised Simulation on a platform."""
    simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform(platform))
    simulation.context.setPositions(positions_A * NM_PER_A)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(temperature_K, 1)
    return simulation


def replica_exchange(simulation: app.Simulation, temperatures_K: Sequence[float], steps: int) -> Callable[[], NDArray[np.float64]]:
    """OpenMM's replica exchange: each call runs an iteration of `steps` steps a replica and gives positions_A of the coldest state."""
    states: list[dict[str, Any]] = [{"temperature": temperature * unit.kelvin} for temperature in temperatures_K]
    exchange = app.ReplicaExchangeSampler(states, simulation, steps)

    def advance() -> NDArray[np.float64]:
        exchange.simulate(1)
        conformation = exchange.replicaConformation[exchange.replicaStateIndex.index(0)]
        return np.asarray(conformation.getPositions(asNumpy=True).value_in_unit(unit.angstrom), np.float64)

    return advance
