"""GFN2-xTB relaxation: tblite's ASE calculator and ASE's BFGS. tblite is optional and
imported on first use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import ase
import ase.units
import numpy as np
from ase.calculators.calculator import CalculationFailed, SCFError
from ase.optimize import BFGS
from ase.vibrations import Infrared
from numpy.typing import NDArray

from equidrift.adapters.ase.relax import FMAX_EV_A, MOST_STEPS, minima
from equidrift.adapters.ase.typed import energy_eV, forces_eV_A, formula, masses_amu
from equidrift.checks.conditions import Known
from equidrift.errors import InputError, MissingDependencyError, MoleculeError
from equidrift.records import Molecule

TIGHT_EV_A = 0.005  # a minimum this tight has no false imaginary frequencies of tens of cm-1
IMAGINARY_CM1 = 50.0  # what the Hessian's noise may make of a mode near zero
SOLVENTS = (
    "water",
    "methanol",
    "dmso",
    "acetonitrile",
    "thf",
    "chcl3",
    "octanol",
    "hexane",
)  # some
VALUES = ("homo_eV", "lumo_eV", "gap_eV", "mu_D", "energy_eV")  # what `gfn2_values` tells


def require_tblite() -> Any:
    """tblite's ASE calculator class.

    Raises `MissingDependencyError` with the pip line.
    """
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise MissingDependencyError("tblite", "xtb") from error
    return TBLite


def _with_gfn2(
    molecule: Molecule, positions_A: NDArray[np.float64], solvent: str | None = None
) -> ase.Atoms:
    """Atoms of the molecule with GFN2-xTB as calculator, in a solvent (ALPB) or vacuum."""
    atoms = ase.Atoms(molecule.numbers, positions_A)
    solvation = {} if solvent is None else {"solvation": ("alpb", solvent)}
    atoms.calc = require_tblite()(
        method="GFN2-xTB",
        charge=molecule.charge,
        multiplicity=molecule.multiplicity,
        verbosity=0,
        **solvation,
    )
    return atoms


@lru_cache  # a command asks for each of its options, and then for the run
def check_solvent(solvent: str) -> None:
    """Refuse an implicit solvent that ALPB has no parameters for.

    Raises
    ------
    InputError
        For another name; MissingDependencyError if tblite is not installed.
    """
    calculator = require_tblite()
    hydrogen = ase.Atoms("H2", [(0, 0, 0), (0, 0, 0.74)])
    try:
        hydrogen.calc = calculator(method="GFN2-xTB", solvation=("alpb", solvent), verbosity=0)
        energy_eV(hydrogen)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"solvent={solvent!r} is none that GFN2-xTB with ALPB knows; give one of "
            f"{', '.join(SOLVENTS)}"
        ) from error


def gfn2_relax(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    max_steps: int = MOST_STEPS,
    *,
    fmax_eV_A: float = FMAX_EV_A,
    known: Known | None = None,
    solvent: str | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move conformers to the nearest minimum of GFN2-xTB.

    Parameters
    ----------
    molecule : Molecule
        The graph; its charge and multiplicity go to the calculation.
    positions_A, max_steps, fmax_eV_A, known
        As for `equidrift.adapters.ase.relax.minima`.
    solvent : str, optional
        Implicit solvent (ALPB), say "water"; None for vacuum.

    Returns
    -------
    positions_A : float64 (k, n_atoms, 3); NaN if the self-consistent field failed.
    energies_eV : float64 (k,).

    Raises
    ------
    MissingDependencyError
        If tblite is not installed. InputError for positions of another shape.
    """
    require_tblite()
    return minima(
        lambda graph, x: _with_gfn2(graph, x, solvent),
        molecule,
        positions_A,
        known=known,
        max_steps=max_steps,
        fmax_eV_A=fmax_eV_A,
        failures=(CalculationFailed, SCFError, RuntimeError),
    )


def gfn2_values(
    systems: Sequence[tuple[Molecule, NDArray[np.float64]]],
) -> dict[str, NDArray[np.float64]]:
    """Orbital energies, gap and dipole moment by GFN2-xTB.

    This judge of generated molecules knows nothing of QM9. Its values are on another
    scale than B3LYP's (its gaps are much smaller); `equidrift.checks.judges` holds how
    the two go together.

    Parameters
    ----------
    systems : sequence of (Molecule, array of float)
        Molecules and their positions (n_atoms, 3) in A.

    Returns
    -------
    dict of str to array, shape (len(systems),)
        `homo_eV`, `lumo_eV`, `gap_eV`, `mu_D` (D) and `energy_eV`; NaN if the
        self-consistent field failed.

    Raises
    ------
    MissingDependencyError
        If tblite is not installed.
    """
    require_tblite()
    out = np.full((len(systems), len(VALUES)), np.nan)
    for k, (molecule, positions_A) in enumerate(systems):
        try:
            out[k] = _single_point(molecule, positions_A)
        except RuntimeError:  # tblite's, if the field does not converge
            continue
    return dict(zip(VALUES, out.T, strict=True))


