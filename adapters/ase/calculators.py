"""ASE calculators: MMFF94, the score of a generative model, and learned fields on atoms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from equidrift.adapters.ase.atoms import from_atoms
from equidrift.adapters.ase.base import MoleculeCalculator
from equidrift.adapters.ase.typed import copy_of, set_array
from equidrift.errors import InputError, InputTypeError
from equidrift.protocols.fields import AtomField
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.score import NOTICE, SIGMA_A, DenoiserScore

# positions_A (n_atoms, 3) -> (energy in eV, gradient in eV/A (n_atoms, 3))
EnergyOf = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


class MMFF(MoleculeCalculator):
    """Energy and forces of MMFF94 (eV, eV/A) for a molecule in vacuum; the cell is not
    looked at.

    The bonds are those `to_atoms` stored in the atoms, else perceived from the first
    geometry and kept from then on.

    Parameters
    ----------
    variant : str, optional
        "MMFF94" or "MMFF94s".
    molecule : Molecule, optional
        The graph in the order of the atoms; None takes it from the atoms.

    Raises
    ------
    MoleculeError
        At the first calculation, if bonds cannot be told or MMFF94 cannot type the
        molecule.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 - ASE declares it so
    default_parameters = {"variant": "MMFF94"}  # noqa: RUF012 - ASE declares it so

    def __init__(
        self, variant: str = "MMFF94", molecule: Molecule | None = None, **options: Any
    ) -> None:
        self._given = molecule
        self._graph: tuple[Any, ...] | None = None
        self._energy: EnergyOf | None = None
        super().__init__(variant=variant, **options)

    def forget(self) -> None:
        """Drop the graph that the energy was made for."""
        self._graph = None

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's changes, and the graph's: ASE does not look at `info`, where charge and
        bonds are.
        """
        changes = super().check_state(atoms, tol)
        return changes if self._graph == self._graph_key(atoms) else [*changes, "numbers"]

    def values_of(self, atoms: Atoms) -> dict[str, float | NDArray[Any]]:
        """Energy and forces."""
        if self._energy is None or self._graph != self._graph_key(atoms):
            molecule = self._given or from_atoms(atoms)
            self._energy = self._energy_of(molecule)
            self._graph = self._graph_key(atoms)
        energy, gradient = self._energy(atoms.positions)
        return {"energy": energy, "free_energy": energy, "forces": -gradient}

    def _energy_of(self, molecule: Molecule) -> EnergyOf:
        """What gives energy (eV) and gradient (eV/A) of positions (n, 3) of a molecule."""
        made: EnergyOf = host_function("rdkit", "MMFFEnergy")(molecule, self.parameters["variant"])
        return made

    def _graph_key(self, atoms: Atoms) -> tuple[Any, ...]:
        """Everything but the positions that decides the graph."""
        order = atoms.arrays.get("equidrift_index", ())
        return (
            tuple(atoms.numbers),
            atoms.info.get("charge"),
            tuple(order),
            atoms.info.get("equidrift", {}).get("molecule"),
        )


class ScoreCalculator(MoleculeCalculator):
    """Forces kT (D(y) - y) / sigma^2 of noisy positions: smoothed walk-jump dynamics of
    a generative model, **not** Boltzmann's.

    There is no energy (asking for one raises `PropertyNotImplementedError`), so
    thermostats run without logfile, and optimisers not at all. Use Langevin at
    `temperature_K`, start from a conformer with noise of sigma_A added, and `jump` to a
    conformer.

    Parameters
    ----------
    sigma_A, temperature_K, model : float, float, str or model
        See `equidrift.score.DenoiserScore`.
    molecule : Molecule, optional
        The graph in the order of the atoms; None takes it from the atoms.

    Examples
    --------
    >>> import equidrift
    >>> from ase import units
    >>> from ase.md.langevin import Langevin
    >>> (atoms,) = equidrift.sample("CCO", 1, model="etkdg").to_ase()
    >>> atoms.calc = ScoreCalculator(sigma_A=0.4, temperature_K=300)
    >>> dynamics = Langevin(
    ...     atoms, 2 * units.fs, temperature_K=300, friction=0.1 / units.fs, fixcm=False
    ... )
    >>> done = dynamics.run(2)
    >>> conformer = atoms.calc.jump(atoms)
    >>> len(conformer)
    9
    """

    implemented_properties = ["forces"]  # noqa: RUF012 - ASE declares it so
    default_parameters = {  # noqa: RUF012 - ASE declares it so
        "sigma_A": SIGMA_A,
        "temperature_K": 300.0,
        "model": "conformer",
    }
    exact = False
    notice = NOTICE

    def __init__(self, molecule: Molecule | None = None, **options: Any) -> None:
        self._given = molecule
        self._score: DenoiserScore | None = None
        super().__init__(**options)

    def forget(self) -> None:
        """Drop the score, which the parameters make."""
        self._score = None

    def score_of(self, atoms: Atoms) -> DenoiserScore:
        """The score for these atoms."""
        if self._score is None or not np.array_equal(self._score.molecule.numbers, atoms.numbers):
            molecule = self._given or from_atoms(atoms)
            self._score = DenoiserScore(molecule, **self.parameters)
        return self._score

    def values_of(self, atoms: Atoms) -> dict[str, float | NDArray[Any]]:
        """Forces."""
        return {"forces": self.score_of(atoms).forces_eV_A(atoms.positions)}

    def jump(self, atoms: Atoms) -> Atoms:
        """A copy of the atoms, denoised, without calculator; `info` says that it is a
        walk-jump sample.
        """
        denoised = copy_of(atoms)
        denoised.positions = self.score_of(atoms).jump(atoms.positions)
        denoised.info["walk_jump"] = {
            "sigma_A": self.parameters["sigma_A"],
            "model": self.parameters["model"],
            "notice": NOTICE,
        }
        return denoised


SAMPLES = 39  # drawn for a mean and a spread


def complete_atoms(
    atoms: Atoms,
    model: AtomField,
    name: str | None = None,
    *,
    given: ArrayLike | None = None,
    n: int = SAMPLES,
    seed: int = 0,
    **options: Any,
) -> Atoms:
    """A copy of the atoms whose array `name` is complete: known values as they are,
    others the mean of n samples.

    Parameters
    ----------
    name : str, optional
        Of the array, the model's quantity if None. Values that are NaN in it are not
        known; without such an array none is.
    given : object, optional
        Mask or indices of the atoms whose values are known, all that are not NaN if
        None.
    **options
        Of `ConditionedAtoms.sample`.

    Returns
    -------
    Atoms with arrays `name` and `name_std`, the standard deviations (0 if known).

    Raises
    ------
    InputTypeError
        For anything but one `Atoms`; InputError for atoms in a periodic cell, and as
        `AtomFieldModel.condition`.
    """
    _check(atoms)
    name = name or model.quantity
    completed = copy_of(atoms)
    mean, std = _law(model, atoms, atoms.arrays.get(name), given, n, seed, options)
    for label, values in ((name, mean), (f"{name}_std", std)):
        if label in completed.arrays:
            del completed.arrays[label]
        set_array(completed, label, values)
    return completed


def _check(atoms: object) -> None:
    """Refuse what a field on atoms does not know."""
    if not isinstance(atoms, Atoms):
        raise InputTypeError(
            f"expected one ase.Atoms, not {type(atoms).__name__}; for several, call once for each"
        )
    if atoms.pbc.any():
        raise InputError(
            "the atoms are periodic, and a field on atoms knows free molecules alone; set "
            "atoms.pbc = False if this is one"
        )


def _law(
    model: AtomField,
    atoms: Atoms,
    known: NDArray[np.float64] | None,
    given: ArrayLike | None,
    n: int,
    seed: int,
    options: dict[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (n_atoms, ...) of the field."""
    if known is None and given is not None:
        raise InputError(
            "given names known atoms, but the atoms have no array of values; set "
            f"atoms.arrays[{model.quantity!r}] first"
        )
    # ASE's files hold arrays of one or two axes
    if known is not None and known.ndim == 2 and known.shape[1] == 9:
        known = known.reshape(-1, 3, 3)
    if known is None or (given is None and np.isnan(known).any(tuple(range(1, known.ndim))).all()):
        made = model.sample(atoms.numbers, atoms.positions, n, seed, **options)
        return made.mean(0), made.std(0, ddof=1) if n > 1 else np.zeros_like(made[0])
    field = model.condition(atoms.numbers, atoms.positions, known, given)
    return field.mean_std(n, seed, **options)


