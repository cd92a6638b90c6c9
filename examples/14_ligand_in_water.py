"""Conformers of a ligand -> each in a box of water, parametrised by MMFF94 and TIP3P ->
minimised -> 10 ps of dynamics.
"""

import sys

import openmm
from openmm import app, unit

import equidrift
from equidrift.adapters.openmm.prepare import finite_energy_eV, prepare
from equidrift.adapters.openmm.templates import MMFFTemplateGenerator

n = int(sys.argv[1]) if len(sys.argv) > 1 else 4
model = sys.argv[2] if len(sys.argv) > 2 else "default"
ensemble = equidrift.sample("CC(=O)NCCO", n, model=model, distinct=True)

force_field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
force_field.registerTemplateGenerator(MMFFTemplateGenerator(ensemble).generator)
topology, positions = ensemble.to_openmm()
ligand = topology.getNumAtoms()
box = openmm.Vec3(1.7, 1.7, 1.7) * unit.nanometer

for k, start in enumerate(positions):
    modeller = app.Modeller(topology, start)
    modeller.addSolvent(force_field, model="tip3p", boxSize=box)
    system = force_field.createSystem(
        modeller.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.8 * unit.nanometer,
        constraints=app.HBonds,
        hydrogenMass=2.0 * unit.dalton,
    )
    integrator = openmm.LangevinMiddleIntegrator(300, 1.0, 0.004)
    simulation = app.Simulation(modeller.topology, system, integrator)
    prepare(simulation, modeller.positions, temperature_K=300, seed=k)
    simulation.step(2500)  # 10 ps
    energy = finite_energy_eV(simulation.context, "after 10 ps")
    waters = (system.getNumParticles() - ligand) // 3
    print(f"conformer {k}: {waters} waters, potential energy {energy:.2f} eV after 10 ps")
