"""equidrift.sample and equidrift.refine."""

from __future__ import annotations

import importlib.util
from typing import Any

import ase
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

import equidrift
from equidrift import registry
from equidrift.adapters.rdkit.rmsd import distinct, heavy_copy
from equidrift.api import refine, sample
from equidrift.checks.geometry import BOND_LENGTH, check_geometry
from equidrift.engine import relax
from equidrift.errors import (
    InputError,
    InputTypeError,
    MissingDependencyError,
    MoleculeError,
    NoValidSamplesError,
    UnknownNameError,
)
from equidrift.records import Ensemble, Molecule
from tests.conftest import make_ensemble
from tests.doubles import Shaker, Shrinker

IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O"


@pytest.fixture(autouse=True)
def doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.CONFORMER_MODELS, "shaker", "tests.doubles:Shaker")
    monkeypatch.setitem(registry.REFINERS, "shrinker", "tests.doubles:Shrinker")


def test_public_names() -> None:
    assert set(dir(equidrift)) >= {
        "sample",
        "refine",
        "mmff_system",
        "load",
        "list_models",
        "Molecule",
        "Ensemble",
        "Trajectory",
    }
    for name in dir(equidrift):
        assert getattr(equidrift, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        equidrift.nothing  # noqa: B018


@pytest.mark.parametrize("kind", ["smiles", "molecule", "mol", "ensemble", "atoms"])
def test_what_can_be_sampled(kind: str) -> None:
    molecule = Molecule.from_smiles("C[C@H](F)O")
    seed = make_ensemble("R centre") if kind == "ensemble" else sample(molecule, model="etkdg")
    what = {
        "smiles": "C[C@H](F)O",
        "molecule": molecule,
        "mol": Chem.MolFromSmiles("C[C@H](F)O"),
        "ensemble": seed,
        "atoms": seed.to_ase()[0] if kind == "atoms" else None,
    }[kind]
    ensemble = sample(what, 3, model="shaker", broken=0.2)
    assert len(ensemble) == 3 and ensemble.provenance["options"] == {"broken": 0.2}
    assert (check_geometry(ensemble.molecule, ensemble.positions_A) == "").all()


def test_atom_order_of_a_mol_survives() -> None:
    mol = Chem.MolFromSmiles("OC[C@H](F)N")
    assert sample(mol, model="etkdg").molecule.symbols[:5] == ["O", "C", "C", "F", "N"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample("C(", model="shaker"), MoleculeError, "cannot read the SMILES 'C\\('"),
        (lambda: sample("C(C)(C)(C)(C)C", model="shaker"), MoleculeError, "valence"),
        (lambda: sample("", model="shaker"), MoleculeError, "SMILES is empty"),
        (
            lambda: sample(7, model="shaker"),
            InputTypeError,
            "expected a SMILES, Molecule, RDKit Mol or ase.Atoms, not int",
        ),
        (lambda: sample(None, model="shaker"), InputTypeError, "not NoneType"),
        (lambda: sample("CC.O", model="shaker"), MoleculeError, "2 fragments"),
        (lambda: sample("[CH3]", model="shaker"), MoleculeError, "radical"),
        (lambda: sample("CCO", 0, model="shaker"), InputError, "n must be 1 or more"),
        (lambda: sample("CCO", model="shakr"), UnknownNameError, "Did you mean 'shaker'"),
        (
            lambda: sample("CCO", model="shaker", relax="mmf"),
            UnknownNameError,
            "unknown relaxation 'mmf'. Did you mean 'mmff'",
        ),
        (
            lambda: sample("CCO", model="shaker", prune_rms_A=0),
            InputError,
            "prune_rms_A must be a number of A above 0",
        ),
        (lambda: sample("CCO", model="shaker", prune_rms_A="a"), InputError, "prune_rms_A"),
        (lambda: refine("CCO", model="shrinker"), InputTypeError, "expected an Ensemble"),
        (lambda: refine([], model="shrinker"), InputTypeError, "expected an Ensemble"),
        (
            lambda: refine(make_ensemble("imine")[:0], model="shrinker"),
            InputError,
            "no conformer to refine",
        ),
        (
            lambda: refine(make_ensemble("imine"), model="shrink"),
            UnknownNameError,
            "Did you mean 'shrinker'",
        ),
        (lambda: refine(Chem.MolFromSmiles("CC"), model="shrinker"), InputError, "no 3D conformer"),
        (lambda: refine(make_ensemble("imine"), model=Shaker()), InputTypeError, "refine_many"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_strained_cage_ends_in_a_message_or_in_conformers() -> None:
    """RDKit's embedding raises RuntimeError on this one."""
    try:
        ensemble = sample("CC12CC3C(C1=O)N32", 2, model="etkdg")
    except NoValidSamplesError as error:
        assert "may be too strained" in str(error)
    else:
        assert (check_geometry(ensemble.molecule, ensemble.positions_A) == "").all()


def test_no_conformer_possible() -> None:
    """A bridge that no geometry can make."""
    with pytest.raises(NoValidSamplesError, match=r"no coordinates|stereo|bond length"):
        sample("[H][C@]12O[C@@]1([H])O2", 1, model="etkdg", max_attempts=2)


@pytest.mark.long
def test_mmff_relaxation_lowers_energies_and_prunes_behind_it() -> None:
    raw = sample(IBUPROFEN, 20, model="etkdg", seed=1)
    relaxed = sample(IBUPROFEN, 20, model="etkdg", seed=1, relax="mmff")
    assert raw.energies_eV is None and relaxed.energies_eV is not None
    assert relaxed.provenance["options"]["relax"] == "mmff"
    pruned = sample(IBUPROFEN, 20, model="etkdg", seed=1, relax="mmff", prune_rms_A=0.5)
    assert 0 < len(pruned) < 20 and pruned.provenance["pruned"] == 20 - len(pruned)
    assert pruned.energies_eV is not None and pruned.energies_eV.min() == relaxed.energies_eV.min()
    assert distinct(pruned.molecule, pruned.positions_A, 0.5).all()


def test_pruning_knows_symmetry() -> None:
    ensemble = sample("Cc1ccccc1", 1, model="etkdg")
    molecule = ensemble.molecule
    mol = heavy_copy(molecule, ensemble.positions_A)
    other = next(
        match for match in mol.GetSubstructMatches(mol, uniquify=False) if match != tuple(range(7))
    )
    swapped = ensemble.positions_A[0].copy()
    swapped[:7] = ensemble.positions_A[0][list(other)]
    twins = Ensemble(molecule, [ensemble.positions_A[0], swapped], energies_eV=[1.0, 0.0])
    assert len(relax.prune(twins, 0.1)) == 1
    assert relax.prune(twins, 0.1).energies_eV.tolist() == [0.0]  # type: ignore[union-attr]


@pytest.mark.skipif(importlib.util.find_spec("tblite") is None, reason="needs tblite")
def test_gfn2_relaxation() -> None:
    ensemble = sample("CO", 2, model="etkdg", relax="gfn2")
    assert ensemble.energies_eV is not None and np.ptp(ensemble.energies_eV) < 0.01
    assert np.linalg.norm(
        ensemble.positions_A[:, 0] - ensemble.positions_A[:, 1], axis=-1
    ) == pytest.approx(1.41, abs=0.02)


def test_gfn2_without_tblite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tblite.ase", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "equidrift\[xtb\]"'):
        sample("CO", model="etkdg", relax="gfn2")


def test_refine_keeps_what_fails_and_counts_it() -> None:
    ensemble = sample("CCO", 7, model="etkdg")
    refined = refine(ensemble, model="shrinker", batch_size=4)
    assert refined.provenance["refined"] == 4 and refined.provenance["kept_input"] == {
        BOND_LENGTH: 3
    }
    assert refined.provenance["refiner"] == refined.provenance["model"] == "shrinker"
    assert refined.provenance["input_model"] == "etkdg"
    np.testing.assert_array_equal(refined.positions_A[1], ensemble.positions_A[1])
    np.testing.assert_allclose(refined.positions_A[0], ensemble.positions_A[0] + 0.001)
    assert refined.valid is not None and refined.valid.all() and refined.energies_eV is None


def test_refine_marks_broken_input() -> None:
    good = sample("CCO", 2, model="etkdg")
    broken = good.replace(positions_A=good.positions_A * [[[1]], [[3]]])
    assert refine(broken, model="shrinker").valid.tolist() == [True, False]  # type: ignore[union-attr]


def test_refine_takes_hosts_objects() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDistGeom.EmbedMultipleConfs(mol, 3, randomSeed=1)
    assert len(refine(mol, model=Shrinker())) == 3
    images = sample("CCO", 2, model="etkdg").to_ase()
    assert isinstance(images[0], ase.Atoms) and len(refine(images, model=Shrinker())) == 2


def test_impossible_stereo_is_told_as_such_by_the_default() -> None:
    """A trans epoxide on cyclopentane: no draw is there to relax or refine."""
    with pytest.raises(NoValidSamplesError, match="too strained to exist; check the SMILES"):
        sample("C1C[C@H]2O[C@@H]2C1", 2)
