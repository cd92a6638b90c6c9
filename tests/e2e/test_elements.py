"""The default model answers for every element and charge it claims, and says what it
did not refine.

`tools/make_element_molecules.py` makes the list of molecules.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

import equidrift
from equidrift.checks.geometry import ELEMENTS
from equidrift.errors import InputError
from equidrift.records import Molecule

SMILES = (Path(__file__).parents[1] / "data" / "elements.smi").read_text().split()
TABLE = Path(__file__).parents[2] / "tools" / "bond_table_molecules.smi"
SHORT = 40


def _answers(smiles: str) -> None:
    ensemble = equidrift.sample(smiles, 1, timeout_s=60)
    assert ensemble.valid.all() and np.isfinite(ensemble.positions_A).all()
    assert ensemble.scores["refined"].shape == (1,)


def test_molecules_asked_for_are_not_those_of_the_bond_table() -> None:
    assert len(set(SMILES)) == len(SMILES) >= 300
    known = {Chem.CanonSmiles(smiles) for smiles in TABLE.read_text().split()}
    assert not known & {Chem.CanonSmiles(smiles) for smiles in SMILES}


def test_molecules_asked_for_span_every_element_and_charge() -> None:
    molecules = [Molecule.from_smiles(smiles) for smiles in SMILES]
    assert set(ELEMENTS) <= {int(z) for molecule in molecules for z in molecule.numbers}
    assert {molecule.charge for molecule in molecules} >= set(range(-2, 3))


@pytest.mark.parametrize("smiles", SMILES[:: len(SMILES) // SHORT])
def test_default_answers_for_every_element_and_charge_when_few_are_asked(smiles: str) -> None:
    _answers(smiles)


@pytest.mark.slow
@pytest.mark.parametrize("smiles", SMILES)
def test_default_answers_for_every_element_and_charge_when_all_are_asked(smiles: str) -> None:
    _answers(smiles)


def test_default_keeps_the_force_field_when_silicon_was_not_in_the_training_data() -> None:
    ensemble = equidrift.sample("C[Si](C)(C)C", 3)
    bonds = ensemble.molecule.bonds[
        [14 in ensemble.molecule.numbers[bond] for bond in ensemble.molecule.bonds]
    ]
    lengths = np.linalg.norm(
        ensemble.positions_A[:, bonds[:, 0]] - ensemble.positions_A[:, bonds[:, 1]], axis=-1
    )
    assert np.abs(lengths - 1.88).max() < 0.05
    assert (
        not ensemble.scores["refined"].any()
        and "Si was not in the training data" in ensemble.provenance["note"]
    )


def test_ensemble_has_relative_energies_and_prune_keeps_the_lowest() -> None:
    ensemble = equidrift.sample("CCCCO", 6, prune_rms_A=0.5)
    relative = ensemble.scores["relative_energy_kcal_mol"]
    assert np.nanmin(relative) == 0 and "MMFF94" in ensemble.provenance["energies"]


def test_sample_sorts_by_energy_and_keeps_a_window_when_asked() -> None:
    relative = equidrift.sample("CCCCO", 8, sort="energy", window_kcal_mol=2.0).scores[
        "relative_energy_kcal_mol"
    ]
    assert (np.diff(relative) >= 0).all() and relative.max() <= 2.0
    with pytest.raises(InputError, match="gives no energies"):
        equidrift.sample("CCO", 1, model="etkdg", sort="energy")
    with pytest.raises(InputError, match="window must be"):
        equidrift.sample("CCO", 1, window_kcal_mol=-1.0)


def test_allenes_stay_twisted_when_the_force_field_flattens_them() -> None:
    molecule = Molecule.from_smiles("FC=C=CF")
    x = equidrift.sample(molecule, 2).positions_A
    plane = (
        np.cross(x[:, 0] - x[:, 1], x[:, 3] - x[:, 1]),
        np.cross(x[:, 1] - x[:, 3], x[:, 4] - x[:, 3]),
    )
    scale = np.linalg.norm(plane[0], axis=-1) * np.linalg.norm(plane[1], axis=-1)
    assert (np.abs((plane[0] * plane[1]).sum(-1)) < 0.5 * scale).all()
