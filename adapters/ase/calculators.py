"""MMFF94 as an ASE calculator, for any molecule RDKit can type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from equidrift.records import Molecule
from equidrift.registry import resolve


class MMFF(Calculator):
    """Energy and forces of MMFF94 (eV, eV/A) for a molecule in vacuum; the cell is not looked at.

    The bonds are those `to_atoms` stored in the atoms, else perceived from the first geometry and kept from then on.

    Parameters
    ----------
    variant : "MMFF94" or "MMFF94s".
    molecule : the graph in the order of the atoms; None takes it from the atoms.

    Raises
    ------
    MoleculeError
        at the first calculation, where bonds cannot be told or MMFF94 cannot type the molecule.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012
    default_parameters = {"variant": "MMFF94"}  # noqa: RUF012

    def __init__(self, variant: str = "MMFF94", molecule: Molecule | None = None, **options: Any) -> None:
        self._given = molecule
        self._graph: Any = None
        self._energy: Any = None
        super().__init__(variant=variant, **options)

    def set(self, **parameters: Any) -> dict[str, Any]:
        """Change parameters; a change drops the results."""
        changed: dict[str, Any] = super().set(**parameters)
        if changed:
            self._graph = None
            self.reset()
        return changed

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's changes, and the graph's: ASE does not look at `info`, where charge and bonds are."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        return changes if self._graph == self._graph_key(atoms) else [*changes, "numbers"]

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] = ("energy",), system_changes: Any = all_changes) -> None:
        """Fill `results`; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        if self._graph != self._graph_key(atoms):
            molecule = self._given or resolve("equidrift.adapters.ase.atoms:from_atoms")(atoms)
            self._energy = self._energy_of(molecule)
            self._graph = self._graph_key(atoms)
        energy, gradient = self._energy(atoms.positions)
        self.results = {"energy": energy, "free_energy": energy, "forces": -gradient}

    def _energy_of(self, molecule: Molecule) -> Any:
        """What gives energy (eV) and gradient (eV/A) of positions (n, 3) of a molecule."""
        return resolve("equidrift.adapters.rdkit.mmff_energy:MMFFEnergy")(molecule, self.parameters["variant"])

    def _graph_key(self, atoms: Atoms) -> tuple[Any, ...]:
        """Everything but the positions that decides the graph."""
        order = atoms.arrays.get("equidrift_index", ())
        return tuple(atoms.numbers), atoms.info.get("charge"), tuple(order), atoms.info.get("equidrift", {}).get("molecule")
