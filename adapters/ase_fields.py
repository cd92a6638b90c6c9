"""Fields on atoms in ASE: `complete_atoms` fills `atoms.arrays`, `FieldCalculator` gives forces of a model of forces.

`model` is an `AtomFieldModel`, or anything with its `condition`, `sample`, `quantity` and `unit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from equidrift.errors import InputError, InputTypeError

SAMPLES = 39


def complete_atoms(
    atoms: Atoms, model: Any, name: str | None = None, *, given: Any = None, n: int = SAMPLES, seed: int = 0, **options: Any
) -> Atoms:
    """A copy of the atoms whose array `name` is complete: known values as they are, others the mean of n samples.

    Parameters
    ----------
    name : of the array, the model's quantity if None. Values that are NaN in it are not known; without such an array none is.
    given : mask or indices of the atoms whose values are known, all that are not NaN where None.
    options : of `ConditionedAtoms.sample`.

    Returns
    -------
    Atoms with arrays `name` and `name_std`, the standard deviations (0 where known).

    Raises
    ------
    InputTypeError
        for anything but one `Atoms`; InputError for atoms in a periodic cell, and as `AtomFieldModel.condition`.
    """
    _check(atoms)
    name = name or model.quantity
    completed = atoms.copy()
    mean, std = _law(model, atoms, atoms.arrays.get(name), given, n, seed, options)
    for label, values in ((name, mean), (f"{name}_std", std)):
        if label in completed.arrays:
            del completed.arrays[label]
        completed.set_array(label, values)
    return completed


def _check(atoms: Any) -> None:
    if not isinstance(atoms, Atoms):
        raise InputTypeError(f"expected one ase.Atoms, not {type(atoms).__name__}; for several, call once for each")
    if atoms.pbc.any():
        raise InputError("the atoms are periodic, and a field on atoms knows free molecules alone; set atoms.pbc = False if this is one")


def _law(
    model: Any, atoms: Atoms, known: NDArray[np.float64] | None, given: Any, n: int, seed: int, options: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if known is None and given is not None:
        raise InputError(f"given names known atoms, but the atoms have no array of values; set atoms.arrays[{model.quantity!r}] first")
    if known is not None and known.ndim == 2 and known.shape[1] == 9:  # ASE's files hold arrays of one or two axes
        known = known.reshape(-1, 3, 3)
    if known is None or (given is None and np.isnan(known).any(tuple(range(1, known.ndim))).all()):
        made = model.sample(atoms.numbers, atoms.positions, n, seed, **options)
        return made.mean(0), made.std(0, ddof=1) if n > 1 else np.zeros_like(made[0])
    mean, std = model.condition(atoms.numbers, atoms.positions, known, given).mean_std(n, seed, **options)
    return mean, std


class FieldCalculator(Calculator):
    """Forces of a free molecule from an `AtomFieldModel` of forces, and `results["forces_std"]`. It has no energy.

    Parameters
    ----------
    model : its quantity must be "forces", in eV/A.
    known : (n_atoms, 3) forces that are known beforehand, NaN where not; they hold for the atoms' own frame.
    n, seed, options : as for `complete_atoms`.

    Raises
    ------
    InputError
        for a model of anything else; its way out is `complete_atoms`.
    """

    implemented_properties = ["forces"]  # noqa: RUF012

    def __init__(self, model: Any, known: Any = None, *, n: int = SAMPLES, seed: int = 0, **options: Any) -> None:
        if model.quantity != "forces" or model.unit != "eV/A":
            what = f"{model.quantity} in {model.unit or 'no unit'}"
            raise InputError(
                f"an ASE calculator gives forces in eV/A, and this model {what}; complete_atoms(atoms, model) writes it to atoms.arrays"
            )
        super().__init__()
        self.model, self.n, self.seed, self.options = model, n, seed, options
        self.known = None if known is None else np.asarray(known, np.float64)

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] = ("forces",), system_changes: Any = all_changes) -> None:
        """Fill `results`; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        _check(self.atoms)
        forces, std = _law(self.model, self.atoms, self.known, None, self.n, self.seed, self.options)
        self.results = {"forces": forces, "forces_std": std}
