"""Ensembles in .npz files, and records as JSON values: lossless, without pickles, and
loud where a file is broken.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from equidrift.errors import InputError, InputTypeError
from equidrift.files.npz import FORMAT, load_npz, save_npz
from equidrift.files.plain import molecule_from_dict, molecule_to_dict, plain
from tests.conftest import make_ensemble


def test_round_trip(ensemble, tmp_path):
    n = ensemble.molecule.n_atoms
    named = ensemble.molecule.replace(
        atom_names=("A",) * n, residue_names=("R",) * n, residue_ids=tuple(range(n))
    )
    full = ensemble.replace(
        molecule=named, log_prob=np.array([-1.0, np.nan]), valid=np.array([True, False])
    )
    save_npz(full, tmp_path / "a.npz")
    back = load_npz(tmp_path / "a.npz")
    assert molecule_to_dict(back.molecule) == molecule_to_dict(named)
    for field in ("positions_A", "seeds", "log_prob", "energies_eV", "valid"):
        np.testing.assert_array_equal(getattr(back, field), getattr(full, field))
    assert back.scores["clash"].tolist() == [0.0, 1.5] and dict(back.provenance) == dict(
        full.provenance
    )


def test_same_bytes_and_nothing_left_over(chiral, tmp_path):
    save_npz(chiral, tmp_path / "a.npz")
    save_npz(chiral, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b.npz"]


def test_the_header_is_json_and_nothing_is_pickled(chiral, tmp_path):
    save_npz(chiral, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert json.loads(str(archive["header"]))["format"] == FORMAT
        assert all(archive[name].dtype != object for name in archive.files)


def test_truncated_and_tampered_files(chiral, tmp_path):
    save_npz(chiral, tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    for k, broken in enumerate(
        (b"", whole[:10], whole[: len(whole) // 2], whole[:-5], b"not a zip at all")
    ):
        path = tmp_path / f"{k}.npz"
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"is truncated, damaged or no \.npz file"):
            load_npz(path)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        info = archive.getinfo("positions_A.npy")
    changed = bytearray(whole)
    changed[info.header_offset + 80] ^= 255
    (tmp_path / "c.npz").write_bytes(changed)
    with pytest.raises(InputError, match=r"is truncated, damaged or no \.npz file"):
        load_npz(tmp_path / "c.npz")


def test_other_files(chiral, tmp_path):
    with pytest.raises(InputError, match=r"there is no file"):
        load_npz(tmp_path / "none.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"no \.npz file"):
        load_npz(tmp_path / "one.npy")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match=r"does not hold an ensemble of equidrift's"):
        load_npz(tmp_path / "other.npz")
    np.savez(
        tmp_path / "newer.npz", header=np.array(json.dumps({"format": "equidrift-ensemble-9"}))
    )
    with pytest.raises(InputError, match=r"a newer equidrift may read it"):
        load_npz(tmp_path / "newer.npz")
    with pytest.raises(InputError, match=r"give a path in a folder you can write to"):
        save_npz(chiral, tmp_path / "no" / "a.npz")


def test_a_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", header=np.array([{"a": 1}], object))
    with pytest.raises(InputError, match=r"has the type object"):
        load_npz(tmp_path / "a.npz")


def test_plain_values():
    value = {"a": np.float64(1.5), "b": np.arange(2), 3: (Path("x"), {1}), "c": None, "d": True}
    assert plain(value) == {"a": 1.5, "b": [0, 1], "3": ["x", [1]], "c": None, "d": True}
    with pytest.raises(InputTypeError, match=r"cannot store a object as JSON"):
        plain({"a": [object()]})


def test_molecule_dict(ensemble):
    data = json.loads(json.dumps(molecule_to_dict(ensemble.molecule)))
    assert molecule_from_dict(data) == ensemble.molecule
    with pytest.raises(
        InputError, match="the field 'bonds' is missing; the field 'bond' is unknown"
    ):
        molecule_from_dict(
            {("bond" if key == "bonds" else key): value for key, value in data.items()}
        )


def test_fixture_is_what_it_says():
    assert np.isfinite(make_ensemble("ibuprofen").positions_A).all()
