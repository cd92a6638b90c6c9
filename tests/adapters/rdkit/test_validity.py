"""Sanitisation, stereo from coordinates, canonical SMILES, descriptors and PoseBusters,
each against what must fail.
"""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.adapters.rdkit.validity import (
    DESCRIPTORS,
    completed,
    descriptors,
    kekulised,
    perceived,
    posebusters_failures,
)
from equidrift.errors import MoleculeError
from equidrift.records import Molecule
from tests.doubles import geometry

NO_TAGS = {"tetrahedral": np.zeros((0, 5)), "double_bonds": np.zeros((0, 5)), "smiles": ""}


def test_kekulised_has_single_and_double_bonds_or_says_why_not() -> None:
    furan = Molecule.from_smiles("c1ccoc1")
    made = kekulised(furan)
    assert sorted(made.bond_orders.tolist()) == [1.0] * 7 + [2.0] * 2
    assert kekulised(made) is made
    with pytest.raises(MoleculeError, match="no Kekule structure"):
        kekulised(furan.replace(numbers=np.where(furan.numbers == 8, 6, furan.numbers)))


def test_stereo_is_that_of_the_coordinates() -> None:
    alanine = Molecule.from_smiles("C[C@H](N)C(=O)O")
    positions = geometry(alanine)
    bare = alanine.replace(**NO_TAGS)
    left, right = perceived(bare, positions), perceived(bare, positions * [1, 1, -1])
    assert {left.smiles, right.smiles} == {
        Chem.CanonSmiles("C[C@H](N)C(=O)O"),
        Chem.CanonSmiles("C[C@@H](N)C(=O)O"),
    }
    assert left.smiles == Chem.CanonSmiles("C[C@H](N)C(=O)O") and left == alanine
    butene = Molecule.from_smiles("C/C=C\\C")
    assert perceived(butene.replace(**NO_TAGS), geometry(butene)).smiles == "C/C=C\\C"


def test_what_cannot_be_sanitised_is_refused() -> None:
    methane = Molecule.from_smiles("C")
    with pytest.raises(MoleculeError):
        perceived(methane.replace(bond_orders=np.array([2.0, 1.0, 1.0, 1.0])), geometry(methane))
    radical = Molecule(
        np.array([6, 1, 1, 1]), np.array([[0, 1], [0, 2], [0, 3]]), np.ones(3), np.zeros(4)
    )
    with pytest.raises(MoleculeError, match="radical"):
        perceived(radical.replace(multiplicity=2), geometry(methane)[:4])


def test_descriptors_of_ethanol_are_the_known_ones() -> None:
    values = dict(zip(DESCRIPTORS, descriptors([Molecule.from_smiles("CCO")])[0], strict=True))
    assert values["MW"] == pytest.approx(46.07, abs=0.01) and values["PSA"] == pytest.approx(
        20.23, abs=0.01
    )
    assert values["logP"] == pytest.approx(-0.0014, abs=1e-3) and 0 < values["QED"] < 1
    assert descriptors([]).shape == (0, 4)


def test_open_valences_are_completed() -> None:
    pyrrole = Molecule.from_smiles("c1cc[nH]c1")
    mol = Chem.RemoveHs(to_mol(pyrrole, geometry(pyrrole)[None]))
    molecule, positions = completed(mol, mol.GetConformer().GetPositions())
    assert molecule == pyrrole and np.abs(positions - geometry(pyrrole)).max() < 0.3
    with pytest.raises(MoleculeError, match="cannot sanitise the fragment"):
        completed(Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False), np.eye(6, 3))


def test_posebusters_finds_a_stretched_molecule() -> None:
    pytest.importorskip("posebusters")
    molecule = Molecule.from_smiles("CCO")
    sound, stretched = posebusters_failures(
        [(molecule, geometry(molecule)), (molecule, 1.4 * geometry(molecule))]
    )
    assert sound == () and "bond_lengths" in stretched
    assert posebusters_failures([]) == []
