"""Ensembles in ASE's databases: pairs to search by, and everything back."""

from __future__ import annotations

import ase.db
import numpy as np
import pytest
from ase import Atoms

import equidrift
from equidrift.adapters.ase.database import read_rows, write_rows
from equidrift.errors import InputError
from tests.contract.host import full_ensemble


@pytest.fixture(params=["a.db", "a.json"])
def path(request, tmp_path):
    return str(tmp_path / request.param)


@pytest.mark.parametrize("kind", ["centres", "double bond", "zwitterion", "atom numbers"])
def test_all_of_an_ensemble_comes_back(path, kind):
    ensemble = full_ensemble(kind)
    assert write_rows(path, ensemble) == [1, 2]
    (read,) = read_rows(path)
    assert read.molecule.entry() == ensemble.molecule.entry()
    assert read.properties == ensemble.properties
    for name in ("positions_A", "seeds", "energies_eV", "log_prob", "valid"):
        np.testing.assert_allclose(getattr(read, name), getattr(ensemble, name), atol=1e-6)
    np.testing.assert_allclose(read.scores["clash"], ensemble.scores["clash"])


def test_rows_are_found_by_scores_energies_and_own_pairs(path):
    for smiles in ("CCO", "CCCO"):
        write_rows(path, equidrift.sample(smiles, 3, model="etkdg", relax="mmff"), project="a")
    write_rows(path, equidrift.sample("CCN", 1, model="etkdg"), project="b")
    database = ase.db.connect(path)
    assert database.count("project=a") == 6
    near = list(database.select("project=a,relative_energy_kcal_mol<0.001"))
    assert {row.smiles for row in near} == {"CCO", "CCCO"}
    assert all(np.isfinite(row.energy) for row in near)
    assert [len(ensemble) for ensemble in read_rows(path, "project=a")] == [3, 3]


def test_text_that_looks_like_a_number_is_kept_beside_the_pairs(path):
    """ASE refuses such pairs, and warns at keys that are formulas."""
    ensemble = equidrift.sample("CCO", 1, model="etkdg")
    ensemble = ensemble.replace(
        molecule=ensemble.molecule.replace(name="1234"), scores={"CO": [1.0], "energy": [2.0]}
    )
    write_rows(path, ensemble)
    row = ase.db.connect(path).get(1)
    assert not {"name", "CO", "energy"} & set(row.key_value_pairs)
    (read,) = read_rows(path)
    assert read.molecule.name == "1234"
    assert set(read.scores) == {"CO", "energy"}


@pytest.mark.parametrize("pair", [{"energy": 1.0}, {"tag": "12"}, {"not a word": 1}, {"x": np.nan}])
def test_pair_that_ase_does_not_take_is_refused_before_anything_is_written(path, pair):
    ensemble = equidrift.sample("CCO", 1, model="etkdg")
    with pytest.raises(InputError, match="do not take the pair"):
        write_rows(path, ensemble, **pair)
    assert ase.db.connect(path).count() == 0


def test_row_of_somebody_else_is_refused_by_its_id(path):
    ase.db.connect(path).write(Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]))
    with pytest.raises(InputError, match="row 1 was not written by write_rows"):
        list(read_rows(path))
