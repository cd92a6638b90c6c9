"""The largest fragment of files that hold salts, and bonds told by a SMILES."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.montecarlo.plan import Plan
from equidrift.montecarlo.target import ChainSettings
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


# equidrift md ---------------------------------------------------------------------------

SHORT = ("--proposals", "none", "--time", "0.2ps", "--md-steps", 10, "--json")


def test_md_is_of_the_largest_fragment_when_it_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    both = salt()
    Ensemble(both.molecule, both.positions_A[:1]).save(tmp_path / "a.sdf")
    for what in (SALT, tmp_path / "a.sdf"):
        out = tmp_path / "b.xtc"
        code, _, err = cli("md", what, *SHORT, "--largest-fragment", "-o", out, "--overwrite")
        assert code == 0, err
        read = equidrift.load_trajectory(out, "CC(=O)[O-]", dt_fs=20.0)
        assert read.molecule.n_atoms == 7


def test_md_in_force_field_files_is_of_the_largest_fragment(cli: Cli, tmp_path: Path) -> None:
    """A dipeptide beside a water, in amber."""
    (path,) = (Path(__file__).parents[1] / "data" / "cases").glob("*/gly_icode.pdb")
    lines = path.read_text().splitlines(keepends=True)
    atoms = [line for line in lines if line.startswith(("ATOM", "HETATM"))]
    water = [
        f"HETATM{len(atoms) + k + 1:5d} {name:<4s} HOH B 900    {x:8.3f}{y:8.3f}{30.0:8.3f}"
        f"  1.00  0.00          {name[1]:>2s}\n"
        for k, (name, x, y) in enumerate(
            ((" O", 30.0, 30.0), (" H1", 30.957, 30.0), (" H2", 29.76, 30.927))
        )
    ]
    end = [k for k, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))][-1] + 1
    (tmp_path / "wet.pdb").write_text("".join([*lines[:end], "TER\n", *water, "END\n"]))
    fields = ("--forcefield", "amber14-all.xml,amber14/tip3p.xml")
    out = tmp_path / "a.xtc"
    code, _, err = cli("md", tmp_path / "wet.pdb", *fields, *SHORT, "--largest-fragment", "-o", out)
    assert code == 0, err
    names = [line for line in (tmp_path / "a.top.pdb").read_text().splitlines() if "HOH" in line]
    count = sum(
        line.startswith(("ATOM", "HETATM"))
        for line in (tmp_path / "a.top.pdb").read_text().splitlines()
    )
    assert names == [] and count == len(atoms)


def test_md_takes_the_bonds_of_a_pdb_from_a_smiles(cli: Cli, tmp_path: Path) -> None:
    molecule = Molecule.from_smiles("O=C([O-])c1ccncc1")
    Ensemble(molecule, ETKDG().sample(molecule, np.arange(1))).save(tmp_path / "a.pdb")
    lines = (tmp_path / "a.pdb").read_text().splitlines(keepends=True)
    bare = [line for line in lines if not line.startswith(("CONECT", "REMARK"))]
    (tmp_path / "a.pdb").write_text("".join(bare))
    out = tmp_path / "b.xtc"
    smiles = ("--smiles", "[O-]C(=O)c1ccncc1")
    code, _, err = cli("md", tmp_path / "a.pdb", *SHORT, *smiles, "-o", out)
    assert code == 0, err
    for options, message in (
        (("CCO", "--smiles", "CCO"), "is a SMILES itself"),
        ((tmp_path / "a.pdb", "--smiles", "OCCO"), "SMILES"),
        ((tmp_path / "a.pdb", *smiles, "--forcefield", "amber14-all.xml"), "--smiles"),
    ):
        code, printed, err = cli("md", *options, *SHORT, "-o", tmp_path / "c.xtc")
        assert code == 2 and message in printed + err
        assert not (tmp_path / "c.xtc").exists()


def test_settings_that_older_versions_did_not_know_change_no_identity(tmp_path: Path) -> None:
    """A checkpoint of a run without them goes on."""
    plain = Plan("CCCO", tmp_path / "a.xtc", 1.0, ChainSettings(proposals="none"))
    known = {"charge": None, "smiles": None, "largest_fragment": False}
    assert Plan(
        "CCCO", tmp_path / "a.xtc", 1.0, ChainSettings(proposals="none", **known)
    ).identity == (plain.identity)
    stored = "f8c350adbc77bd0cb0d8799fc7e9de614e16247d8bf1b757c9b76addac9157a8"
    assert plain.identity == stored
    for name, value in {"charge": 1, "smiles": "CCCO", "largest_fragment": True}.items():
        other = ChainSettings(proposals="none", **{name: value})
        assert Plan("CCCO", tmp_path / "a.xtc", 1.0, other).identity != plain.identity
