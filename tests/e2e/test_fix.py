"""`equidrift sample --fix` and `--restrain` on the command line: files in, files out,
resume, and what is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.engine import conformer_settings
from equidrift.engine import conformers as engine
from equidrift.files.ensembles import load, load_all
from tests.commands import Cli, caller


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run `equidrift sample ... --model etkdg-mmff` in a folder that holds core.sdf;
    its exit code, stdout and stderr.
    """
    monkeypatch.chdir(tmp_path)
    equidrift.sample("Oc1ccccc1", 1, model="etkdg-mmff", seed=2).save("core.sdf")

    whole = caller(monkeypatch, capsys)
    return lambda *arguments: whole("sample", *arguments, "--model", "etkdg-mmff")


def test_a_core_file_holds_in_every_molecule_that_has_it(cli: Cli) -> None:
    code, out, _ = cli(
        "CCOc1ccccc1",
        "CCO",
        "Oc1ccc(CCc2ccccc2)cc1",
        "-n",
        3,
        "--fix",
        "core.sdf",
        "-o",
        "x.sdf",
        "--json",
    )
    summary = json.loads(out)
    assert code == 1 and summary["molecules"] == 2 and summary["conformers"] == 6
    assert [f["title"] for f in summary["failures"]] == ["CCO"] and "no substructure" in summary[
        "failures"
    ][0]["error"]
    core = load("core.sdf").positions_A[0]
    ensembles = list(load_all("x.sdf"))
    assert len(ensembles) == 2
    for ensemble in ensembles:
        d = np.linalg.norm(ensemble.positions_A[:, :, None] - core[:7], axis=-1).min(1)
        assert d.max() < 1e-3, "an atom is where each heavy atom of the core is"


def test_notes_and_bad_input(cli: Cli) -> None:
    code, out, _ = cli("Oc1ccc(Cc2ccc(O)c(C)c2)cc1", "-n", 1, "--fix", "core.sdf", "-o", "x.sdf")
    assert code == 0 and "different ways" in out
    for arguments, message in (
        (["CCO", "--fix", "core.sdf"], "no substructure"),
        (["CCO", "--fix", "none.sdf"], "there is no file"),
        (["CCO", "--restrain", "core.sdf"], "expected `i j lower_A upper_A`"),
    ):
        code, out, err = cli(*arguments, "-o", "y.sdf")
        assert code == 2 and message in err and not Path("y.sdf").exists()


def test_restraints_are_in_the_file(cli: Cli) -> None:
    Path("noe.txt").write_text("0 5 3.0 4.5\n")
    code, _, _ = cli("CCCCCC", "-n", 2, "--restrain", "noe.txt", "-o", "x.sdf")
    text = Path("x.sdf").read_text()
    assert (
        code == 0
        and text.count(">  <restraints_satisfied>\n") == 2
        and text.count(">  <restraint_violation_A>\n") == 2
    )


def test_an_interrupted_run_goes_on_with_its_own_core_only(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformer_settings, "WINDOW", 4)
    command = ["CCOc1ccccc1", "-n", 12, "--fix", "core.sdf"]
    assert cli(*command, "-o", "whole.sdf")[0] == 0
    windows, stopped = engine.run_window, []

    def stop(*arguments: Any) -> None:
        if len(stopped) == 1:
            raise KeyboardInterrupt
        stopped.append(1)
        windows(*arguments)

    monkeypatch.setattr(engine, "run_window", stop)
    assert cli(*command, "-o", "torn.sdf")[0] == 130
    monkeypatch.setattr(engine, "run_window", windows)
    core = Path("core.sdf").read_text()
    equidrift.sample("Oc1ccccc1", 1, model="etkdg", seed=9).save("core.sdf")
    code, _, err = cli(*command, "-o", "torn.sdf")
    assert code == 2 and "--overwrite" in err, "another core is another run"
    Path("core.sdf").write_text(core)
    code, out, _ = cli(*command, "-o", "torn.sdf")
    assert code == 0 and "continued from conformer 4" in out
    assert Path("torn.sdf").read_bytes() == Path("whole.sdf").read_bytes()
