"""New molecules for a pocket: drawn under the pull of Vina's terms, placed rigidly, scored
by these terms and, where the package vina is installed, by AutoDock Vina itself.

The protein is the villin headpiece that comes with OpenMM, with all its hydrogens; its
water and ions are left out, which a warning tells.
"""

import sys

import numpy as np
from openmm import app, unit

import equidrift

n = int(sys.argv[1]) if len(sys.argv) > 1 else 10
receptor = f"{app.__path__[0]}/data/test.pdb"
given = app.PDBFile(receptor)

# a place in a cleft: on a grid of 1 A, not within 3.6 A of a heavy atom, most of them near
counts = [
    atom.residue.name not in ("HOH", "Cl") and atom.element.symbol != "H"
    for atom in given.topology.atoms()
]
heavy = np.array(given.positions.value_in_unit(unit.angstrom))[counts]
axes = [np.arange(low, high) for low, high in zip(heavy.min(0), heavy.max(0), strict=True)]
grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)
apart = np.linalg.norm(grid[:, None] - heavy, axis=-1)
centre = grid[((apart < 9).sum(1) * (apart.min(1) > 3.6)).argmax()]

molecules = equidrift.generate(n, pocket=receptor, centre_A=centre, seed=1)
for ensemble in sorted(molecules, key=lambda one: one.scores["vina_terms_kcal_mol"][0]):
    told = {name: round(float(value[0]), 2) for name, value in ensemble.scores.items()}
    print(ensemble.molecule.smiles, told)
