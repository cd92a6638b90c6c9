"""ASE's calls with types: ASE declares few, and what it returns is Any to mypy.

Everything else in this folder reads and sets positions, energies and the like here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize.optimize import BaseDynamics
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
T = TypeVar("T")


def positions_A(atoms: Atoms) -> Array:
    """A copy (n, 3) of the positions."""
    return np.array(atoms.get_positions(), np.float64)


def set_positions(atoms: Atoms, places_A: ArrayLike) -> None:
    """Put the atoms there, whatever their constraints."""
    atoms.set_positions(places_A, apply_constraint=False)


def energy_eV(atoms: Atoms, *, force_consistent: bool = False) -> float:
    """The calculator's energy; with `force_consistent` that which the forces are the
    gradient of.
    """
    return float(atoms.get_potential_energy(force_consistent=force_consistent))


def forces_eV_A(atoms: Atoms) -> Array:
    """The calculator's forces (n, 3)."""
    return np.array(atoms.get_forces(), np.float64)


def masses_amu(atoms: Atoms) -> Array:
    """Masses (n,)."""
    return np.array(atoms.get_masses(), np.float64)


def initial_charges(atoms: Atoms) -> Array:
    """Initial charges (n,), zero if there are none."""
    return np.array(atoms.get_initial_charges(), np.float64)


def set_initial_charges(atoms: Atoms, charges: ArrayLike) -> None:
    """Set the initial charges (n,)."""
    atoms.set_initial_charges(charges)


def set_array(atoms: Atoms, name: str, values: ArrayLike) -> None:
    """Set an array (n, ...) of the atoms."""
    atoms.set_array(name, np.asarray(values))


def set_energy(atoms: Atoms, value_eV: float) -> None:
    """Give the atoms a calculator that knows this energy."""
    atoms.calc = SinglePointCalculator(atoms, energy=value_eV)


def make_periodic(atoms: Atoms, cell: Any) -> None:
    """Give the atoms a cell, as ASE takes it (vectors, or lengths in A and angles), in
    which they are periodic.
    """
    atoms.set_cell(cell)
    atoms.pbc = True


def copy_of(atoms: Atoms) -> Atoms:
    """A copy without calculator."""
    copied: Atoms = atoms.copy()
    return copied


def formula(atoms: Atoms) -> str:
    """The chemical formula."""
    return str(atoms.get_chemical_formula())


def attach(dynamics: BaseDynamics, observer: Callable[[], Any], interval: int) -> None:
    """Have an observer called every so many steps."""
    dynamics.attach(observer, interval)


def call_observers(dynamics: BaseDynamics) -> None:
    """Call the observers whose turn it is."""
    dynamics.call_observers()


def closed_later(dynamics: BaseDynamics, thing: T) -> T:
    """The thing, which the dynamics will close with its own files."""
    dynamics.closelater(thing)
    return thing
