"""Torsions of peptides have the names and the values that a chemist expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equidrift.adapters.rdkit.io import read_molecules
from equidrift.geometry import dihedrals
from equidrift.montecarlo.torsion_names import named_tree, torsion_names
from equidrift.records import Molecule

CASES = Path(__file__).parents[2] / "data" / "cases"


def case(name):
    (path,) = CASES.glob(f"*/{name}")
    (record,) = read_molecules(path)
    return record.molecule, record.positions_A[0]


def test_torsions_of_a_peptide_are_named_by_residue():
    molecule, _ = case("pep_KE.pdb")
    names = torsion_names(molecule, named_tree(molecule).atoms)
    assert len(set(names)) == len(names)
    assert {"LYS1 psi", "GLU2 phi", "LYS1 chi1", "LYS1 chi4", "GLU2 chi2"} <= set(names)


def test_torsions_of_residues_with_insertion_codes_have_names_of_their_own():
    molecule, _ = case("gly_icode.pdb")
    names = torsion_names(molecule, named_tree(molecule).atoms)
    assert {"GLY52A phi", "GLY52A psi", "GLY52B phi", "GLY52B psi"} == set(names)


@pytest.mark.parametrize(
    ("label", "atoms"),
    [("GLY52A phi", "C N CA C"), ("GLY52A psi", "N CA C N"), ("GLY52B phi", "C N CA C")],
)
def test_backbone_torsions_are_measured_by_iupacs_atoms(label, atoms):
    molecule, x = case("gly_icode.pdb")
    tree = named_tree(molecule)
    k = torsion_names(molecule, tree.atoms).index(label)
    row = tree.atoms[k].tolist()
    named = [molecule.atom_names[j] for j in row]
    assert " ".join(named) == atoms or " ".join(named[::-1]) == atoms
    turned = tree.set_torsions(x, np.full(tree.n_torsions, 1.0))
    assert dihedrals(turned, tree.atoms) == pytest.approx(np.full(tree.n_torsions, 1.0))


def test_torsions_of_equal_names_are_told_apart_by_their_indices():
    molecule = Molecule.from_smiles("CCCCC").replace(atom_names=("C",) * 5 + ("H",) * 12)
    atoms = named_tree(molecule).atoms
    names = torsion_names(molecule, atoms)
    assert len(names) == 2 and len(set(names)) == 2 and all("C-C-C-C (" in name for name in names)


def test_torsions_without_names_are_element_and_index():
    molecule = Molecule.from_smiles("CCCC")
    assert torsion_names(molecule, named_tree(molecule).atoms) == ["C0-C1-C2-C3"]
