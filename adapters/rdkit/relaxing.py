"""Conformers moved to the nearest minimum of MMFF94 or UFF."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.conditions import relax_held
from equidrift.adapters.rdkit.force_fields import rdForceFieldHelpers
from equidrift.adapters.rdkit.interrupts import own_interrupts
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.adapters.rdkit.threads import thread_count
from equidrift.checks.conditions import Known
from equidrift.checks.geometry import as_conformers
from equidrift.errors import InputError, MoleculeError
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV

UFF_ITERATIONS = 1000
MMFF_VARIANTS = ("MMFF94", "MMFF94s")


def mmff_relax(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    max_iterations: int = 1000,
    *,
    variant: str = "MMFF94",
    num_threads: int = 1,
    known: Known | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move conformers to the nearest minimum of MMFF94.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    positions_A : array
        (k, n_atoms, 3); blocks of NaN are passed through.
    max_iterations : int
        Of RDKit's BFGS minimiser; 0 only evaluates the energies.
    variant : str
        "MMFF94" or "MMFF94s".
    num_threads : int
        Threads RDKit may use; 0 is all of them.
    known : Known, optional
        Atoms to hold and distances to keep; the energies are without the restraints.

    Returns
    -------
    positions_A : float64 (k, n_atoms, 3).
    energies_eV : float64 (k,), NaN where the positions are.

    Raises
    ------
    InputError
        For an unknown variant, or positions of another shape.
    MoleculeError
        If MMFF94 has no atom type or parameter for the molecule.
    """
    if variant not in MMFF_VARIANTS:
        raise InputError(f"variant must be one of {', '.join(MMFF_VARIANTS)}, not {variant!r}")
    moved = as_conformers(positions_A, molecule).copy()
    energies = np.full(len(moved), np.nan)
    finite = np.flatnonzero(np.isfinite(moved).all(axis=(1, 2)))
    mol = to_mol(molecule, moved[finite])
    require_mmff(mol, molecule)
    if known is not None:
        relax = relax_held
        moved[finite], energies[finite] = relax(mol, known, max_iterations, variant)
    elif len(finite):
        with rdBase.BlockLogs(), own_interrupts():
            results = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
                mol,
                numThreads=thread_count(num_threads),
                maxIters=max_iterations,
                mmffVariant=variant,
            )
        energies[finite] = [kcal / KCAL_MOL_PER_EV for _, kcal in results]
        moved[finite] = [conformer.GetPositions() for conformer in mol.GetConformers()]
    return moved, energies


@lru_cache(maxsize=4096)
def force_field_of(molecule: Molecule) -> str:
    """The force field that has parameters for a molecule: "MMFF94", else "UFF", else
    the empty string.
    """
    mol = to_mol(molecule)
    with rdBase.BlockLogs():
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            return "MMFF94"
        return "UFF" if rdForceFieldHelpers.UFFHasAllMoleculeParams(mol) else ""


def field_relax(
    molecule: Molecule, positions_A: NDArray[np.float64], *, num_threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Conformers moved to the nearest minimum of MMFF94, of UFF if that has no
    types, and their energies_eV.

    Without either they stay as they are, with energies of NaN.
    """
    field = force_field_of(molecule)
    if field == "MMFF94":
        return mmff_relax(molecule, positions_A, num_threads=num_threads)
    moved = np.array(positions_A, np.float64)
    energies = np.full(len(moved), np.nan)
    finite = np.flatnonzero(np.isfinite(moved).all(axis=(1, 2)))
    if field and len(finite):
        mol = to_mol(molecule, moved[finite])
        with rdBase.BlockLogs(), own_interrupts():
            results = rdForceFieldHelpers.UFFOptimizeMoleculeConfs(
                mol, numThreads=thread_count(num_threads), maxIters=UFF_ITERATIONS
            )
        energies[finite] = [kcal / KCAL_MOL_PER_EV for _, kcal in results]
        moved[finite] = [conformer.GetPositions() for conformer in mol.GetConformers()]
    return moved, energies


def require_mmff(mol: Chem.Mol, molecule: Molecule) -> None:
    """Raise `MoleculeError` if MMFF94 cannot type the molecule."""
    with rdBase.BlockLogs():
        typed = rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol)
    if not typed:
        raise MoleculeError(
            f"MMFF94 has no parameters for {molecule!r} (it knows H C N O F Si P S Cl Br I "
            f"in common bonding); "
            "use model='etkdg', which needs none"
        )
