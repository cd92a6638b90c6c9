"""A ligand in a box of water: turns of its torsions between steps of dynamics, drawn among
the water molecules round it and accepted by the full energy, PME included.
"""

import sys

import numpy as np
import openmm
from openmm import app, unit

import equidrift
from equidrift.adapters.openmm.pace import paced_steps
from equidrift.adapters.openmm.prepare import prepare
from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.templates import MMFFTemplateGenerator
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.montecarlo.basins import torsion_basins
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.torsions import TorsionTree

cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
ensemble = equidrift.sample("CC(=O)NCCO", 1, model="etkdg", seed=1)
field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
field.registerTemplateGenerator(MMFFTemplateGenerator(ensemble).generator)
topology, positions = ensemble.to_openmm()
ligand = np.arange(topology.getNumAtoms())
modeller = app.Modeller(topology, positions[0])
modeller.addSolvent(field, model="tip3p", boxSize=openmm.Vec3(1.9, 1.9, 1.9))
system = field.createSystem(
    modeller.topology,
    nonbondedMethod=app.PME,
    nonbondedCutoff=0.9 * unit.nanometer,
    constraints=app.HBonds,
)
integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
simulation = app.Simulation(modeller.topology, system, integrator)
prepare(simulation, modeller.positions, temperature_K=300, seed=1)

terms = turn_terms(system, ligand)  # of the ligand, and of its pairs with the water
proposer = HeatBathProposer(TorsionTree.of(ensemble.molecule), terms)
steps = paced_steps(simulation, proposer, atoms=ligand)  # proposals take 8 % of the time
sampler = ProposalSampler(simulation, proposer, md_steps=steps, n_proposals=1, atoms=ligand)
sampler.run(cycles)
statistics = sampler.statistics
print(f"a proposal after every {steps} steps of dynamics")
print(f"{statistics.acceptance:.0%} of {statistics.proposed} proposals accepted")
for basins in torsion_basins(sampler.torsions_rad, statistics.labels):
    for basin in basins:
        share = f"{basin.population:.2f} +- {basin.population_error:.2f}"
        print(f"{basin.torsion}: {basin.centres_deg[0]:5.0f} degrees {share}")
