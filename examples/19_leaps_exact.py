"""The exact twin of leaps in OpenMM: the same density inside the Metropolis rule, so that
the distribution is the force field's however well the leaps were learned.
"""

import sys

import numpy as np
import openmm
from openmm import app

import equidrift
from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.models.trajectories.leap.proposer import LeapProposer

weights, lag_ps, cycles = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
start = equidrift.sample("COCCCO", 1, model="etkdg-mmff")
topology, positions = start.to_openmm()
system = equidrift.mmff_system(start.molecule, constraints="HBonds")
integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
simulation.context.setPositions(positions[0])
simulation.minimizeEnergy()
simulation.context.setVelocitiesToTemperature(300)

leap = LeapProposer(weights, start.molecule, lag_ps=lag_ps, temperature_K=300)
sampler = ProposalSampler(simulation, leap, md_steps=50, n_proposals=1, seed=1)
sampler.run(cycles)
counts = sampler.statistics
print(f"{counts.accepted} of {counts.proposed} leaps accepted ({counts.acceptance:.0%})")
wells = np.degrees(sampler.torsions_rad).round(-1)
print(f"{len(np.unique(wells, axis=0))} places of the torsions in {len(wells)} frames")
