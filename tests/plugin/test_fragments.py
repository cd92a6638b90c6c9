"""The largest fragment of files that hold salts, and bonds told by a SMILES."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.records import Ensemble, Molecule, Trajectory
from tests.commands import Cli, caller

SALT = "CC(=O)[O-].[NH4+]"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return caller(monkeypatch, capsys)


def salt() -> Trajectory:
    """Six frames of an acetate beside an ammonium that drift."""
    molecule = Molecule.from_smiles(SALT)
    parts = [Molecule.from_smiles(part) for part in SALT.split(".")]
    places = [ETKDG().sample(part, np.arange(1))[0] for part in parts]
    rest = np.concatenate([places[0], places[1] + [6.0, 0.0, 0.0]])
    order = np.concatenate(
        [
            np.arange(4),
            [parts[0].n_atoms],
            np.arange(4, parts[0].n_atoms),
            np.arange(parts[0].n_atoms + 1, molecule.n_atoms),
        ]
    )
    frames = rest[order] + 0.02 * np.arange(6)[:, None, None] * [1.0, 0.0, 0.0]
    return Trajectory(molecule, frames, 5.0 * np.arange(6))


@pytest.mark.parametrize("suffix", [".npz", ".pdb"])
def test_trajectory_of_a_salt_is_read_as_its_largest_fragment(suffix: str, tmp_path: Path) -> None:
    given = salt()
    given.save(tmp_path / f"a{suffix}")
    acetate = equidrift.load_trajectory(tmp_path / f"a{suffix}", dt_fs=5.0, largest_fragment=True)
    assert acetate.molecule.charge == -1 and acetate.molecule.n_atoms == 7
    heavy = acetate.molecule.numbers > 1
    np.testing.assert_allclose(acetate.positions_A[:, heavy], given.positions_A[:, :4], atol=2e-3)


def test_forecast_is_of_the_largest_fragment_when_it_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    salt().save(tmp_path / "a.npz")
    options = ("--frames", 2, "--model", "last-frame", "-o", tmp_path / "b.npz")
    code, _, err = cli("forecast", tmp_path / "a.npz", *options, "--largest-fragment")
    assert code == 0, err
    assert equidrift.load_trajectory(tmp_path / "b.npz").molecule.charge == -1


@pytest.mark.parametrize("command", ["sample", "refine"])
def test_smiles_tells_the_bonds_of_a_pdb(command: str, cli: Cli, tmp_path: Path) -> None:
    molecule = Molecule.from_smiles("O=C([O-])c1ccncc1")
    Ensemble(molecule, ETKDG().sample(molecule, np.arange(1))).save(tmp_path / "a.pdb")
    lines = (tmp_path / "a.pdb").read_text().splitlines(keepends=True)
    bare = [line for line in lines if not line.startswith(("CONECT", "REMARK"))]
    (tmp_path / "a.pdb").write_text("".join(bare))
    out = tmp_path / "b.sdf"
    smiles = ("--smiles", "[O-]C(=O)c1ccncc1")
    code, _, err = cli(command, tmp_path / "a.pdb", *smiles, "-o", out)
    assert code == 0, err
    assert equidrift.load(out).molecule.charge == -1
    other = ("--smiles", "OCCO", "-o", tmp_path / "c.sdf")
    code, printed, err = cli(command, tmp_path / "a.pdb", *other)
    assert code == 2 and "SMILES" in printed + err
    assert not (tmp_path / "c.sdf").exists()


def test_smiles_beside_a_smiles_is_refused(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("sample", "CCO", "--smiles", "CCO", "-o", tmp_path / "a.sdf")
    assert code == 2 and "--smiles" in err and "is a SMILES itself" in err
