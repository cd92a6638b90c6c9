"""Harmonic infrared spectra at GFN2-xTB: ASE's `Infrared` on tblite's calculator. tblite is optional and imported on first use."""

from __future__ import annotations

import tempfile

import ase
import numpy as np
from ase.calculators.calculator import CalculationFailed, SCFError
from ase.optimize import BFGS
from ase.vibrations import Infrared
from numpy.typing import NDArray

from equidrift.errors import MissingDependencyError, MoleculeError

FMAX_EV_A = 0.005  # a minimum this tight has no false imaginary frequencies above a few tens of wavenumbers
IMAGINARY_CM1 = 50.0


def infrared(
    numbers: NDArray[np.integer], positions_A: NDArray[np.floating], *, charge: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The harmonic infrared spectrum of the GFN2-xTB minimum next to a geometry.

    Forces and dipoles at displacements of +-0.01 A give the Hessian and the dipole derivatives (ASE's `Infrared`).

    Parameters
    ----------
    numbers : (n,) atomic numbers of a closed-shell molecule.
    positions_A : (n, 3).

    Returns
    -------
    positions_A : (n, 3), the minimum.
    frequencies_cm1, intensities : (3n - 6,), or one fewer for a linear molecule; intensities in (D/A)^2/amu.

    Raises
    ------
    MissingDependencyError
        where tblite is not installed. MoleculeError where the self-consistent field fails, or the geometry reached is no minimum.
    """
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise MissingDependencyError("tblite", "xtb") from error
    atoms = ase.Atoms(numbers, np.asarray(positions_A, np.float64))
    atoms.calc = TBLite(method="GFN2-xTB", charge=charge, verbosity=0)
    try:
        BFGS(atoms, logfile=None).run(fmax=FMAX_EV_A, steps=300)
        minimum = atoms.positions.copy()
        with tempfile.TemporaryDirectory(prefix="equidrift-ir-") as folder:
            spectrum = Infrared(atoms, name=f"{folder}/ir")
            spectrum.run()
            frequencies = np.asarray(spectrum.get_frequencies())
            intensities = np.asarray(spectrum.intensities)
    except (CalculationFailed, SCFError, RuntimeError) as error:
        raise MoleculeError(f"GFN2-xTB gives no spectrum of {atoms.get_chemical_formula()}: {error}") from error
    if (frequencies.imag > IMAGINARY_CM1).any():
        raise MoleculeError(f"{atoms.get_chemical_formula()} is at no minimum: {frequencies.imag.max():.0f}i cm-1")
    rigid = 5 if is_linear(minimum) else 6
    kept = np.argsort(np.abs(frequencies), kind="stable")[rigid:]  # the rigid motions are the modes nearest to zero
    return minimum, frequencies.real[np.sort(kept)], intensities[np.sort(kept)]


def is_linear(positions_A: NDArray[np.float64], tolerance: float = 1e-3) -> bool:
    """Whether all atoms lie on a line, to `tolerance` of the longest extent."""
    sizes = np.linalg.svd(positions_A - positions_A.mean(0), compute_uv=False)
    return bool(sizes[1] <= tolerance * max(sizes[0], 1e-9))
