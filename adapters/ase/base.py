"""What our ASE calculators share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from equidrift.errors import InputError


class MoleculeCalculator(Calculator):
    """An ASE calculator that says what it makes of atoms in `values_of`, and drops what
    depends on its parameters in `forget`.
    """

    def __init__(self, **options: Any) -> None:
        # ASE's classes are called by name here: mypy knows which calls are untyped by that
        Calculator.__init__(self, **options)

    def values_of(self, atoms: Atoms) -> dict[str, float | NDArray[Any]]:
        """ASE's `results` for the present positions."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what was made with other parameters."""

    def set(self, **parameters: Any) -> dict[str, Any]:
        """Change parameters; a change drops the results."""
        changed: dict[str, Any] = Calculator.set(self, **parameters)
        if changed:
            self.forget()
            Calculator.reset(self)
        return changed

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation, as ASE tells it."""
        changes: list[str] = Calculator.check_state(self, atoms, tol=tol)
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results`; called by ASE."""
        Calculator.calculate(self, atoms, properties, system_changes)
        if self.atoms is None:
            raise InputError("the calculator has no atoms yet; call it with some")
        self.results = self.values_of(self.atoms)
