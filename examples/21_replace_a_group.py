"""Another group in a molecule's place for one: the rest is held, the new molecule with
the highest QED is minimised in OpenMM.
"""

import sys

import openmm as mm
from openmm import app, unit

import equidrift

n = int(sys.argv[1]) if len(sys.argv) > 1 else 10
start = equidrift.sample("Cc1ccc(F)cc1", 1, model="etkdg-mmff")  # or the path of a .sdf file
molecules = equidrift.generate(
    n, fragment=start, replace="c[F:1]", targets={"QED": "max"}, candidates=2, seed=1
)
print(f"{start.molecule.smiles}, fluorine replaced: {molecules[0].provenance['rejected']}")
for ensemble in molecules:
    print(f"{ensemble.molecule.smiles}: QED {ensemble.scores['QED'][0]:.2f}")

best = max(molecules, key=lambda ensemble: ensemble.scores["QED"][0])
topology, (positions,) = best.to_openmm()
simulation = app.Simulation(
    topology, equidrift.mmff_system(best.molecule), mm.VerletIntegrator(1 * unit.femtosecond)
)
simulation.context.setPositions(positions)
simulation.minimizeEnergy()
energy = (
    simulation.context.getState(energy=True)
    .getPotentialEnergy()
    .value_in_unit(unit.kilocalorie_per_mole)
)
print(f"{best.molecule.smiles}: {energy:.1f} kcal/mol")
