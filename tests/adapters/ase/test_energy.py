"""The learned energy as an ASE calculator: forces that are its gradient, relaxation
by ASE, refusals.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces
from ase.optimize import BFGS

from equidrift.adapters.ase.energy import ConformerEnergy
from equidrift.errors import InputError, MoleculeError
from tests.conftest import make_ensemble
from tests.models.networks import small_energy_weights


def test_forces_of_the_calculator_are_its_gradient(tmp_path: Path) -> None:
    atoms = make_ensemble("R centre").to_ase()[0]
    atoms.calc = ConformerEnergy(weights=str(small_energy_weights(tmp_path)))
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 0.05
    np.testing.assert_allclose(forces, calculate_numerical_forces(atoms, eps=2e-3), atol=1e-2)
    assert atoms.get_potential_energy() == atoms.get_potential_energy(force_consistent=True)


def test_optimiser_of_ase_lowers_the_learned_energy(tmp_path: Path) -> None:
    atoms = make_ensemble("cation").to_ase()[0]
    atoms.calc = ConformerEnergy(weights=str(small_energy_weights(tmp_path)))
    before = atoms.get_potential_energy()
    BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=0.05, steps=30)
    assert atoms.get_potential_energy() < before - 0.01


def test_calculator_refuses_an_element_that_the_model_does_not_know(tmp_path: Path) -> None:
    atoms = make_ensemble("E alkene").to_ase()[0]
    atoms.calc = ConformerEnergy(weights=str(small_energy_weights(tmp_path)))
    with pytest.raises(MoleculeError, match=r"not (F, Cl|Cl, F)"):
        atoms.get_potential_energy()


def test_calculator_refuses_weights_by_name_when_they_have_no_energy() -> None:
    atoms = make_ensemble("R centre").to_ase()[0]
    atoms.calc = ConformerEnergy(weights="refine")
    with pytest.raises(InputError, match=r"weights='refine' has no energy.*conformer-energy"):
        atoms.get_potential_energy()
