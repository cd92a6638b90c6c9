"""Conformers of ibuprofen from within ASE: generated, optimised with MMFF94 by ASE's
BFGS, stored in a database, the best one found.
"""

import sys

import ase.db
from ase.optimize import BFGS

from equidrift.adapters.ase.calculators import MMFF
from equidrift.adapters.ase.generator import ConformerGenerator

n = int(sys.argv[1]) if len(sys.argv) > 1 else 10
model = sys.argv[2] if len(sys.argv) > 2 else "default"
generator = ConformerGenerator(model=model, n=n, seed=1)

with ase.db.connect("conformers.db", append=False) as database:
    for atoms in generator.generate("CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O"):
        atoms.calc = MMFF()
        BFGS(atoms, logfile=None).run(fmax=0.05, steps=300)
        database.write(
            atoms,
            smiles=atoms.info["smiles"],
            sample=atoms.info["sample"],
            data={"info": atoms.info},
        )

rows = sorted(ase.db.connect("conformers.db").select(), key=lambda row: row.energy)
for row in rows[:3]:
    print(
        f"conformer {row.sample}: {row.energy - rows[0].energy:.3f} eV above the best, fmax "
        f"{row.fmax:.3f} eV/A"
    )