def _single_point(molecule: Molecule, positions_A: NDArray[np.float64]) -> tuple[float, ...]:
    """The `VALUES` of one geometry."""
    from tblite.interface import Calculator

    calculator = Calculator(
        "GFN2-xTB",
        np.asarray(molecule.numbers),
        np.asarray(positions_A) / ase.units.Bohr,
        charge=molecule.charge,
    )
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    levels = result.get("orbital-energies") * ase.units.Hartree
    filled = result.get("orbital-occupations") > 1.0
    homo = levels[filled].max() if filled.any() else np.nan
    lumo = levels[~filled].min() if (~filled).any() else np.nan
    dipole = float(np.linalg.norm(result.get("dipole"))) * ase.units.Bohr / ase.units.Debye
    return homo, lumo, lumo - homo, dipole, float(result.get("energy")) * ase.units.Hartree


def gfn2_dynamics(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    velocities_A_fs: NDArray[np.float64],
    *,
    step_fs: float,
    steps: int,
    friction_per_fs: float = 0.0,
) -> NDArray[np.float64]:
    """GFN2-xTB dynamics by leapfrog from one configuration: the mean path of a Langevin
    thermostat, without its noise.

    Parameters
    ----------
    positions_A, velocities_A_fs : array of float
        (n_atoms, 3), the velocities those of the half step before.

    Returns
    -------
    (steps, n_atoms, 3), the positions after each step.

    Raises
    ------
    MissingDependencyError
        If tblite is not installed.
    """
    atoms = _with_gfn2(molecule, positions_A)
    per_force = (ase.units.fs**2) / masses_amu(atoms)[:, None]  # eV/A to A/fs^2
    decay = np.exp(-friction_per_fs * step_fs)
    x, v, out = np.array(positions_A, np.float64), np.array(velocities_A_fs, np.float64), []
    for _ in range(steps):
        atoms.positions = x
        v = decay * (v + step_fs * forces_eV_A(atoms) * per_force)
        x = x + step_fs * v
        out.append(x)
    return np.stack(out)


def gfn2_forces(molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """GFN2-xTB forces (k, n_atoms, 3) in eV/A of frames positions_A (k, n_atoms, 3);
    NaN if the self-consistent field failed.

    Raises
    ------
    MissingDependencyError
        If tblite is not installed.
    """
    atoms = _with_gfn2(molecule, np.zeros((molecule.n_atoms, 3)))
    out = np.full(np.shape(positions_A), np.nan)
    for k, x in enumerate(positions_A):
        atoms.positions = x
        try:
            out[k] = forces_eV_A(atoms)
        except (CalculationFailed, SCFError):
            continue
    return out


def infrared(
    numbers: NDArray[np.integer], positions_A: NDArray[np.floating], *, charge: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The harmonic infrared spectrum of the GFN2-xTB minimum next to a geometry.

    Forces and dipoles at displacements of +-0.01 A give the Hessian and the dipole
    derivatives (ASE's `Infrared`).

    Parameters
    ----------
    numbers : array of int
        (n,) atomic numbers of a closed-shell molecule.
    positions_A : array of float
        (n, 3).

    Returns
    -------
    positions_A : (n, 3), the minimum.
    frequencies_cm1, intensities : (3n - 6,), or one fewer for a linear molecule;
        intensities in (D/A)^2/amu.

    Raises
    ------
    MissingDependencyError
        If tblite is not installed. MoleculeError if the self-consistent field
        fails, or the geometry reached is no minimum.
    """
    atoms = ase.Atoms(numbers, np.asarray(positions_A, np.float64))
    atoms.calc = require_tblite()(method="GFN2-xTB", charge=charge, verbosity=0)
    try:
        BFGS(atoms, logfile=None).run(fmax=TIGHT_EV_A, steps=300)
        minimum = atoms.positions.copy()
        with tempfile.TemporaryDirectory(prefix="equidrift-ir-") as folder:
            spectrum = Infrared(atoms, name=f"{folder}/ir")
            spectrum.run()
            frequencies = np.asarray(spectrum.get_frequencies())
            intensities = np.asarray(spectrum.intensities)
    except (CalculationFailed, SCFError, RuntimeError) as error:
        raise MoleculeError(f"GFN2-xTB gives no spectrum of {formula(atoms)}: {error}") from error
    if (frequencies.imag > IMAGINARY_CM1).any():
        raise MoleculeError(
            f"{formula(atoms)} is at no minimum: {frequencies.imag.max():.0f}i cm-1"
        )
    rigid = 5 if is_linear(minimum) else 6
    # the rigid motions are the modes nearest to zero
    kept = np.argsort(np.abs(frequencies), kind="stable")[rigid:]
    return minimum, frequencies.real[np.sort(kept)], intensities[np.sort(kept)]


def is_linear(positions_A: NDArray[np.float64], tolerance: float = 1e-3) -> bool:
    """Whether all atoms lie on a line, to `tolerance` of the longest extent."""
    sizes = np.linalg.svd(positions_A - positions_A.mean(0), compute_uv=False)
    return bool(sizes[1] <= tolerance * max(sizes[0], 1e-9))
