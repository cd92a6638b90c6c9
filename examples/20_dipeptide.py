"""Boltzmann samples of a capped dipeptide in amber ff14SB and implicit water, from its
sequence alone: weighted samples, their effective number, and an equally weighted file.
"""

import sys

import numpy as np

import equidrift
from equidrift.adapters.openmm.peptides import sample_peptide
from equidrift.geometry import dihedrals

sequence = sys.argv[1] if len(sys.argv) > 1 else "AF"
n = int(sys.argv[2]) if len(sys.argv) > 2 else 100
step = float(sys.argv[3]) if len(sys.argv) > 3 else 0.03

found = sample_peptide(sequence, n, step=step, seed=1)
annealed = found.annealed
share = f"{annealed.ess:.0%} +- {annealed.ess_error:.0%}"
print(f"Ace-{sequence}-NMe: {n} samples, {share} effective, {found.seconds:.0f} s")

labels = zip(found.molecule.residue_ids, found.molecule.atom_names, strict=True)
atom = {label: k for k, label in enumerate(labels)}
for place, letter in enumerate(sequence, start=2):
    phi = [atom[place - 1, "C"], atom[place, "N"], atom[place, "CA"], atom[place, "C"]]
    positive = dihedrals(annealed.positions_A, np.array([phi]))[:, 0] > 0
    mean, error = annealed.mean(positive)
    print(f"P(phi > 0) of {letter}{place - 1}: {mean:.3f} +- {error:.3f}")

drawn = annealed.resampled(n, seed=1)
equidrift.Ensemble(found.molecule, drawn).save("dipeptide.pdb")
energy, error = annealed.mean(annealed.energies_eV)
print(f"mean energy {energy:.3f} +- {error:.3f} eV of {len(np.unique(drawn, axis=0))} states")
