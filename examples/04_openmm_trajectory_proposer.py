"""Thymol, which no model was trained on, driven by a trajectory model in OpenMM: its
energies beside those of plain dynamics.
"""

import sys

import numpy as np
import openmm
from openmm import app, unit

import equidrift
from equidrift.adapters.openmm.proposer import TrajectoryProposer
from equidrift.adapters.openmm.simulation import prepare
from equidrift.errors import NoValidSamplesError

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
model = sys.argv[2] if len(sys.argv) > 2 else "default"
# frames the model draws in a round, and steps of plain dynamics before the next
FRAMES, BETWEEN = 10, 400
ensemble = equidrift.sample("Cc1ccc(C(C)C)c(O)c1", 1, model="etkdg-mmff", seed=1)
topology, positions = ensemble.to_openmm()
system = equidrift.mmff_system(ensemble.molecule)


def start():
    """A Simulation at 300 K, 2 ps away from its minimum."""
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(topology, system, integrator)
    prepare(simulation, positions[0], temperature_K=300, seed=1)
    simulation.step(4000)
    return simulation


def energy_eV(simulation):
    """The potential energy where the simulation is."""
    energy = simulation.context.getState(energy=True).getPotentialEnergy()
    return energy / unit.AVOGADRO_CONSTANT_NA / unit.elementary_charge / unit.volt


driven, plain = start(), start()
proposer = TrajectoryProposer(driven, model, molecule=ensemble.molecule, seed=1, max_attempts=5)
print("round   proposal   driven    plain   (eV; potential energy of MMFF94)")
energies = []
for k in range(rounds):
    try:
        proposed_eV = proposer.step(FRAMES).energy_eV
    except NoValidSamplesError as refusal:
        # the Context is where it was, and plain dynamics goes on
        proposed_eV = np.nan
        print(f"{k:5d} refused: {refusal.reasons}")
    driven.step(BETWEEN)
    plain.step(driven.currentStep - plain.currentStep)  # the same time
    energies.append((proposed_eV, energy_eV(driven), energy_eV(plain)))
    print(f"{k:5d} {energies[-1][0]:10.3f} {energies[-1][1]:8.3f} {energies[-1][2]:8.3f}")
mean = np.nanmean(energies, axis=0)
print(f" mean {mean[0]:10.3f} {mean[1]:8.3f} {mean[2]:8.3f}")
print(f"refused: {dict(proposer.rejected) or 'none'}; exact: {proposer.exact}")
