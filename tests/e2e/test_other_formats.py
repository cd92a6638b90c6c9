"""Files of formats that nothing here reads are refused in one line that says how they
become ones that are read; and texts that are no file's name.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from openmm import app

import equidrift
from equidrift.errors import InputError
from equidrift.files.ensembles import load_all
from tests.commands import Cli, caller

COMMANDS = {
    "sample": ("sample", "{file}", "-o", "x.sdf"),
    "fix": ("sample", "CCO", "--fix", "{file}", "-o", "x.sdf"),
    "md": ("md", "{file}", "--time", "1ps", "-o", "x.xtc"),
    "md by force field": ("md", "{file}", "--forcefield", "amber14-all.xml", "-o", "x.xtc"),
    "refine": ("refine", "{file}", "-o", "x.sdf"),
    "forecast": ("forecast", "{file}", "--frames", 2, "-o", "x.npz"),
    "topology": ("forecast", "past.xtc", "--top", "{file}", "--frames", 2, "-o", "x.npz"),
    "generate": ("generate", "--fragment", "{file}", "-o", "x.sdf"),
}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


@pytest.mark.parametrize("suffix", [".cif", ".mmcif", ".CIF"])
@pytest.mark.parametrize("command", COMMANDS)
def test_mmcif_is_refused_with_the_way_to_pdb(command: str, suffix: str, cli: Cli) -> None:
    Path("past.xtc").write_bytes(b"")
    Path(f"in{suffix}").write_text("data_x\n")
    asked = [str(part).format(file=f"in{suffix}") for part in COMMANDS[command]]
    code, out, err = cli(*asked)
    told = " ".join((out + err).split())
    assert code == 2 and "app.PDBxFile('in.cif')" in told and "Traceback" not in told
    assert suffix.lower() in told and not list(Path().glob("x.*"))


def test_way_to_pdb_leads_to_a_file_that_is_read(tmp_path: Path) -> None:
    made = equidrift.sample("CC(=O)Nc1ccc(O)cc1", 1, model="etkdg")
    topology, positions = made.to_openmm()
    with open(tmp_path / "in.cif", "w") as stream:
        app.PDBxFile.writeFile(topology, positions[0], stream)
    read = app.PDBxFile(str(tmp_path / "in.cif"))
    with open(tmp_path / "in.pdb", "w") as stream:
        app.PDBFile.writeFile(read.topology, read.positions, stream)
    (again,) = load_all(tmp_path / "in.pdb")
    assert again.molecule.replace(name="") == made.molecule
    assert abs(again.positions_A - made.positions_A).max() < 2e-3


def test_file_that_is_missing_is_no_smiles(cli: Cli) -> None:
    code, out, err = cli("sample", "absent.cif", "-o", "x.sdf")
    assert code == 2 and "app.PDBxFile" in " ".join((out + err).split())


@pytest.mark.parametrize("smiles", ["C" * 300, "C" * 5000 + "(", "CC\0O"])
def test_text_that_is_no_name_of_a_file_is_a_smiles(smiles: str, cli: Cli) -> None:
    for asked in (
        ("sample", smiles, "--model", "etkdg", "-o", "x.sdf"),
        ("md", smiles, "--time", "1ps", "-o", "x.xtc"),
    ):
        code, out, err = cli(*asked)
        assert code == 2 and "Traceback" not in out + err
    Path("past.xtc").write_bytes(b"")
    code, out, err = cli("forecast", "past.xtc", "--top", smiles, "--frames", 2, "-o", "x.npz")
    assert code == 2 and "Traceback" not in out + err
    with pytest.raises(InputError):
        equidrift.load_trajectory("past.xtc", smiles)
