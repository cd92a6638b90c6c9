"""Energy and gradient of MMFF94 by RDKit, for one molecule at changing positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rdkit import rdBase

from equidrift.adapters.rdkit.force_fields import rdForceFieldHelpers
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.adapters.rdkit.relaxing import require_mmff
from equidrift.errors import InputError
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV


class MMFFEnergy:
    """MMFF94 of one molecule: `energy_eV, gradient_eV_A =
    MMFFEnergy(molecule)(positions_A)`.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    variant : str
        "MMFF94" or "MMFF94s".

    Raises
    ------
    MoleculeError
        If MMFF94 cannot type the molecule; InputError for another variant.
    """

    def __init__(self, molecule: Molecule, variant: str = "MMFF94") -> None:
        if variant not in ("MMFF94", "MMFF94s"):
            raise InputError(f"variant must be one of MMFF94, MMFF94s, not {variant!r}")
        self._shape = (molecule.n_atoms, 3)
        self._mol = to_mol(molecule, np.zeros((1, *self._shape)))
        require_mmff(self._mol, molecule)
        with rdBase.BlockLogs():
            properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(
                self._mol, mmffVariant=variant
            )
            # every pair counts: RDKit picks them by distance when the field is made,
            # and the positions are not known yet
            self._field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
                self._mol, properties, nonBondedThresh=1e6
            )
        self._field.Initialize()

    def __call__(self, positions_A: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """Energy (eV) and its gradient (eV/A), float64 (n_atoms, 3).

        Raises `InputError` for positions of another shape.
        """
        positions = np.asarray(positions_A, np.float64)
        if positions.shape != self._shape:
            raise InputError(f"positions_A has shape {positions.shape}, expected {self._shape}")
        flat = positions.ravel().tolist()
        energy = self._field.CalcEnergy(
            flat
        )  # CalcGrad is right only right after CalcEnergy of the same positions
        gradient = np.array(self._field.CalcGrad(flat)).reshape(self._shape)
        return energy / KCAL_MOL_PER_EV, gradient / KCAL_MOL_PER_EV
