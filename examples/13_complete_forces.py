"""Forces known on half of the atoms of a molecule, completed on the others with
calibrated intervals; and an ASE calculator.
"""

import sys

import numpy as np
from ase.build import molecule

from equidrift.adapters.ase.calculators import FieldCalculator, complete_atoms
from equidrift.models.fields.atoms.sampler import AtomFieldModel

n = int(sys.argv[1]) if len(sys.argv) > 1 else 39
model = AtomFieldModel.load("atom-forces")  # trained on nine molecules of rMD17: H, C, N, O
atoms = molecule("CH3CH2OH")
atoms.rattle(0.03, seed=1)
atoms.calc = FieldCalculator(model, n=n, steps=8)
print("predicted, none known:", np.round(np.abs(atoms.get_forces()).max(), 2), "eV/A at most")

# in your work: of a QM/MM boundary, of a calculation that covers a part, of an experiment
known = atoms.get_forces()
known[5:] = np.nan
atoms.set_array("forces", known)
done = complete_atoms(atoms, model, n=n, steps=8)
mean, low, high = model.condition(atoms.numbers, atoms.positions, known).interval(0.9)
for k, atom in enumerate(done):
    if k >= 5:
        print(
            atom.symbol,
            np.round(done.arrays["forces"][k], 2),
            "90 % of the first:",
            np.round([low[k, 0], high[k, 0]], 2),
            "eV/A",
        )