class FieldCalculator(MoleculeCalculator):
    """Forces of a free molecule from an `AtomFieldModel` of forces, and
    `results["forces_std"]`. It has no energy.

    Parameters
    ----------
    model : object
        Its quantity must be "forces", in eV/A.
    known : object, optional
        (n_atoms, 3) forces that are known beforehand, NaN if not; they hold for the
        atoms' own frame.
    n, seed, options : int, optional
        As for `complete_atoms`.

    Raises
    ------
    InputError
        For a model of anything else; its way out is `complete_atoms`.
    """

    implemented_properties = ["forces"]  # noqa: RUF012 - ASE declares it so

    def __init__(
        self,
        model: AtomField,
        known: ArrayLike | None = None,
        *,
        n: int = SAMPLES,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if model.quantity != "forces" or model.unit != "eV/A":
            what = f"{model.quantity} in {model.unit or 'no unit'}"
            raise InputError(
                f"an ASE calculator gives forces in eV/A, and this model {what}; "
                "complete_atoms(atoms, model) writes it to atoms.arrays"
            )
        super().__init__()
        self.model, self.n, self.seed, self.options = model, n, seed, options
        self.known = None if known is None else np.asarray(known, np.float64)

    def values_of(self, atoms: Atoms) -> dict[str, float | NDArray[Any]]:
        """Forces and their standard deviations."""
        _check(atoms)
        forces, std = _law(self.model, atoms, self.known, None, self.n, self.seed, self.options)
        return {"forces": forces, "forces_std": std}
