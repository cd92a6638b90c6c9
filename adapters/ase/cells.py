"""Constant pressure in ASE by moves of the cell: any calculator, no stress needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from numpy.typing import ArrayLike

from equidrift.adapters.ase.thermostats import check_dynamics, renew
from equidrift.adapters.ase.typed import energy_eV, positions_A, set_positions
from equidrift.arguments import check_count
from equidrift.errors import InputError, InputTypeError
from equidrift.geometry import Floats
from equidrift.montecarlo.cells import CellMoves, CellSettings, carried
from equidrift.text import counted

# of a calculation; CalculationFailed and SCFError are RuntimeErrors
FAILURES = (RuntimeError, ArithmeticError, np.linalg.LinAlgError)


class CellMonteCarlo(CellMoves):
    """Moves of a periodic cell at constant pressure and temperature.

    Parameters
    ----------
    atoms : Atoms
        Periodic in three directions, with a calculator, without constraints; molecules
        whole.
    settings, seed
        As for `CellMoves`.
    molecules : sequence of (k,) arrays, optional
        Atoms that keep their shape, each atom once; None: every atom by itself.

    Raises
    ------
    InputError
        If the atoms have no calculator, no periodic cell or constraints, or the
        molecules are not all atoms, each once.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.lj import LennardJones
    >>> atoms = bulk("Ar", cubic=True) * (2, 2, 2)
    >>> atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104)
    >>> cells = CellMonteCarlo(atoms, CellSettings(temperature_K=80, pressure_bar=1.0))
    >>> _ = cells.apply(3)
    >>> cells.statistics.proposed
    3
    """

    def __init__(
        self,
        atoms: Atoms,
        settings: CellSettings,
        *,
        molecules: Sequence[ArrayLike] | None = None,
        seed: int = 0,
    ) -> None:
        _check_atoms(atoms)
        self.atoms = atoms
        self.molecules = None if molecules is None else _parts(molecules, len(atoms))
        self.begin(settings, seed)
        self.read()

    @property
    def volume_A3(self) -> float:
        """Of the cell as it stands."""
        return float(self.atoms.get_volume())

    @property
    def n_molecules(self) -> int:
        """How many mean positions move with the cell."""
        return len(self.atoms) if self.molecules is None else len(self.molecules)

    def read(self) -> None:
        """Take cell and positions from the atoms."""
        self._before = (np.array(self.atoms.cell), positions_A(self.atoms))

    def irun(
        self,
        steps: int,
        dynamics: MolecularDynamics | None = None,
        *,
        md_steps: int = 20,
        n_moves: int = 1,
    ) -> Iterator[int]:
        """Steps of dynamics and moves of the cell in turn; yields how many moves were
        accepted after each turn. Momenta are drawn anew after an accepted move.

        Parameters
        ----------
        steps : int
            Turns.
        dynamics : MolecularDynamics, optional
            An ASE thermostat on the same atoms at the same temperature.
        md_steps, n_moves : int, optional
            Of the dynamics and of the cell in each turn.

        Raises
        ------
        InputError
            If the dynamics are of other atoms, at another temperature, or do not sample
            the canonical ensemble.
        """
        check_dynamics(dynamics, self.atoms, self.settings.temperature_K, exact=True)
        name = type(dynamics).__name__
        if name.endswith("NPT"):
            raise InputError(
                f"{name} moves the cell as well; use a thermostat alone, such as "
                "Langevin(..., fixcm=False)"
            )
        for _ in range(check_count("steps", steps, 0)):
            if dynamics is not None:
                dynamics.run(md_steps)
            accepted = self.apply(n_moves)
            if accepted and dynamics is not None:
                kelvin = self.settings.temperature_K
                rng = np.random.default_rng([self.seed, self.calls, 1])  # not that of the moves
                MaxwellBoltzmannDistribution(self.atoms, temperature_K=kelvin, rng=rng)
                renew(dynamics)
            yield accepted

    def energy_eV(self) -> float:
        """Potential energy as the atoms stand."""
        return energy_eV(self.atoms)

    def stretched_eV(self, stretch: Floats) -> float:
        """Show the stretched cell; NaN if the calculation fails."""
        cell, places = self._before
        self._show(cell @ stretch, carried(places, self.molecules, stretch))
        try:
            return energy_eV(self.atoms)
        except FAILURES:
            return math.nan

    def settle(self, accepted: bool) -> None:
        """Keep the cell shown last, or go back."""
        if accepted:
            self.read()
        else:
            self._show(*self._before)

    def _show(self, cell_A: Floats, places_A: Floats) -> None:
        self.atoms.set_cell(cell_A)
        set_positions(self.atoms, places_A)


def _check_atoms(atoms: Atoms) -> None:
    """Refuse what has no cell that can be moved."""
    if not isinstance(atoms, Atoms):
        raise InputTypeError(f"atoms must be an ase.Atoms, not {type(atoms).__name__}")
    if atoms.calc is None:
        raise InputError(
            "the atoms have no calculator, and the acceptance needs energies; set atoms.calc"
        )
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InputError(
            f"the atoms are periodic along {atoms.pbc.tolist()}, and a cell that moves needs "
            "three periodic directions; set atoms.cell and atoms.pbc"
        )
    if atoms.constraints:
        name = type(atoms.constraints[0]).__name__
        raise InputError(f"moves of the cell cannot keep the constraint {name}; remove it")


def _parts(molecules: Sequence[ArrayLike], n_atoms: int) -> tuple[np.ndarray, ...]:
    """Molecules as arrays; refused unless they are all atoms, each once."""
    parts = tuple(np.asarray(atoms, np.int64).ravel() for atoms in molecules)
    named = np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    if not np.array_equal(named, np.arange(n_atoms)):
        raise InputError(
            f"molecules must name each of the {counted(n_atoms, 'atom')} once, and they name "
            f"{len(named)} of which {len(np.unique(named))} differ"
        )
    return parts
