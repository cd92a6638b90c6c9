"""Butane in OpenMM: MD with accepted torsion proposals in between; the user's own
System, an XTC file, populations with errors.
"""

import sys

import openmm
from openmm import app

import equidrift
from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.montecarlo.basins import torsion_basins
from equidrift.montecarlo.proposals import uniform_proposer
from equidrift.torsions import TorsionTree

cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
ensemble = equidrift.sample("CCCC", 1, model="etkdg", seed=1)
topology, positions = ensemble.to_openmm()
integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
system = equidrift.mmff_system(ensemble.molecule, constraints="HBonds")
simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
simulation.context.setPositions(positions[0])
simulation.minimizeEnergy()
simulation.reporters.append(app.XTCReporter("butane.xtc", 100))

sampler = ProposalSampler(
    simulation, uniform_proposer(TorsionTree.of(ensemble.molecule)), md_steps=100, n_proposals=5
)
sampler.run(cycles)
print(f"{sampler.statistics.acceptance:.1%} of {sampler.statistics.proposed} proposals accepted")
for basin in torsion_basins(sampler.torsions_rad, sampler.statistics.labels)[0]:
    share = f"{basin.population:.3f} +- {basin.population_error:.3f}"
    print(f"{basin.centres_deg[0]:6.0f} degrees: {share}")
