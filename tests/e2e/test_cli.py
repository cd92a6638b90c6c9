"""The command line, as a user or a script meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import equidrift
from equidrift import registry
from equidrift.cli import doctor, models, values
from equidrift.files.ensembles import load, load_all
from tests.commands import Cli, caller
from tests.conftest import MOLECULES, make_ensemble

IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry.CONFORMER_MODELS, "shaker", "tests.doubles:Shaker")
    monkeypatch.setitem(registry.REFINERS, "refine", "tests.doubles:Shrinker")

    return caller(monkeypatch, capsys)


@pytest.mark.long
def test_fifty_conformers_of_ibuprofen(cli: Cli) -> None:
    code, out, err = cli("sample", IBUPROFEN, "-n", 50, "-o", "ibuprofen.sdf", "--model", "etkdg")
    assert (
        code == 0
        and err == ""
        and out.startswith("50 conformers of 1 molecule by etkdg -> ibuprofen.sdf")
    )
    text = Path("ibuprofen.sdf").read_text()
    assert text.count("$$$$") == 50 and text.startswith(IBUPROFEN) and ">  <seed>" in text
    assert len(load("ibuprofen.sdf")) == 50
    assert [path.name for path in Path().iterdir()] == ["ibuprofen.sdf"]


def test_json_is_one_object(cli: Cli) -> None:
    code, out, err = cli(
        "sample",
        "CCO",
        "-n",
        9,
        "-o",
        "x.sdf",
        "--model",
        "shaker",
        "--set",
        "broken=0.5",
        "--seed",
        4,
        "--json",
    )
    summary = json.loads(out)
    assert code == 0 and err == "" and summary["conformers"] == 9 and summary["molecules"] == 1
    assert summary["drawn"] == 9 + sum(summary["rejected"].values()) > 9
    assert (
        summary["model"] == "shaker"
        and summary["seed"] == 4
        and summary["failures"] == []
        and summary["output"] == "x.sdf"
    )


def test_file_equals_the_api(cli: Cli) -> None:
    cli("sample", IBUPROFEN, "-n", 3, "-o", "x.npz", "--model", "etkdg", "--seed", 8)
    equidrift.sample(IBUPROFEN, 3, model="etkdg", seed=8).save("y.npz")
    assert Path("x.npz").read_bytes() == Path("y.npz").read_bytes()


def test_relax_and_prune(cli: Cli) -> None:
    code, out, _ = cli(
        "sample",
        IBUPROFEN,
        "-n",
        12,
        "-o",
        "x.sdf",
        "--model",
        "etkdg",
        "--relax",
        "mmff",
        "--prune",
        0.5,
        "--json",
    )
    summary = json.loads(out)
    assert code == 0 and summary["conformers"] + summary["pruned"] == 12 and summary["pruned"] > 0
    assert Path("x.sdf").read_text().count("energy_eV") == summary["conformers"]


@pytest.mark.long
def test_thousand_molecules_with_some_broken(cli: Cli) -> None:
    smiles = [value for name, value in MOLECULES.items()] * 55
    lines = [f"{value} m{k}" for k, value in enumerate(smiles[:1000])]
    lines[17], lines[500], lines[900] = "C( broken", "CC.O salt", "[CH3] radical"
    Path("in.smi").write_text("\n".join(lines) + "\n")
    code, out, _ = cli("sample", "in.smi", "-n", 2, "-o", "out.sdf", "--model", "shaker", "--json")
    summary = json.loads(out)
    assert code == 1 and summary["molecules"] == 997 and summary["conformers"] == 1994
    assert [(failure["index"], failure["title"]) for failure in summary["failures"]] == [
        (17, "broken"),
        (500, "salt"),
        (900, "radical"),
    ]
    assert Path("out.sdf").read_text().count("$$$$") == 1994


def test_sdf_with_one_broken_record(cli: Cli) -> None:
    make_ensemble("imine").save("in.sdf")
    good = Path("in.sdf").read_text().split("$$$$\n")[0]
    Path("in.sdf").write_text("$$$$\n".join([good, good.replace(" C  ", " Xx ", 1), good, ""]))
    code, out, _ = cli("sample", "in.sdf", "-n", 2, "-o", "out.sdf", "--model", "etkdg")
    assert code == 1 and out.startswith("4 conformers of 2 molecules") and "failed:" in out
    code, out, _ = cli("refine", "in.sdf", "-o", "refined.sdf", "--json")
    summary = json.loads(out)
    assert (
        code == 1 and summary["conformers"] == 2 and "record 2" in summary["failures"][0]["error"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "C(", "-o", "x.sdf"), "cannot read the SMILES 'C('"),
        (("sample", "CC.O", "-o", "x.sdf"), "2 fragments"),
        (("sample", "[CH3]", "-o", "x.sdf"), "is a radical"),
        (("sample", "C[Se]C", "-o", "x.sdf"), "unsupported element Se"),
        (("sample", "C" * 80, "-o", "x.sdf"), "too many atoms"),
        (
            ("sample", "CCO", "-n", "0", "-o", "x.sdf"),
            "-n must be an integer of 1 or more",
        ),
        (("sample", "CCO", "-o", "missing/x.sdf"), "there is no folder 'missing'"),
        (("sample", "CCO", "-o", "."), "unknown suffix"),
        (("sample", "CCO", "-o", "x.sdg"), "unknown suffix '.sdg'. Did you mean '.sdf'"),
        (
            ("sample", "CCO", "-o", "x.sdf", "--model", "shakr"),
            "unknown model 'shakr'. Did you mean 'shaker'",
        ),
        (
            ("sample", "CCO", "-o", "x.sdf", "--relax", "mmf"),
            "unknown relaxation 'mmf'. Did you mean 'mmff'",
        ),
        (
            ("sample", "CCO", "-o", "x.sdf", "--seed", "-1"),
            "--seed must be an integer from 0 to 2**63-1, not",
        ),
        (
            ("sample", "CCO", "-o", "x.sdf", "--prune", "-1"),
            "--prune must be a number of Å above 0",
        ),
        (("sample", "CCO", "-o", "x.sdf", "--set", "broken"), "--set takes KEY=VALUE"),
        (("sample", "CCO", "-o", "x.sdf", "--set", "nonsense=1"), "has no option 'nonsense'"),
        (
            ("sample", "CCO", "-o", "x.sdf", "-n", "20000", "--prune", "1"),
            "-n may be 10000 at most",
        ),
        (("sample", "missing.smi", "-o", "x.sdf"), "there is no file 'missing.smi'"),
        (("sample", "empty.smi", "-o", "x.sdf"), "'empty.smi' is empty"),
        (("sample", "blank.smi", "-o", "x.sdf"), "'blank.smi' holds no molecule"),
        (("sample", "CCO", "CCC", "-o", "x.npz"), "a .npz file holds one molecule"),
        (("sample", "CCO", "-n", "3", "-o", "x.sdf", "--set", "broken=1.0"), "0 of 3 conformers"),
        (("refine", "missing.sdf", "-o", "x.sdf"), "there is no file 'missing.sdf'"),
        (("refine", "blank.smi", "-o", "x.sdf"), "holds no molecule"),
        (("bench", "conformer"), "unknown benchmark 'conformer'. Did you mean 'conformers'"),
        (("train", "conformer", "x.yaml"), "unknown family 'conformer'. Did you mean 'conformers'"),
        (("train", "conformers", "x.yaml"), "there is no configuration 'x.yaml'"),
        (("train", "conformers", "bad.yaml"), "'bad.yaml' is no YAML"),
        (("train", "conformers", "list.yaml"), "must hold KEY: VALUE lines, not list"),
        (("train", "conformers", "good.yaml", "--budget", "5x"), "--budget must be a time above 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    cli: Cli, arguments: tuple[str, ...], message: str
) -> None:
    for name, text in {
        "empty.smi": "",
        "blank.smi": "\n# nothing\n",
        "bad.yaml": "a: [",
        "list.yaml": "- 1",
        "good.yaml": "a: 1",
    }.items():
        Path(name).write_text(text)
    before = sorted(Path().iterdir())
    model = ("--model", "shaker") if arguments[0] == "sample" and "--model" not in arguments else ()
    code, out, err = cli(*arguments, *model)
    assert code in (1, 2) and (code == 2) == ("broken=1.0" not in arguments)
    assert out == "" and message in err and err.count("\n") == 1 and err.startswith("equidrift: ")
    assert sorted(Path().iterdir()) == before, "nothing is left behind"


def test_valid_conformers_are_written_when_there_are_too_few(cli: Cli) -> None:
    command = ("sample", "CCO", "CCN", "-n", 20, "--set", "broken=0.8", "--max-attempts", 2)
    command += ("--model", "shaker", "--json")
    code, out, _ = cli(*command, "-o", "x.sdf")
    told = json.loads(out)
    assert code == 1 and 0 < told["conformers"] < 40 and told["molecules"] == 2
    assert [failure["written"] for failure in told["failures"]] == [
        len(e) for e in load_all("x.sdf")
    ]
    assert (
        "conformers of" in told["failures"][0]["error"]
        and "Rejected: " in told["failures"][0]["error"]
    )
    assert "these are written (--strict for all or none)" in cli(*command[:-1], "-o", "y.sdf")[1]
    code, out, _ = cli(*command, "-o", "none.sdf", "--strict")
    assert code == 2 and json.loads(out)["conformers"] == 0 and not Path("none.sdf").exists()


def test_unfinished_run_of_another_command(cli: Cli) -> None:
    Path("x.sdf.journal").write_text(
        json.dumps({"command": "other", "position": [0, 4], "size": 0, "summary": {}})
    )
    Path("x.sdf.part").write_text("")
    code, _, err = cli("sample", "CCO", "-o", "x.sdf", "--model", "shaker")
    assert code == 2 and "unfinished run of another command" in err and "--overwrite" in err
    code, _, _ = cli("sample", "CCO", "-o", "x.sdf", "--model", "shaker", "--overwrite")
    assert code == 0 and sorted(path.name for path in Path().iterdir()) == ["x.sdf"]


def test_usage_errors_exit_with_2(cli: Cli) -> None:
    assert cli("sample", "CCO")[0] == 2
    assert cli("sample", "CCO", "-o", "x.sdf", "-n", "many")[0] == 2
    assert cli("smple")[0] == 2


def test_refine_writes_every_molecule_and_counts_what_it_kept(cli: Cli) -> None:
    Path("in.smi").write_text("CCO\nCCN\n")
    cli("sample", "in.smi", "-n", 4, "-o", "in.sdf", "--model", "etkdg")
    code, out, _ = cli("refine", "in.sdf", "-o", "out.sdf")
    assert (
        code == 0
        and out.startswith("8 conformers of 2 molecules refined by refine -> out.sdf")
        and "bond length 4" in out
    )
    assert [len(ensemble) for ensemble in load_all("out.sdf")] == [4, 4]
    assert sorted(path.name for path in Path().iterdir()) == ["in.sdf", "in.smi", "out.sdf"]


def test_bench_shows_a_table_or_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"row": "qm9-test/etkdg", "values": {"AMR-R": 0.2341}},
        {"row": "qm9-test/refine", "values": {"AMR-P": 0.07, "calls": 4}},
    ]
    result = {"name": "conformers", "machine": {"cpu": "test"}, "commit": "abc", "rows": rows}
    monkeypatch.setitem(registry.BENCHMARKS, "conformers", "tests.e2e.test_cli:fake_bench")
    monkeypatch.setattr(
        sys.modules[__name__],
        "fake_bench",
        lambda full, progress: {**result, "full": full},
        raising=False,
    )
    code, out, _ = cli("bench", "conformers", "--full", "--json")
    assert code == 0 and json.loads(out) == {**result, "full": True}
    code, out, _ = cli("bench", "conformers")
    assert (
        code == 0
        and "0.2341" in out
        and "qm9-test/refine" in out
        and "machine: cpu test; commit abc" in out
    )


def test_train_hands_over(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setitem(registry.TRAININGS, "conformers", "tests.e2e.test_cli:fake_train")
    monkeypatch.setattr(
        sys.modules[__name__],
        "fake_train",
        lambda **given: calls.append(given) or {"loss": 0.5},
        raising=False,
    )
    Path("mine.yaml").write_text("data: mine.sdf\nsteps: 10\n")
    code, out, _ = cli("train", "conformers", "mine.yaml", "--budget", "2m", "--resume", "--json")
    assert code == 0 and json.loads(out)["loss"] == 0.5
    assert (
        calls[0]["config"] == {"data": "mine.sdf", "steps": 10}
        and calls[0]["budget_s"] == 120
        and calls[0]["resume"] is True
    )
    assert calls[0]["out"] == Path("runs/mine")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("25m", 1500), ("2h", 7200), ("10", 10), ("1.5m", 90)]
)
def test_budget_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert values.DURATION_S.parser(text) == seconds


def test_models_lists_names_and_cards(cli: Cli) -> None:
    code, out, _ = cli("models", "--json")
    listed = json.loads(out)
    assert (
        code == 0 and {"default", "etkdg"} <= set(listed["sample"]) and "refine" in listed["refine"]
    )
    assert all(set(models.COLUMNS) - {"training data"} <= set(card) for card in listed["cards"])
    code, out, _ = cli("models")
    assert code == 0 and "equidrift sample --model default: " in out
    code, out, _ = cli("models", "atom-charges")
    assert code == 0 and "elements: H C N O F; units: A, e" in out


def test_doctor_finds_everything(cli: Cli) -> None:
    code, out, err = cli("doctor", "--json")
    report = json.loads(out)
    assert code == 0 and report["ok"] and err == "", [
        finding for finding in report["findings"] if finding["state"] == "broken"
    ]
    assert {"openmm: platforms", "ase: entry point and Atoms", "equidrift"} <= {
        finding["what"] for finding in report["findings"]
    }


def test_doctor_reports_what_is_broken(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise ImportError("libGL [not found]")

    monkeypatch.setattr(doctor, "_rdkit", fail)
    monkeypatch.setattr(doctor, "weights_found", lambda: iter(()))
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such-package": "xtb"})
    code, out, _ = cli("doctor")
    assert code == 1 and "libGL [not found]" in out and 'pip install "equidrift[xtb]"' in out


@pytest.mark.long
def test_help_and_version() -> None:
    """Through the interpreter, as the console script does it."""
    start = [sys.executable, "-m", "equidrift.cli.main"]
    help_text = subprocess.run(
        [*start, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(
        command in help_text
        for command in ("sample", "refine", "train", "bench", "models", "doctor")
    )
    version = subprocess.run(
        [*start, "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert version == f"equidrift {equidrift.__version__}\n"


def test_conformers_are_sorted_by_energy_within_a_window(cli: Cli) -> None:
    asked = ("--sort", "energy", "--window", 2, "-o", "x.npz")
    code, _, err = cli("sample", "CCCCO", "-n", 12, *asked)
    assert code == 0, err
    relative = load("x.npz").scores["relative_energy_kcal_mol"]
    assert 2 <= len(relative) <= 12
    assert relative[0] == 0 and relative.max() <= 2
    assert relative.tolist() == sorted(relative.tolist())
    assert cli("sample", "CCCCO", "--sort", "size", "-o", "y.sdf")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "CCO", "--model", "shaker", "--charge", 3), "charge=+3, but"),
        (("sample", "in.sdf", "--model", "shaker", "--charge", 3), "charge=+3, but"),
        (("refine", "in.sdf", "--charge", 3), "charge=+3, but"),
        (("refine", "in.npz", "--charge", 3), "charge=+3, but"),
        (("refine", "in.sdf", "--top", "CCO"), "a .sdf file holds its bonds; top= (--top)"),
        (("refine", "in.npz", "--top", "CCO"), "a .npz file holds its bonds; top= (--top)"),
        (("refine", "in.sdf", "--smiles", "CCO"), "(--smiles) is for .pdb and .xyz"),
        (("sample", "CCO", "--smiles", "CCN"), "--smiles tells the bonds of a .pdb file"),
    ],
    ids=str,
)
def test_option_that_the_input_contradicts_is_refused_not_ignored(
    arguments: tuple[object, ...], message: str, cli: Cli
) -> None:
    make_ensemble("imine").save("in.sdf")
    make_ensemble("imine").save("in.npz")
    code, out, err = cli(*arguments, "-o", "x.sdf")
    assert code == 2 and message in out + err, out + err
    assert not Path("x.sdf").exists()
