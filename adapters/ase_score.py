"""`ScoreCalculator`: the conformer model's score as forces in ASE, for walk-jump sampling. No force field; see `equidrift.score`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from equidrift.records import Molecule
from equidrift.registry import resolve
from equidrift.score import NOTICE, SIGMA_A, DenoiserScore


class ScoreCalculator(Calculator):
    """Forces kT (D(y) - y) / sigma^2 of noisy positions: smoothed walk-jump dynamics of a generative model, **not** Boltzmann's.

    There is no energy (asking for one raises `PropertyNotImplementedError`), so thermostats run without logfile, and optimisers not at
    all. Use Langevin at `temperature_K`, start from a conformer with noise of sigma_A added, and `jump` to a conformer.

    Parameters
    ----------
    sigma_A, temperature_K, model : see `equidrift.score.DenoiserScore`.
    molecule : the graph in the order of the atoms; None takes it from the atoms.

    Examples
    --------
    >>> atoms.calc = ScoreCalculator(sigma_A=0.4, temperature_K=300)                              # doctest: +SKIP
    >>> Langevin(atoms, 2 * units.fs, temperature_K=300, friction=0.1 / units.fs).run(100)        # doctest: +SKIP
    >>> conformer = atoms.calc.jump(atoms)                                                        # doctest: +SKIP
    """

    implemented_properties = ["forces"]  # noqa: RUF012
    default_parameters = {"sigma_A": SIGMA_A, "temperature_K": 300.0, "model": "conformer"}  # noqa: RUF012
    exact = False
    notice = NOTICE

    def __init__(self, molecule: Molecule | None = None, **options: Any) -> None:
        self._given = molecule
        self._score: DenoiserScore | None = None
        super().__init__(**options)

    def set(self, **parameters: Any) -> dict[str, Any]:
        """Change parameters; a change drops the results."""
        changed: dict[str, Any] = super().set(**parameters)
        if changed:
            self._score = None
            self.reset()
        return changed

    def score_of(self, atoms: Atoms) -> DenoiserScore:
        """The score for these atoms."""
        if self._score is None or not np.array_equal(self._score.molecule.numbers, atoms.numbers):
            molecule = self._given or resolve("equidrift.adapters.ase.atoms:from_atoms")(atoms)
            self._score = DenoiserScore(molecule, **self.parameters)
        return self._score

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] = ("forces",), system_changes: Any = all_changes) -> None:
        """Fill `results`; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        self.results = {"forces": self.score_of(self.atoms).forces_eV_A(self.atoms.positions)}

    def jump(self, atoms: Atoms) -> Atoms:
        """A copy of the atoms, denoised, without calculator; `info` says that it is a walk-jump sample."""
        denoised = atoms.copy()
        denoised.positions = self.score_of(atoms).jump(atoms.positions)
        denoised.info["walk_jump"] = {"sigma_A": self.parameters["sigma_A"], "model": self.parameters["model"], "notice": NOTICE}
        return denoised
