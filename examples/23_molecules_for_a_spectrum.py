"""Molecules for an infrared spectrum, and whether the best of them has it.

    23_molecules_for_a_spectrum.py WEIGHTS [N]

WEIGHTS take spectra. None are shipped yet: tools/trainings/spectra.sh trains some in an
afternoon. The spectrum is one of GFN2-xTB (extra `xtb`), that of ethanol, at 500 to
4000 cm^-1 and in a unit of its own, as an instrument would write it.
"""

import sys

import numpy as np
from ase.io import write

import equidrift
from equidrift.adapters.ase.xtb import infrared
from equidrift.spectrum import GRID_CM1, broaden, relative_roots, spectrum_of

weights, n = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20


def computed(ensemble: equidrift.Ensemble) -> np.ndarray:
    """The spectrum of a molecule on the grid, by GFN2-xTB."""
    _, frequencies_cm1, intensities = infrared(ensemble.molecule.numbers, ensemble.positions_A[0])
    return broaden(frequencies_cm1, intensities)


x = np.arange(500, 4001, 4.0)
y = np.interp(x, GRID_CM1, computed(equidrift.sample("CCO", 1, model="etkdg-mmff")))
np.savetxt(
    "ir.csv", np.stack([x, y / y.max()], 1), delimiter=",", header="wavenumber_cm1,absorbance"
)

molecules = equidrift.generate(n, model=weights, spectrum="ir.csv", guidance=1.5)
molecules.sort(key=lambda one: -one.scores["spectrum_log_likelihood"][0])
write("candidates.traj", [one.to_ase()[0] for one in molecules])  # ASE's, the likeliest first

wanted, best = (relative_roots(one)[12:] for one in (spectrum_of("ir.csv"), computed(molecules[0])))
print(f"{n} molecules; the likeliest is {molecules[0].molecule.smiles}")
print(f"its spectrum and the one wanted: correlation {np.corrcoef(wanted, best)[0, 1]:.2f}")
