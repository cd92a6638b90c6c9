"""`embed_molecule_confs` behaves as RDKit's own function does."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from equidrift.adapters.rdkit.embed import embed_molecule_confs, prune_by_rms
from equidrift.errors import InputError, InputTypeError
from tests.doubles import Shaker


def positions(mol):
    return np.array([conformer.GetPositions() for conformer in mol.GetConformers()])


@pytest.fixture
def mol():
    return Chem.AddHs(Chem.MolFromSmiles("C[C@H](N)CCO"))


def test_adds_conformers_and_returns_ids(mol):
    ids = embed_molecule_confs(mol, 3, model="etkdg", randomSeed=0)
    assert ids == [0, 1, 2] and mol.GetNumConformers() == 3
    more = embed_molecule_confs(mol, 2, model="etkdg", randomSeed=1, clearConfs=False)
    assert more == [3, 4] and mol.GetNumConformers() == 5
    assert (
        embed_molecule_confs(mol, 1, model="etkdg", randomSeed=1) == [0]
        and mol.GetNumConformers() == 1
    )


def test_seeds_and_threads(mol):
    embed_molecule_confs(mol, 2, model="etkdg", randomSeed=0)
    first = positions(mol)
    embed_molecule_confs(mol, 2, model="etkdg", randomSeed=0, numThreads=2)
    np.testing.assert_array_equal(positions(mol), first)
    embed_molecule_confs(mol, 2, model="etkdg")
    unseeded = positions(mol)
    embed_molecule_confs(mol, 2, model="etkdg")
    assert np.abs(positions(mol) - unseeded).max() > 1e-3


def test_pruning_leaves_different_conformers(mol):
    ids = embed_molecule_confs(mol, 10, model="etkdg", randomSeed=0, pruneRmsThresh=1.0)
    assert 1 <= len(ids) < 10
    assert prune_by_rms(mol, 1.0) == list(range(len(ids)))


def test_bad_input(mol):
    with pytest.raises(InputError, match=r"Chem\.AddHs"):
        embed_molecule_confs(Chem.MolFromSmiles("CCO"), 1, model="etkdg")
    with pytest.raises(InputError, match=r"randomSeed must be 0 or more, or -1"):
        embed_molecule_confs(mol, 1, model="etkdg", randomSeed=-2)
    with pytest.raises(InputTypeError, match=r"must be an RDKit Mol"):
        embed_molecule_confs("CCO", 1, model="etkdg")


@pytest.mark.parametrize("broken", [0.9, 1.0])
def test_fewer_ids_come_back_if_the_model_finds_fewer(broken):
    """As RDKit's own: what it cannot embed is missing, and nothing is raised."""
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    embed_molecule_confs(mol, 1, model="etkdg", randomSeed=0)
    ids = embed_molecule_confs(mol, 20, model=Shaker(broken=broken), randomSeed=0, max_attempts=1)
    assert len(ids) < 20
    assert bool(ids) == (broken < 1)
    assert ids == list(range(mol.GetNumConformers()))
