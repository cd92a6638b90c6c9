"""Files that a stranger brings: refused in a line, or read with nothing lost."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from rdkit import Chem

from equidrift.adapters.ase.atoms import from_atoms
from equidrift.adapters.rdkit.molecule import from_mol
from equidrift.cli import sample_run
from equidrift.errors import MoleculeError
from equidrift.files.ensembles import load_all
from tests.commands import Cli, add_doubles, caller

LIST = """
  list of elements

  2  1  1  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 L   0  0
    1.5000    0.0000    0.0000 C   0  0
  1  2  1  0
  1 F    2   6   7
M  ALS   1  2 F C   N{blanks}
M  END
""".replace("{blanks}", "   ")  # columns of the second element
ANY_BOND = """
  a bond of any order

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.5000    0.0000    0.0000 C   0  0
  1  2  8  0
M  END
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    add_doubles(monkeypatch)
    return caller(monkeypatch, capsys)


@pytest.mark.parametrize(("block", "place"), [(LIST, ""), (ANY_BOND, "C0~C1")])
def test_query_of_a_mol_block_is_refused_with_its_place(block: str, place: str) -> None:
    mol = Chem.MolFromMolBlock(block)
    with pytest.raises(MoleculeError, match=rf"query atom.*{place}"):
        from_mol(mol)


def test_query_is_refused_by_the_command(cli: Cli) -> None:
    Path("a.mol").write_text(ANY_BOND)
    code, out, err = cli("sample", "a.mol", "--model", "shaker", "-o", "x.sdf")
    assert code == 2 and "query atoms or bonds" in err and "Traceback" not in out + err
    code, _, err = cli("sample", "C~C", "--model", "shaker", "-o", "x.sdf")
    assert code == 2 and "query atoms or bonds" in err


def test_molecules_without_queries_are_read_as_before() -> None:
    for smiles in ("CCO", "[2H]C", "[13CH4]", "c1ccccc1", "[NH3]->[B]", "C[N+](C)(C)C"):
        mol = Chem.MolFromSmiles(smiles)
        assert from_mol(mol).n_atoms == Chem.AddHs(mol).GetNumAtoms()
    assert from_mol(Chem.MolFromMolBlock(Chem.MolToMolBlock(Chem.MolFromSmiles("CCO")))).n_atoms


def test_frame_without_atoms_is_refused(cli: Cli) -> None:
    with pytest.raises(MoleculeError, match="there are no atoms"):
        from_atoms(Atoms(numbers=np.zeros(0, int), positions=np.zeros((0, 3))))
    Path("a.xyz").write_text("0\n\n")
    code, out, err = cli("refine", "a.xyz", "-o", "x.sdf")
    assert code == 2 and "Traceback" not in out + err and len((out + err).split("\n")) < 8


@pytest.mark.parametrize("path", [None, "x.sdf.part"])
def test_error_of_the_disk_is_one_line(
    path: str | None, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(sample_run, "open_gathering", full)
    monkeypatch.setattr("equidrift.files.stream.open_stream", full)
    monkeypatch.setattr(Path, "mkdir", full)
    code, _, err = cli("sample", "CCO", "--model", "shaker", "-o", "x.npz")
    assert code == 1 and err.count("\n") == 1 and "No space left on device" in err
    assert (path is None) or path in err


def test_long_title_is_shown_by_its_beginning(cli: Cli) -> None:
    Path("a.smi").write_text("CCO " + "n" * 20_000 + "\nCCC good\n")
    code, out, err = cli("sample", "a.smi", "--model", "shaker", "-o", "x.sdf")
    assert code == 1 and "nnn...: name has 20000 characters" in " ".join((out + err).split())
    assert max(map(len, (out + err).splitlines())) < 400
    assert [ensemble.molecule.name for ensemble in load_all("x.sdf")] == ["good"]
