"""Replica exchange of a capped peptide in four temperatures, with heat-bath turns in each:
what samples of it are compared with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from equidrift.adapters.openmm.peptides import peptide_system
from equidrift.adapters.openmm.prepare import prepare
from equidrift.adapters.openmm.replica_exchange import ProposalReplicaExchange
from equidrift.adapters.openmm.softened import SoftenedTurns
from equidrift.adapters.openmm.topology import to_topology
from equidrift.engine.conformers import sample_molecule
from equidrift.geometry import Floats
from equidrift.peptides import capped_peptide
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV, NM_PER_A

TEMPERATURE_K = 300.0
LADDER_K = (TEMPERATURE_K, 360.0, 430.0, 520.0)
STEPS, TIMESTEP_PS, FRICTION_PER_PS = 50, 0.003, 5.0  # between exchanges
TURNS = 2  # of a move; a proposal after each piece of dynamics


@dataclass(frozen=True, eq=False)
class Reference:
    """Replica exchange at its lowest temperature: energies in kT (k,), torsions (k, m),
    and CPU seconds of all temperatures.
    """

    energies_kT: Floats
    torsions_rad: Floats
    seconds: float


def reference(sequence: str, seconds: float, seed: int = 0) -> Reference:
    """So many CPU seconds of replica exchange, the first tenth of it left out."""
    begun, molecule = time.process_time(), capped_peptide(sequence)
    tree = TorsionTree.of(molecule, amides=True, hydrogens=True)
    system, topology = peptide_system(molecule), to_topology(molecule)
    start_A = sample_molecule(molecule, 1, model="etkdg-mmff", seed=seed).positions_A[0]
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, FRICTION_PER_PS, TIMESTEP_PS)
    integrator.setRandomNumberSeed(seed + 1)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(topology, system, integrator, platform)
    prepare(simulation, start_A * NM_PER_A, temperature_K=TEMPERATURE_K, seed=seed)
    states: list[dict[str, Any]] = [{"temperature": kelvin * unit.kelvin} for kelvin in LADDER_K]
    turns = SoftenedTurns(system, tree, TURNS).at(1.0)
    exchange = ProposalReplicaExchange(states, simulation, STEPS, turns, 1, seed=seed)
    frames, energies = [], []
    while time.process_time() - begun < seconds:
        exchange.simulate(1)
        state = exchange.replicaConformation[exchange.replicaStateIndex.index(0)]
        frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        simulation.context.setPositions(frames[-1] * NM_PER_A)
        found = simulation.context.getState(energy=True).getPotentialEnergy()
        energies.append(found.value_in_unit(unit.kilojoule_per_mole))
    first = len(frames) // 10
    kT = BOLTZMANN_EV_PER_K * TEMPERATURE_K * KJ_MOL_PER_EV
    return Reference(
        np.array(energies[first:]) / kT,
        tree.torsions(np.array(frames[first:])),
        time.process_time() - begun,
    )
