"""Ethylene glycol in ASE with GFN2-xTB: torsion proposals accepted at 300 K between
steps of Langevin dynamics.
"""

import sys

import numpy as np
from ase import units
from ase.md.langevin import Langevin
from tblite.ase import TBLite

import equidrift
from equidrift.adapters.ase.montecarlo import ProposalMonteCarlo
from equidrift.montecarlo.proposals import uniform_proposer
from equidrift.torsions import TorsionTree

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
ensemble = equidrift.sample("OCCO", 1, model="etkdg", seed=1)
(atoms,) = ensemble.to_ase()
atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
tree = TorsionTree.of(ensemble.molecule, hydrogens=True)  # the hydroxyls turn too

dynamics = Langevin(
    atoms,
    1 * units.fs,
    temperature_K=300,
    friction=0.01 / units.fs,
    fixcm=False,
    rng=np.random.default_rng(1),
)
mc = ProposalMonteCarlo(
    atoms,
    uniform_proposer(tree, block_size=1),
    300,
    n_proposals=3,
    dynamics=dynamics,
    md_steps=10,
    trajectory="glycol.traj",
)
mc.run(steps)
counts = mc.statistics
print(f"{counts.accepted} of {counts.proposed} accepted, {counts.not_finite} failed")
for label, share in counts.by_torsion().items():
    told = "none" if share is None else format(share, ".0%")
    print(f"{label}: {told} of turns above 60 degrees accepted")
