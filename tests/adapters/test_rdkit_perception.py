"""Bonds from a bare geometry: right, in the caller's order, or refused with the charge that would fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from equidrift.adapters.rdkit_molecule import to_mol
from equidrift.adapters.rdkit_perception import molecule_from_xyz
from equidrift.errors import InputError, MoleculeError
from tests.conftest import make_ensemble


def smiles(molecule):
    return Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(to_mol(molecule))))


def test_perceives_every_molecule(ensemble):
    molecule = ensemble.molecule
    found = molecule_from_xyz(molecule.numbers, ensemble.positions_A[0], charge=molecule.charge)
    assert found.numbers.tolist() == molecule.numbers.tolist()
    assert sorted(map(sorted, found.bonds.tolist())) == sorted(map(sorted, molecule.bonds.tolist()))
    assert smiles(found).replace("@", "") == smiles(molecule).replace("@", "")


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(make_ensemble("R and Z").molecule.n_atoms)))
def test_order_is_the_callers(order):
    ensemble = make_ensemble("R and Z")
    found = molecule_from_xyz(ensemble.molecule.numbers[order], ensemble.positions_A[0][order])
    assert found.numbers.tolist() == ensemble.molecule.numbers[order].tolist()
    assert smiles(found) == smiles(ensemble.molecule)


@pytest.mark.parametrize("name, charge", [("anion", "-1"), ("cation", r"\+1")])
def test_ion_without_charge_is_refused(name, charge):
    ensemble = make_ensemble(name)
    with pytest.raises(MoleculeError, match=f"the charge is not given and no neutral structure fits; charge {charge} would fit"):
        molecule_from_xyz(ensemble.molecule.numbers, ensemble.positions_A[0])


def test_wrong_charge_is_refused():
    ensemble = make_ensemble("ibuprofen")
    with pytest.raises(MoleculeError, match=r"no structure of charge \+2 fits; charge \+0"):
        molecule_from_xyz(ensemble.molecule.numbers, ensemble.positions_A[0], charge=2)


def test_missing_hydrogens_are_refused():
    ensemble = make_ensemble("R centre")
    heavy = ensemble.molecule.numbers > 1
    with pytest.raises(MoleculeError, match=r"check that every hydrogen is there"):
        molecule_from_xyz(ensemble.molecule.numbers[heavy], ensemble.positions_A[0][heavy])


def test_shapes_and_nan():
    with pytest.raises(InputError, match=r"do not fit"):
        molecule_from_xyz([6, 1], np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"NaN"):
        molecule_from_xyz([1, 1], np.full((2, 3), np.nan))
