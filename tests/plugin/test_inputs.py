"""A charge may be given wherever a molecule is read, and is never ignored."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from rdkit import Chem

import equidrift
from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.errors import InputTypeError, MoleculeError
from equidrift.inputs import as_ensemble, as_molecule
from equidrift.records import Ensemble, Molecule
from tests.doubles import Shaker

ACETATE = "CC(=O)[O-]"


def bare(smiles: str = ACETATE) -> ase.Atoms:
    """Elements and positions alone."""
    molecule = Molecule.from_smiles(smiles)
    return ase.Atoms(molecule.numbers, ETKDG().sample(molecule, np.arange(1))[0])


@pytest.mark.parametrize(
    "what",
    [ACETATE, Molecule.from_smiles(ACETATE), Chem.MolFromSmiles(ACETATE), bare()],
    ids=["smiles", "molecule", "mol", "atoms"],
)
def test_charge_is_taken_when_it_is_that_of_the_molecule(what) -> None:
    assert as_molecule(what, charge=-1).charge == -1
    assert equidrift.sample(what, 1, model=Shaker(), charge=-1).molecule.charge == -1
    ((entry),) = equidrift.sample_many([what], 1, model=Shaker(), charge=-1)
    assert entry.error is None


@pytest.mark.parametrize(
    "what", [ACETATE, Molecule.from_smiles(ACETATE), Chem.MolFromSmiles(ACETATE)]
)
def test_another_charge_is_refused_by_both_numbers(what) -> None:
    for call in (as_molecule, lambda what, charge: equidrift.sample(what, 1, charge=charge)):
        with pytest.raises(MoleculeError, match=r"charge=\+1, but .* has charge -1; leave"):
            call(what, charge=1)
    (entry,) = equidrift.sample_many([what], 1, model=Shaker(), charge=1)
    assert isinstance(entry.error, MoleculeError)


def test_conformers_to_refine_take_the_charge() -> None:
    assert as_ensemble([bare(), bare()], charge=-1).molecule.charge == -1
    ensemble = Ensemble(Molecule.from_smiles(ACETATE), bare().positions[None])
    assert equidrift.refine(ensemble, charge=-1).molecule.charge == -1
    with pytest.raises(MoleculeError, match=r"charge=\+0, but .* has charge -1"):
        equidrift.refine(ensemble, charge=0)


@pytest.mark.parametrize("charge", [1.0, "1", True])
def test_charge_that_is_no_integer_is_refused(charge) -> None:
    with pytest.raises(InputTypeError, match="charge must be an integer"):
        as_molecule("CCO", charge=charge)
