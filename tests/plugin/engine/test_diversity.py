"""Which conformers count as new."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.engine.diversity import torsions
from equidrift.records import Molecule


@pytest.mark.parametrize("smiles", ["CC", "CO", "c1ccccc1", "CC(C)(C)C", "FC(F)(F)C", "C"])
def test_nothing_to_tell_apart(smiles: str) -> None:
    assert (
        len(torsions(Molecule.from_smiles(smiles)).atoms) == 0
        or (torsions(Molecule.from_smiles(smiles)).fold > 1).all()
    )


@pytest.mark.parametrize(
    ("smiles", "bond", "fold", "turn_deg"),
    [
        ("OCc1ccccc1", (1, 2), 2, 180.0),
        ("OCC(C)(C)C", (1, 2), 3, 120.0),
        ("OCC(F)(F)F", (1, 2), 3, 120.0),
    ],
)
def test_symmetric_rotors_are_folded(
    smiles: str, bond: tuple[int, int], fold: int, turn_deg: float
) -> None:
    told = torsions(Molecule.from_smiles(smiles))
    k = next(k for k, row in enumerate(told.atoms.tolist()) if set(row[1:3]) == set(bond))
    assert told.fold[k] == fold
    angles = np.zeros(len(told.atoms))
    turned, new = angles.copy(), angles.copy()
    turned[k] += turn_deg
    new[k] += turn_deg / 2
    assert not told.is_new(turned, angles[None]) and told.is_new(new, angles[None])


@pytest.mark.parametrize(
    ("smiles", "bonds"),
    [("CC1CC1C", set()), ("CC1CCC1C", set()), ("CC1CC1CO", {(3, 4)}), ("C1CCCC1", 5)],
)
def test_small_rings_do_not_pucker(smiles: str, bonds: set[tuple[int, int]] | int) -> None:
    told = torsions(Molecule.from_smiles(smiles)).atoms
    if isinstance(bonds, int):
        assert len(told) == bonds
    else:
        heavy = {tuple(sorted(row[1:3])) for row in told.tolist()}
        assert bonds <= heavy and not any(bond in heavy for bond in ((1, 2), (2, 3), (1, 3)))


def test_butane_tells_gauche_from_anti_and_from_its_mirror_image() -> None:
    told = torsions(Molecule.from_smiles("CCCC"))
    assert told.atoms.tolist() == [[0, 1, 2, 3]] and told.fold.tolist() == [1]
    anti, gauche = np.array([180.0]), np.array([62.0])
    assert (
        told.is_new(gauche, anti[None])
        and told.is_new(-gauche, gauche[None])
        and not told.is_new(-anti, anti[None])
    )
    assert told.is_new(anti, np.zeros((0, 1)))


def test_angles_are_dihedrals() -> None:
    from rdkit.Chem import rdMolTransforms

    from equidrift.adapters.rdkit.molecule import to_mol

    molecule = Molecule.from_smiles("CCCO")
    x = ETKDG().sample(molecule, np.arange(2))
    told = torsions(molecule)
    mol = to_mol(molecule, x)
    for k in range(2):
        expected = [
            rdMolTransforms.GetDihedralDeg(mol.GetConformer(k), *row) for row in told.atoms.tolist()
        ]
        np.testing.assert_allclose(told.angles_deg(x)[k], expected, atol=1e-6)
