"""Relaxation by any ASE calculator: `relax="ase:MODULE:FACTORY"`, whose FACTORY() is the
calculator.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import ase
import numpy as np
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import CalculationFailed, SCFError
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from numpy.typing import NDArray

from equidrift.adapters.ase.atoms import to_atoms
from equidrift.adapters.ase.typed import energy_eV, positions_A
from equidrift.checks.conditions import Known
from equidrift.checks.geometry import as_conformers
from equidrift.errors import InputError, telling
from equidrift.records import Ensemble, Molecule

Floats = NDArray[np.float64]
FMAX_EV_A = 0.02  # largest force on an atom of a relaxed conformer
MOST_STEPS = 500
LONGEST_STEP_A = 0.2


def minima(
    with_calculator: Callable[[Molecule, Floats], ase.Atoms],
    molecule: Molecule,
    starts_A: Floats,
    *,
    known: Known | None = None,
    max_steps: int = MOST_STEPS,
    fmax_eV_A: float = FMAX_EV_A,
    failures: tuple[type[Exception], ...] = (CalculationFailed, SCFError),
) -> tuple[Floats, Floats]:
    """Conformers moved to the nearest minima of a calculator by BFGS.

    Parameters
    ----------
    with_calculator : callable
        The atoms of a molecule at positions (n_atoms, 3), with their calculator.
    molecule : Molecule
        The graph.
    starts_A : array of float
        (k, n_atoms, 3); blocks of NaN are passed through.
    known : Known, optional
        Its atoms are held; distance restraints are not, a sample that leaves them is
        for the checks to reject.
    max_steps : int, optional
        For each conformer; 0 only evaluates the energies.
    fmax_eV_A : float, optional
        Largest force on an atom at convergence.
    failures : tuple of exceptions, optional
        What the calculator raises if it fails for one geometry.

    Returns
    -------
    positions_A : float64 (k, n_atoms, 3); NaN if the calculator failed.
    energies_eV : float64 (k,).

    Raises
    ------
    InputError
        For positions of another shape.
    """
    moved = as_conformers(starts_A, molecule).copy()
    energies = np.full(len(moved), np.nan)
    for k in np.flatnonzero(np.isfinite(moved).all(axis=(1, 2))):
        atoms = with_calculator(molecule, moved[k])
        if known is not None:
            atoms.set_constraint(FixAtoms(known.atoms))
        try:
            BFGS(atoms, logfile=None, maxstep=LONGEST_STEP_A).run(fmax=fmax_eV_A, steps=max_steps)
            moved[k], energies[k] = positions_A(atoms), energy_eV(atoms)
        except failures:
            moved[k] = np.nan
    return moved, energies


@dataclass(frozen=True)
class CalculatorRelax:
    """A relaxation by the calculator of a factory; pickles as the factory's place.

    Parameters
    ----------
    place : str
        "MODULE:FACTORY".
    """

    place: str

    def __call__(
        self, molecule: Molecule, starts_A: Floats, *, known: Known | None = None
    ) -> tuple[Floats, Floats]:
        """Positions and energies_eV of `minima`.

        The calculator finds charge, multiplicity and bonds in `atoms.info`, and formal
        charges as initial ones.

        Raises
        ------
        ModelError
            If the calculator fails for another reason than the geometry.
        """
        with telling(f"the calculator of relax 'ase:{self.place}' fails on {molecule!r}"):
            return minima(self._atoms, molecule, starts_A, known=known)

    def _atoms(self, molecule: Molecule, x: Floats) -> ase.Atoms:
        atoms: ase.Atoms = to_atoms(Ensemble(molecule, x[None]))[0]
        atoms.calc = calculator(self.place)
        return atoms


def calculator_relax(place: str) -> CalculatorRelax:
    """The relaxation by the ASE calculator that FACTORY of "MODULE:FACTORY" makes.

    Raises
    ------
    InputError
        If there is no such factory, or it makes no calculator.
    """
    calculator(place)
    return CalculatorRelax(place)


@lru_cache(maxsize=4)
def calculator(place: str) -> GetPropertiesMixin:
    """What FACTORY() of "MODULE:FACTORY" returns, made once in a process; errors as
    `calculator_relax`.
    """
    module, _, name = place.partition(":")
    if not module or not name:
        raise InputError(
            f"relax 'ase:{place}' names no calculator; write ase:MODULE:FACTORY, say "
            "ase:ase.calculators.emt:EMT"
        )
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"relax 'ase:{place}' cannot be found: {error}; MODULE must be importable, and hold "
            "FACTORY"
        ) from error
    try:
        made = factory()
    except Exception as error:  # it is others' code: it can raise anything
        raise InputError(
            f"relax 'ase:{place}': {name}() fails ({type(error).__name__}: {error}); FACTORY must "
            "make a calculator when it is called without arguments"
        ) from error
    if not isinstance(made, GetPropertiesMixin):
        raise InputError(
            f"relax 'ase:{place}': {name}() is {type(made).__name__}, no ASE calculator"
        )
    return made
