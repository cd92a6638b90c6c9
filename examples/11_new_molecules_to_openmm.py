"""New molecules -> RDKit's SDF writer -> five of them in OpenMM, each with its own
MMFF94 System, minimised and run for a moment.
"""

import sys

import openmm as mm
from openmm import app, unit
from rdkit import Chem

import equidrift

n = int(sys.argv[1]) if len(sys.argv) > 1 else 100
molecules = equidrift.generate(n, seed=1)
origin = molecules[0].provenance
print(f"{n} molecules of {origin['drawn']} draws; rejected: {origin['rejected']}")
with Chem.SDWriter("new.sdf") as writer:
    for ensemble in molecules:
        writer.write(ensemble.to_rdkit())

for ensemble in molecules[:5]:
    topology, (positions,) = ensemble.to_openmm()
    integrator = mm.LangevinMiddleIntegrator(
        300 * unit.kelvin, 1 / unit.picosecond, 1 * unit.femtosecond
    )
    simulation = app.Simulation(topology, equidrift.mmff_system(ensemble.molecule), integrator)
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
    simulation.step(500)
    energy = (
        simulation.context.getState(energy=True)
        .getPotentialEnergy()
        .value_in_unit(unit.kilocalorie_per_mole)
    )
    print(f"{ensemble.molecule.smiles}: {energy:.1f} kcal/mol after 0.5 ps")
