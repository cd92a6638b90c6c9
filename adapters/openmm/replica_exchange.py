"""Replica exchange in OpenMM, with Monte Carlo moves by a proposer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from openmm import app, unit

from equidrift.adapters.openmm.integrators import check_integrator
from equidrift.adapters.openmm.moves import ContextMoves, forgetting_step, topology_bonds
from equidrift.adapters.openmm.stepping import explained
from equidrift.arguments import check_count
from equidrift.montecarlo.metropolis import Statistics
from equidrift.protocols import Proposer
from equidrift.seeds import check_seed


class ProposalReplicaExchange(app.ReplicaExchangeSampler):  # type: ignore[misc]  # untyped
    """OpenMM's replica exchange, with moves after the dynamics of every replica.

    Parameters
    ----------
    states, simulation, stepsPerIteration, reinitializeVelocities : of
        `openmm.app.ReplicaExchangeSampler`.
    proposer, n_proposals, atoms : Proposer, int, array
        As for `ProposalSampler`; each replica is moved at the temperature and potential
        of its state.
    seed : int
        Of the moves; every replica has its own stream in every iteration. Exchanges
        draw from Python's global `random`, as OpenMM's do.

    Attributes
    ----------
    statistics : list of equidrift.montecarlo.metropolis.Statistics
        One per state.
    """

    def __init__(
        self,
        states: list[dict[str, Any]],
        simulation: app.Simulation,
        stepsPerIteration: int,
        proposer: Proposer,
        n_proposals: int = 10,
        *,
        reinitializeVelocities: bool = False,
        atoms: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        check_integrator(simulation.integrator)
        super().__init__(states, simulation, stepsPerIteration, reinitializeVelocities)
        self.n_proposals, self.seed = check_count("n_proposals", n_proposals, 0), check_seed(seed)
        self._state = 0
        bonds = topology_bonds(simulation.topology)
        options: dict[str, Any] = {"atoms": atoms, "bonds": bonds if len(bonds) else None}
        if any("groups" in state for state in states):
            options["energy"] = lambda: self._sampler.computeEnergy(self._state).value_in_unit(
                unit.kilojoule_per_mole
            )
        self.moves = ContextMoves(simulation.context, proposer, **options)
        self.statistics = [Statistics.of(proposer) for _ in states]

    def simulateReplica(self, index: int, steps: int | None = None) -> None:
        """Dynamics, then moves; see
        `openmm.app.ReplicaExchangeSampler.simulateReplica`.
        """
        with explained(f"taking the steps of replica {index}"):
            super().simulateReplica(index, steps)
        self._state = self.replicaStateIndex[index]
        temperature = (
            self.states[self._state].get("temperature", None)
            or self.simulation.integrator.getTemperature()
        )
        kelvin = (
            temperature.value_in_unit(unit.kelvin)
            if unit.is_quantity(temperature)
            else float(temperature)
        )
        rng = np.random.default_rng([self.seed, index, self.currentIteration])
        accepted, _, _ = self.moves.apply(
            self.n_proposals, temperature_K=kelvin, rng=rng, statistics=self.statistics[self._state]
        )
        if accepted:
            if self.moves.shells is None:
                forgetting_step(self.simulation.integrator, self.simulation.integrator.step)
            wanted = {
                "positions": True,
                "velocities": True,
                "parameters": True,
                "integratorParameters": True,
            }
            self.replicaConformation[index] = self.simulation.context.getState(**wanted)
