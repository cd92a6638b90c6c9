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
from equidrift.errors import InputError, MoleculeError
from equidrift.records import Molecule

SMILES = (Path(__file__).parents[1] / "data" / "elements.smi").read_text().split()
TABLE = Path(__file__).parents[2] / "tools" / "bond_table_molecules.smi"
SHORT = 40
CHARGED = {  # total charges at the ends of the range, and what has the fewest atoms
    "[O-]C(=O)CCC(=O)[O-]": -2,  # succinate
    "OC(CC(=O)[O-])(CC(=O)[O-])C(=O)[O-]": -3,  # citrate
    "[O-]C(=O)CN(CCN(CC(=O)[O-])CC(=O)[O-])CC(=O)[O-]": -4,  # EDTA
    "CC(O)(P(=O)([O-])[O-])P(=O)([O-])[O-]": -4,  # etidronate
    "[NH3+]CCCC(O)(P(=O)(O)[O-])P(=O)(O)[O-]": -1,  # alendronate
    "[O-]P(=O)([O-])OP(=O)([O-])[O-]": -4,  # pyrophosphate
    "[NH3+]CCC[NH2+]CCCC[NH2+]CCC[NH3+]": 4,  # spermine
    "[NH3+]CCC[NH2+]CCCC[NH3+]": 3,  # spermidine
    "[NH3+]CCCC[NH3+]": 2,  # putrescine
    "[NH3+]CC(=O)[O-]": 0,  # glycine
    "C[N+](C)(C)CC(=O)[O-]": 0,  # betaine
    "[NH3+][C@@H](CCC(=O)[O-])C(=O)[O-]": -1,  # glutamate
    "[OH-]": -1,
    "[C-]#N": -1,
    "N#[O+]": 1,
    "[OH3+]": 1,
    "[H][H]": 0,
    "F": 0,
    "Cl": 0,
    "Br": 0,
    "I": 0,
    "FF": 0,
    "ClCl": 0,
    "BrBr": 0,
    "II": 0,
    "N#N": 0,
    "[C-]#[O+]": 0,
    "IBr": 0,
}
TOO_CHARGED = {
    "[NH3+]CCC[NH2+]CCCC[NH2+]CC[NH2+]C[NH3+]": 5,
    "[O-]P(=O)([O-])OP(=O)([O-])OP(=O)([O-])[O-]": -5,
}


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


@pytest.mark.parametrize("smiles", CHARGED)
def test_default_answers_for_ions_of_charge_4_zwitterions_and_diatomics(smiles: str) -> None:
    assert Molecule.from_smiles(smiles).charge == CHARGED[smiles]
    _answers(smiles)


@pytest.mark.parametrize("smiles", TOO_CHARGED)
def test_charge_beyond_4_is_refused_with_the_range(smiles: str) -> None:
    assert Molecule.from_smiles(smiles).charge == TOO_CHARGED[smiles]
    with pytest.raises(MoleculeError, match=r"charge out of range: -4 to \+4 are supported"):
        equidrift.sample(smiles)


@pytest.mark.parametrize("smiles", SMILES[:: len(SMILES) // SHORT])
def test_default_answers_for_every_element_and_charge_when_few_are_asked(smiles: str) -> None:
    _answers(smiles)


@pytest.mark.slow
@pytest.mark.parametrize("smiles", SMILES)
def test_default_answers_for_every_element_and_charge_when_all_are_asked(smiles: str) -> None:
    _answers(smiles)


def test_silicon_is_refined_by_the_energy_that_has_learnt_it() -> None:
    ensemble = equidrift.sample("C[Si](C)(C)C", 3)
    bonds = ensemble.molecule.bonds[
        [14 in ensemble.molecule.numbers[bond] for bond in ensemble.molecule.bonds]
    ]
    lengths = np.linalg.norm(
        ensemble.positions_A[:, bonds[:, 0]] - ensemble.positions_A[:, bonds[:, 1]], axis=-1
    )
    assert np.abs(lengths - 1.88).max() < 0.05
    assert ensemble.scores["refined"].all()
    assert ensemble.provenance["refiner"] == "conformer-energy-elements"


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
