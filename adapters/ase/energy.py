"""`ConformerEnergy`: the learned GFN2-xTB-like energy of the refiner
`conformer-energy` as an ASE calculator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.calculators import MMFF
from equidrift.records import Molecule
from equidrift.registry import energy_surface

Values = tuple[float, NDArray[np.float64]]


class ConformerEnergy(MMFF):
    """Energy and forces (eV, eV/A) like GFN2-xTB's, of a molecule in vacuum and near
    its minima; the cell is not looked at.

    Energies of one molecule can be compared with each other, those of different
    molecules cannot. Bonds do not break: they are those `to_atoms` stored in the atoms,
    else perceived from the first geometry and kept from then on.

    Parameters
    ----------
    weights : str, optional
        Name of the refiner, or the path of weights that `equidrift train
        conformer-energy` wrote.
    molecule : Molecule, optional
        The graph in the order of the atoms; None takes it from the atoms.

    Raises
    ------
    InputError
        At the first calculation, for weights of a refiner that has no energy.
    MoleculeError
        At the first calculation, if bonds cannot be told, or the model does not know
        an element.

    Examples
    --------
    >>> import equidrift
    >>> from ase.optimize import BFGS
    >>> (atoms,) = equidrift.sample("CCO", 1, model="etkdg").to_ase()
    >>> atoms.calc = ConformerEnergy()
    >>> bool(BFGS(atoms, maxstep=0.1, logfile=None).run(fmax=0.05, steps=300))
    True
    """

    default_parameters = {"weights": "conformer-energy"}  # noqa: RUF012 - ASE declares it so

    def __init__(
        self, weights: str = "conformer-energy", molecule: Molecule | None = None, **options: Any
    ) -> None:
        super().__init__(molecule=molecule, weights=weights, **options)
        self.parameters.pop("variant", None)

    def _energy_of(self, molecule: Molecule) -> Callable[[NDArray[np.float64]], Values]:
        surface = energy_surface(molecule, self.parameters["weights"])

        def values(positions_A: NDArray[np.float64]) -> Values:
            energy, gradient = surface(positions_A[None])
            return float(energy[0]), gradient[0]

        return values
