"""New molecules for a pocket: drawn under the pull of Vina's terms, placed rigidly, scored
by these terms and, where the package vina is installed, by AutoDock Vina itself.

The protein is the villin headpiece that comes with OpenMM, with all its hydrogens.
"""

import sys

import numpy as np
from openmm import app, unit
from rdkit import Chem

import equidrift

n = int(sys.argv[1]) if len(sys.argv) > 1 else 10
given = app.PDBFile(f"{app.__path__[0]}/data/test.pdb")
protein = app.Modeller(given.topology, given.positions)
protein.deleteWater()
with open("pocket.pdb", "w") as file:
    app.PDBFile.writeFile(protein.topology, protein.positions, file)
# of residues RDKit knows the bonds and the charges
pocket = Chem.MolFromPDBFile("pocket.pdb", removeHs=False)

# a place in a cleft: on a grid of 1 A, not within 3.6 A of a heavy atom, most of them near
is_heavy = [atom.element.symbol != "H" for atom in protein.topology.atoms()]
heavy = np.array(protein.positions.value_in_unit(unit.angstrom))[is_heavy]
axes = [np.arange(low, high) for low, high in zip(heavy.min(0), heavy.max(0), strict=True)]
grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)
apart = np.linalg.norm(grid[:, None] - heavy, axis=-1)
centre = grid[((apart < 9).sum(1) * (apart.min(1) > 3.6)).argmax()]

molecules = equidrift.generate(n, pocket=pocket, centre_A=centre, seed=1)
for ensemble in sorted(molecules, key=lambda one: one.scores["vina_terms_kcal_mol"][0]):
    told = {name: round(float(value[0]), 2) for name, value in ensemble.scores.items()}
    print(ensemble.molecule.smiles, told)
