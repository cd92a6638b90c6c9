"""What of a System is sampled: the molecules that have a bond to turn about."""

from __future__ import annotations

import numpy as np

from equidrift.fragments import part_of
from equidrift.montecarlo.target import Target
from equidrift.records import Molecule


def with_waters(*smiles: str, waters: int) -> Molecule:
    return Molecule.from_smiles(".".join([*smiles, *["O"] * waters]))


def target_of(molecule: Molecule) -> Target:
    return Target(None, None, np.zeros((molecule.n_atoms, 3)), molecule, "none")


def test_the_solute_is_what_has_a_bond_to_turn_about_in_a_large_system():
    crowd = target_of(with_waters("CCCC", "[Na+]", "OCCO", "[Cl-]", waters=90))
    assert crowd.turned == part_of(crowd.molecule, crowd.solute)
    heavy = sorted(crowd.turned.numbers[crowd.turned.numbers > 1].tolist())
    assert heavy == [6] * 6 + [8] * 2  # butane and glycol
    assert crowd.solute.tolist() == sorted(crowd.solute.tolist())


def test_all_of_a_small_system_and_of_one_without_torsions_is_the_solute():
    for molecule in (with_waters("CCCC", waters=3), with_waters("C", waters=90)):
        found = target_of(molecule)
        assert len(found.solute) == molecule.n_atoms and found.turned is molecule
