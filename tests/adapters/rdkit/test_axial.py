"""Axial stereo: read, written, checked and sampled of one hand; what RDKit drops is told."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

import equidrift
from equidrift.adapters.rdkit.axial import tell_dropped
from equidrift.adapters.rdkit.etkdg import ETKDG, mmff_relax
from equidrift.adapters.rdkit.molecule import from_mol, to_mol
from equidrift.checks.geometry import AXIAL, GeometryCheck
from equidrift.errors import InputError
from equidrift.files.ensembles import load, save
from equidrift.geometry import dihedrals
from equidrift.records import Molecule
from equidrift.residues import reordered

BINOL = "Oc1ccc2ccccc2c1-c1c(O)ccc2ccccc12"
HANDS = [f"{BINOL} |wU:10.10|", f"{BINOL} |wD:10.10|"]
BIARYLS = [*HANDS, "Cc1cccc(Cl)c1-c1c(C)cccc1Br |wU:7.7|", "Cc1cccc(Cl)c1-c1c(C)cccc1Br |wD:7.7|"]


def signs(molecule: Molecule, positions_A: np.ndarray) -> np.ndarray:
    """1 where a dihedral is between 0 and 180 degrees, else 0; (k, axes)."""
    return (dihedrals(positions_A, molecule.axial[:, :4]) > 0).astype(int)


@pytest.mark.parametrize("smiles", BIARYLS)
def test_axial_stereo_is_kept_when_atoms_are_put_in_another_order(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    assert len(molecule.axial) == 1 and molecule.has_hand
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(molecule.n_atoms)
        mixed = reordered(molecule, order)
        again = from_mol(to_mol(mixed)).replace(smiles=smiles)
        x = ETKDG().sample(mixed, np.arange(3))
        assert (signs(mixed, x) == mixed.axial[:, 4]).all(), "RDKit embeds the hand of the row"
        assert (signs(again, x) == again.axial[:, 4]).all(), "the row that is read back says so"
        back = np.empty_like(x)
        back[:, order] = x
        assert (signs(molecule, back) == molecule.axial[:, 4]).all(), "it is the same hand"


def test_two_hands_are_two_molecules() -> None:
    first, second = (Molecule.from_smiles(smiles) for smiles in HANDS)
    assert first != second and first.key() != second.key()
    assert first.replace(axial=second.axial) == second
    with pytest.raises(InputError, match="axial names atom 99"):
        first.replace(axial=[[99, 1, 2, 3, 0]])


@pytest.mark.parametrize("smiles", BIARYLS)
def test_check_rejects_the_other_hand_and_the_flat_form(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    x, _ = mmff_relax(molecule, ETKDG().sample(molecule, np.arange(2)))
    check = GeometryCheck(molecule)
    assert (check(x) == "").all()
    assert (check(x * [1, 1, -1]) == AXIAL).all()


@pytest.mark.long
@pytest.mark.parametrize("smiles", HANDS)
def test_sample_gives_one_hand_when_the_input_has_it(smiles: str) -> None:
    for model in ("default", "conformer"):
        ensemble = equidrift.sample(smiles, 4, model=model, seed=1)
        molecule = ensemble.molecule
        assert (signs(molecule, ensemble.positions_A) == molecule.axial[:, 4]).all()


@pytest.mark.parametrize("suffix", [".sdf", ".npz", ".extxyz", ".traj", ".pdb"])
def test_axial_stereo_comes_back_from_a_file(suffix: str, tmp_path: Path) -> None:
    for k, smiles in enumerate(HANDS):
        molecule = Molecule.from_smiles(smiles)
        x = ETKDG().sample(molecule, np.arange(2))
        path = tmp_path / f"{k}{suffix}"
        save(equidrift.Ensemble(molecule, x), path)
        read = load(path)
        assert len(read.molecule.axial) == 1 and len(read) == 2
        assert (signs(read.molecule, read.positions_A) == read.molecule.axial[:, 4]).all()
        assert signs(molecule, read.positions_A).tolist() == signs(molecule, x).tolist()


def test_axial_stereo_of_a_mol_is_kept_when_it_is_sampled() -> None:
    mol = Chem.MolFromSmiles(HANDS[0])
    assert from_mol(mol).axial.tolist() == Molecule.from_smiles(HANDS[0]).axial.tolist()


@pytest.mark.parametrize(
    ("smiles", "atoms"),
    [
        ("CC=[C@]=CC", "2"),
        ("CC=[C@AL2]=CC", "2"),
        ("C/C=C=C=C/C", "2, 3"),
        ("C/C=C=C=C\\C", "2, 3"),
        ("CC=C=CC", None),
        ("C/C=C/C=C=CC", None),
        ("C[C@H](F)C=C=C", None),
        ("C/C=C/C", None),
    ],
)
def test_axial_stereo_of_cumulenes_is_told_when_it_is_dropped(
    smiles: str, atoms: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    tell_dropped.cache_clear()
    with caplog.at_level(logging.WARNING, "equidrift"):
        Molecule.from_smiles(smiles)
    if atoms is None:
        assert not caplog.records
    else:
        assert f"cumulated double bonds at atoms {atoms} (from 0)" in caplog.text
        assert "is dropped" in caplog.text


def test_dropped_axial_stereo_is_told_once_when_a_molecule_is_read_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tell_dropped.cache_clear()
    with caplog.at_level(logging.WARNING, "equidrift"):
        for smiles in ("CC=[C@]=CC", "CC=[C@]=CC", "C/C=C=C=C/C"):
            Molecule.from_smiles(smiles)
    assert len(caplog.records) == 2
