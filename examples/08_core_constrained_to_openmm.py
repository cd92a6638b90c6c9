"""A fragment that keeps its place, grown into a molecule: conformers around the core,
each run in OpenMM (MMFF94) with the core frozen.
"""

import sys

import numpy as np
import openmm as mm
from openmm import app, unit

import equidrift

n = int(sys.argv[1]) if len(sys.argv) > 1 else 8
model = sys.argv[2] if len(sys.argv) > 2 else "default"
# the bound fragment, say from a crystal
equidrift.sample("CC(=O)Nc1ccc(O)cc1", 1, model="etkdg-mmff", seed=4).save("core.sdf")
ensemble = equidrift.sample(
    "CC(=O)Nc1ccc(OCC(O)CNC(C)C)cc1", n, model=model, fix="core.sdf", seed=1
)
core = ensemble.provenance["fixed_atoms"]

system = equidrift.mmff_system(ensemble.molecule)
for atom in core:
    system.setParticleMass(atom, 0.0)  # OpenMM holds atoms without mass
topology, conformers = ensemble.to_openmm()
integrator = mm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 1 / unit.picosecond, 1 * unit.femtosecond
)
simulation = app.Simulation(
    topology, system, integrator, mm.Platform.getPlatformByName("Reference")
)
for k, positions in enumerate(conformers):
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy(maxIterations=200)
    simulation.step(200)
    state = simulation.context.getState(positions=True, energy=True)
    moved_A = np.linalg.norm(
        state.getPositions(asNumpy=True).value_in_unit(unit.angstrom) - ensemble.positions_A[k],
        axis=1,
    )
    energy = state.getPotentialEnergy().value_in_unit(unit.kilocalorie_per_mole)
    print(
        f"conformer {k}: {energy:.1f} kcal/mol, core moved {moved_A[core].max():.4f} A, the rest "
        f"{np.delete(moved_A, core).max():.2f} A"
    )
