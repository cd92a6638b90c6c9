"""`energy_force`: the learned GFN2-xTB-like energy `conformer-energy` as an OpenMM
PythonForce.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.records import Molecule
from equidrift.registry import energy_surface
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A


class EnergyComputation:
    """What the PythonForce calls: energy in kJ/mol, and forces, its negative gradient,
    in kJ/mol/nm.

    Pickles as plain data, so Systems serialize and copy; the weights stay where they
    are.

    Parameters
    ----------
    molecule : Molecule
        The graph, in the order of the particles.
    weights : str
        Name of the energy, or the path of weights.

    Raises
    ------
    InputError
        For weights of a model that has no energy.
    MoleculeError
        For an element that the training data lacked, or a molecule that MMFF94 cannot
        type.
    """

    def __init__(self, molecule: Molecule, weights: str = "conformer-energy") -> None:
        self.molecule, self.weights = molecule, weights
        self._surface = energy_surface(molecule, weights)

    def __call__(self, state: openmm.State) -> tuple[float, NDArray[np.float64]]:
        """Energy in kJ/mol and forces (n, 3) in kJ/mol/nm at the positions of a State."""
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        energy, gradient = self._surface(np.asarray(positions, np.float64)[None] / NM_PER_A)
        forces: NDArray[np.float64] = -gradient[0] * (KJ_MOL_PER_EV / NM_PER_A)
        return float(energy[0]) * KJ_MOL_PER_EV, forces

    def __reduce__(self) -> tuple[Any, ...]:
        return _computation, (molecule_to_dict(self.molecule), self.weights)


def _computation(molecule: dict[str, Any], weights: str) -> EnergyComputation:
    return EnergyComputation(molecule_from_dict(molecule), weights)


def energy_force(molecule: Molecule, *, weights: str = "conformer-energy") -> openmm.PythonForce:
    """The learned energy of a molecule in vacuum as a force of an OpenMM System whose
    particles are the molecule's atoms in its order.

    Energies of one molecule can be compared with each other, those of different
    molecules cannot. The energy is learnt near minima and along relaxations: bonds do
    not break, and far from what it has seen it is MMFF94 with a bounded correction. The
    card `equidrift models conformer-energy` states its error against GFN2-xTB.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    weights : str
        Name of the energy, or the path of weights that `equidrift train
        conformer-energy` wrote.

    Raises
    ------
    MoleculeError
        For an element that the training data lacked, or a molecule that MMFF94 cannot
        type.

    Examples
    --------
    >>> import equidrift
    >>> molecule = equidrift.Molecule.from_smiles("CCO")
    >>> system = equidrift.mmff_system(molecule)
    >>> while system.getNumForces():  # the masses alone are kept
    ...     system.removeForce(0)
    >>> system.addForce(energy_force(molecule))
    0
    """
    force = openmm.PythonForce(EnergyComputation(molecule, weights))
    force.setName("equidrift conformer-energy")
    return force
