"""Molecules with a HOMO-LUMO gap near 7 eV -> relaxed with MMFF94 by ASE -> an ASE
database that is searched by gap.
"""

import sys

import ase.db
from ase.optimize import BFGS

from equidrift.adapters.ase.calculators import MMFF
from equidrift.adapters.ase.generator import MoleculeGenerator

n = int(sys.argv[1]) if len(sys.argv) > 1 else 20
generator = MoleculeGenerator(n=n, seed=1, targets={"gap_eV": 7.0}, guidance=2.0)

with ase.db.connect("gap.db", append=False) as database:
    for atoms in generator.generate():
        atoms.calc = MMFF()
        BFGS(atoms, logfile=None).run(fmax=0.05, steps=300)
        database.write(
            atoms,
            smiles=atoms.info["smiles"],
            gap_eV=atoms.info["scores"]["gap_eV"],
            data={"info": atoms.info},
        )

rows = sorted(ase.db.connect("gap.db").select(), key=lambda row: abs(row.gap_eV - 7.0))
for row in rows[:5]:
    print(f"{row.smiles}: gap {row.gap_eV:.2f} eV, {row.natoms} atoms, fmax {row.fmax:.3f} eV/A")
