"""Relaxation by any potential of openmmml: `relax="openmmml:NAME"`.

openmmml is optional and imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.checks.geometry import as_conformers
from equidrift.errors import InputError, MissingDependencyError, telling
from equidrift.records import Molecule
from equidrift.registry import host_function

Floats = NDArray[np.float64]
Minimiser = Callable[[Floats], tuple[Floats, float]]
OWN = "equidrift-"  # potentials of ours take the charge from the topology


@dataclass
class PotentialRelax:
    """A relaxation by the openmmml potential of a name; pickles as the name.

    Parameters
    ----------
    name : str
        What `MLPotential` takes.
    """

    name: str
    _made: tuple[Molecule, tuple[int, ...], Minimiser] | None = field(default=None, repr=False)

    def __call__(
        self, molecule: Molecule, starts_A: Floats, *, known: Known | None = None
    ) -> tuple[Floats, Floats]:
        """Conformers (k, n_atoms, 3) in A moved to the nearest minima of the potential by
        OpenMM's minimiser, and their energies_eV (k,); blocks of NaN are passed through.

        Atoms of `known` are held; distance restraints are not, a sample that leaves
        them is for the checks to reject.

        Raises
        ------
        InputError
            For positions of another shape.
        ModelError
            If the potential fails.
        """
        moved = as_conformers(starts_A, molecule).copy()
        energies = np.full(len(moved), np.nan)
        held = () if known is None else tuple(int(k) for k in known.atoms)
        for k in np.flatnonzero(np.isfinite(moved).all(axis=(1, 2))):
            with telling(f"the potential of relax 'openmmml:{self.name}' fails on {molecule!r}"):
                moved[k], energies[k] = self._minimiser(molecule, held)(moved[k])
        return moved, energies

    def _minimiser(self, molecule: Molecule, held: tuple[int, ...]) -> Minimiser:
        """The minimiser of a molecule with atoms held; that of the last one is kept."""
        if self._made is None or self._made[0] is not molecule or self._made[1] != held:
            topology = host_function("openmm", "to_topology")(molecule)
            charge = {} if self.name.startswith(OWN) else {"charge": molecule.charge}
            system = potential(self.name).createSystem(topology, removeCMMotion=False, **charge)
            self._made = (molecule, held, host_function("openmm", "minimiser")(system, held))
        return self._made[2]

    def __reduce__(self) -> tuple[Any, ...]:
        return PotentialRelax, (self.name,)


def potential(name: str) -> Any:
    """openmmml's `MLPotential` of a name.

    Raises
    ------
    MissingDependencyError
        Without openmmml; InputError for a name that it cannot make.
    """
    try:
        from openmmml import MLPotential
    except ImportError as error:
        raise MissingDependencyError("openmmml") from error
    try:
        return MLPotential(name)
    except Exception as error:  # it is others' code: it can raise anything
        raise InputError(
            f"relax 'openmmml:{name}' names no potential of openmmml ({type(error).__name__}: "
            f"{error}); give one that MLPotential takes, say openmmml:equidrift-conformer-energy"
        ) from error


def potential_relax(name: str) -> PotentialRelax:
    """The relaxation by the potential of that name; errors as `potential`."""
    if not name:
        raise InputError("relax 'openmmml:' names no potential; write openmmml:NAME")
    potential(name)
    return PotentialRelax(name)
