"""Leaps of picoseconds beside long dynamics: the torsion map of a molecule that no training
saw, in one picture. WEIGHTS is "leap", or the path of leaps that you trained.
"""

import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import openmm
from openmm import app, unit

import equidrift
from equidrift.torsions import TorsionTree

weights, lag_ps, leaps = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
start = equidrift.sample("COCCCO", 1, model="etkdg-mmff")
molecule, kelvin = start.molecule, 300
torsions = TorsionTree.of(molecule).torsions

past = equidrift.Trajectory(molecule, start.positions_A, [0.0])  # one frame is enough
begun = time.process_time()
(leapt,) = equidrift.forecast(past, leaps, model=weights, lag_ps=lag_ps)
spent = time.process_time() - begun
leapt.save("leaps.xtc")  # opens in MDAnalysis, ASE and OpenMM, with the topology of leaps.pdb
leapt[:1].save("leaps.pdb")

topology, positions = start.to_openmm()
system = equidrift.mmff_system(molecule, constraints="HBonds")
integrator = openmm.LangevinMiddleIntegrator(kelvin, 1, 0.002)
md = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
md.context.setPositions(positions[0])
md.context.setVelocitiesToTemperature(kelvin)
frames, begun = [], time.process_time()
for _ in range(leaps):
    md.step(round(1000 * lag_ps / 2))
    state = md.context.getState(positions=True).getPositions(asNumpy=True)
    frames.append(state.value_in_unit(unit.angstrom))
plain = time.process_time() - begun

figure, axes = plt.subplots(1, 2, sharey=True, figsize=(7, 3.5))
shown = {"dynamics": np.array(frames), "leaps": leapt.positions_A}
for axis, (name, x) in zip(axes, shown.items(), strict=True):
    first, second = np.degrees(torsions(np.asarray(x, float))[:, :2]).T
    axis.hist2d(first, second, bins=36, range=2 * [(-180, 180)], cmap="Greys")
    axis.set(title=name, xlabel="first torsion, degrees")
axes[0].set_ylabel("second torsion, degrees")
figure.tight_layout()
figure.savefig("leaps.png", dpi=150)
print(f"{leaps * lag_ps:g} ps: {spent:.1f} s by leaps, {plain:.1f} s by dynamics; see leaps.png")
