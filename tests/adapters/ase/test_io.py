"""ASE reads and writes our ensembles, and we write ASE's files without loss."""

from __future__ import annotations

import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase.cli.main import main
from ase.io.formats import ioformats

from equidrift.adapters.ase.atoms import ensemble_of
from equidrift.adapters.ase.io import molecule_of_file, write_ase
from equidrift.errors import InputError
from equidrift.files.npz import load_npz, save_npz
from tests.adapters.ase.test_atoms import assert_same
from tests.conftest import make_ensemble


def test_ase_reads_npz(ensemble, tmp_path):
    save_npz(ensemble, tmp_path / "a.npz")
    images = ase.io.read(tmp_path / "a.npz", ":")
    assert_same(ensemble_of(images), ensemble)
    assert ase.io.read(tmp_path / "a.npz").info["sample"] == 1
    assert ase.io.read(f"{tmp_path}/a.npz@0").info["sample"] == 0


def test_ase_gui_reads_npz_when_it_is_run_in_a_terminal(ensemble, tmp_path, capsys):
    save_npz(ensemble, tmp_path / "a.npz")
    main(args=["gui", "--terminal", "--graph", "i,d(0,1)", f"{tmp_path}/a.npz@:"])
    shown = np.loadtxt(capsys.readouterr().out.splitlines())
    x = ensemble.positions_A
    apart = np.linalg.norm(x[:, 0] - x[:, 1], axis=1)
    np.testing.assert_allclose(shown, np.c_[np.arange(len(x)), apart], atol=1e-6)


def test_ase_writes_npz(chiral, tmp_path):
    ase.io.write(tmp_path / "a.npz", chiral.to_ase())
    assert_same(load_npz(tmp_path / "a.npz"), chiral)
    ase.io.write(tmp_path / "b.dat", chiral.to_ase(), format="equidrift")
    assert len(load_npz(tmp_path / "b.dat")) == 2


@pytest.mark.parametrize(("suffix", "atol"), [("traj", 0.0), ("extxyz", 1e-8), ("xyz", 1e-8)])
def test_ase_formats_are_lossless(ensemble, tmp_path, suffix, atol):
    path = tmp_path / f"a.{suffix}"
    write_ase(ensemble, path)
    images = ase.io.read(path, ":")
    assert_same(ensemble_of(images), ensemble, atol)
    assert images[0].info["smiles"] == ensemble.molecule.smiles


@pytest.mark.parametrize(
    "name",
    [
        "",
        "12",
        "T",
        'a "quoted" name',
        "back\\slash 100%",
        "µ-methyl",
        "[1, 2]",
        "x=1",
        "two\nlines",
    ],
)
def test_any_name_survives_extended_xyz(chiral, tmp_path, name):
    named = chiral.replace(
        molecule=chiral.molecule.replace(name=name),
        provenance={"model": name, "path": {name: [name]}},
    )
    write_ase(named, tmp_path / "a.xyz")
    assert_same(ensemble_of(ase.io.read(tmp_path / "a.xyz", ":")), named, 1e-8)
    ase.io.write(tmp_path / "b.xyz", named.to_ase(), format="extxyz")
    assert_same(ensemble_of(ase.io.read(tmp_path / "b.xyz", ":")), named, 1e-8)


@pytest.mark.parametrize("suffix", ["traj", "extxyz", "xyz", "xyz.part"])
def test_pieces_make_the_whole(chiral, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    write_ase(chiral[:1], path)
    write_ase(chiral[1:], path, append=True, first_sample=1)
    images = ase.io.read(path, ":", format="traj" if suffix == "traj" else "extxyz")
    assert_same(ensemble_of(images), chiral, 1e-8)
    assert [atoms.info["sample"] for atoms in images] == [0, 1]


@pytest.mark.parametrize("suffix", ["traj", "xyz"])
def test_unwritable_path(chiral, tmp_path, suffix):
    with pytest.raises(InputError, match=r"give a path in a folder you can write to"):
        write_ase(chiral, tmp_path / "no" / f"a.{suffix}")


def test_broken_npz_says_so_through_ase(tmp_path):
    save_npz(make_ensemble("anion"), tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"truncated, damaged"):
        ase.io.read(tmp_path / "b.npz")


def test_the_entry_point_is_registered():
    assert ioformats["equidrift"].module_name == "equidrift.adapters.ase.io"


@pytest.mark.long
def test_the_entry_point_loads_neither_torch_nor_other_hosts():
    """And without a warning: ASE imports it while `ase.io.formats` is half loaded."""
    code = """
import sys, ase.io, equidrift.adapters.ase.io
print(sorted({'torch', 'rdkit', 'openmm', 'MDAnalysis'} & set(sys.modules)))"""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]" and "Failed to register" not in done.stderr


def test_energies_of_the_file_are_energies(chiral, tmp_path):
    chiral.save(tmp_path / "a.traj")
    np.testing.assert_allclose(
        [atoms.get_potential_energy() for atoms in ase.io.read(tmp_path / "a.traj", ":")],
        chiral.energies_eV,
    )


@pytest.mark.parametrize("symbol", ["8", "O1", "Ow"])
def test_xyz_is_refused_by_the_symbol_when_it_is_of_no_element(tmp_path, symbol):
    path = tmp_path / "a.xyz"
    path.write_text(f"3\nwater\n{symbol} 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    with pytest.raises(InputError, match=f"'{symbol}' is no symbol of an element; begin"):
        molecule_of_file(path)
