"""SMILES -> conformers -> a short OpenMM simulation of each (MMFF94) -> XTC -> RMSD and
radius of gyration by MDAnalysis.
"""

import sys

import MDAnalysis as mda
import numpy as np
from MDAnalysis.analysis.rms import RMSD

import equidrift

n = int(sys.argv[1]) if len(sys.argv) > 1 else 8
model = sys.argv[2] if len(sys.argv) > 2 else "default"
ensemble = equidrift.sample("CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O", n, model=model, seed=1)
result = equidrift.swarm(ensemble, time_ps=2.0, interval_ps=0.1, output="swarm/", overwrite=True)
print(result)

for k, path in enumerate(result.trajectories):
    universe = mda.Universe(str(result.topology), str(path))
    rmsd_A = RMSD(universe, select="not element H").run().results.rmsd[:, 2]
    radius_A = [universe.atoms.radius_of_gyration() for _ in universe.trajectory]
    print(f"conformer {k}: RMSD {rmsd_A[-1]:.2f} A, radius {np.mean(radius_A):.2f} A")
