"""Every command: no input is written over, no file of somebody else without
--overwrite.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.commands import Cli, add_doubles, caller
from tests.conftest import make_ensemble

ASPIRIN = Path(__file__).parents[2] / "examples" / "data" / "aspirin.xtc"
SAMPLE = ("sample", "CCO", "-n", 2, "--model", "shaker")
REFINE = ("refine", "in.sdf")
FORECAST = ("forecast", "in.xtc", "--top", "in.pdb", "--frames", 2, "--model", "walker")
GENERATE = ("generate", "-n", 1, "--model", "baker")
MD = ("md", "CCCC", "--proposals", "none", "--time", "0.1ps")
COMMANDS = {
    "sample": (SAMPLE, "x.sdf"),
    "sample npz": (SAMPLE, "x.npz"),
    "refine": (REFINE, "x.sdf"),
    "forecast": (FORECAST, "x.xtc"),
    "generate": (GENERATE, "x.sdf"),
    "md": (MD, "x.xtc"),
}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command in a folder with inputs; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    add_doubles(monkeypatch)
    make_ensemble("imine").save("in.sdf")
    shutil.copy(ASPIRIN, "in.xtc")
    shutil.copy(ASPIRIN.with_suffix(".pdb"), "in.pdb")
    Path("in.smi").write_text("CCO\n")

    return caller(monkeypatch, capsys)


def files() -> dict[str, bytes]:
    """Names and contents of the folder; MDAnalysis' hidden offsets do not count here."""
    shown = [path for path in Path().iterdir() if not path.name.startswith(".in.xtc_offsets")]
    return {path.name: path.read_bytes() for path in shown}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_refuses_a_foreign_output_and_replaces_it_with_overwrite(
    name: str, cli: Cli
) -> None:
    command, output = COMMANDS[name]
    Path(output).write_text("precious")
    code, out, err = cli(*command, "-o", output)
    assert code == 2 and out == "" and "--overwrite" in err and err.count("\n") == 1
    assert Path(output).read_text() == "precious"
    code, _, err = cli(*command, "-o", output, "--overwrite")
    assert code == 0, err
    assert Path(output).read_bytes() != b"precious"


@pytest.mark.parametrize("name", COMMANDS)
def test_command_given_again_says_that_it_has_finished(name: str, cli: Cli) -> None:
    command, output = COMMANDS[name]
    assert cli(*command, "-o", output)[0] == 0
    before = Path(output).read_bytes()
    code, out, err = cli(*command, "-o", output, "--json")
    assert code == 0 and Path(output).read_bytes() == before, err
    told = json.loads(out)
    assert told["resumed_at_cycle"] == told["cycles"] if name == "md" else told["finished_before"]
    if name != "md":
        assert "this command had finished before" in cli(*command, "-o", output)[1]


@pytest.mark.parametrize("name", ["forecast", "md"])
def test_topology_never_replaces_a_file_beside_the_trajectory(name: str, cli: Cli) -> None:
    command, _ = COMMANDS[name]
    Path("x.pdb").write_text("precious")
    assert cli(*command, "-o", "x.xtc")[0] == 0
    assert Path("x.pdb").read_text() == "precious" and "HETATM" in Path("x.top.pdb").read_text()
    Path("y.top.pdb").write_text("precious")
    code, _, err = cli(*command, "-o", "y.xtc")
    assert code == 2 and "y.top.pdb" in err and Path("y.top.pdb").read_text() == "precious"


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "in.sdf", "-o", "in.sdf", "--model", "shaker"),
        ("sample", "CCO", "in.sdf", "-o", "link.sdf", "--model", "shaker"),
        ("sample", "CCN", "--fix", "in.sdf", "-o", "in.sdf", "--model", "etkdg-mmff"),
        ("refine", "in.sdf", "-o", "in.sdf"),
        ("refine", "in.sdf", "-o", "./in.sdf"),
        (
            "forecast",
            "in.xtc",
            "--top",
            "in.pdb",
            "--frames",
            2,
            "--model",
            "walker",
            "-o",
            "in.xtc",
        ),
        (
            "forecast",
            "in.xtc",
            "--top",
            "x.top.pdb",
            "--frames",
            2,
            "--model",
            "walker",
            "-o",
            "x.xtc",
        ),
        ("generate", "--fragment", "in.sdf", "--model", "baker", "-o", "in.sdf"),
        ("md", "x.top.pdb", "--proposals", "none", "--time", "0.1ps", "-o", "x.xtc"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:5])),
)
def test_command_never_writes_over_an_input(arguments: tuple[object, ...], cli: Cli) -> None:
    shutil.copy("in.pdb", "x.top.pdb")
    Path("link.sdf").symlink_to("in.sdf")
    before = files()
    for more in ((), ("--overwrite",)):
        code, out, err = cli(*arguments, *more)
        assert code == 2 and out == "" and "it is the input" in err, err
        assert files() == before


def test_md_goes_on_with_overwrite_until_it_has_finished(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equidrift.montecarlo import run as md

    command = ("md", "CCCC", "--proposals", "none", "--time", "1ps", "--overwrite", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(md, "SAVE_EVERY_S", -1.0)
        saves, save = [], md.ChainRun._save

        def interrupted(*arguments: object) -> None:
            save(*arguments)  # type: ignore[arg-type]
            saves.append(1)
            if len(saves) == 3:
                raise KeyboardInterrupt

        patch.setattr(md.ChainRun, "_save", interrupted)
        assert cli(*command, "-o", "x.xtc")[0] == 130
    told = json.loads(cli(*command, "-o", "x.xtc")[1])
    assert told["resumed_at_cycle"] == 2 and told["cycles"] == 5
    assert json.loads(cli(*command, "-o", "x.xtc")[1])["resumed_at_cycle"] == 0


@pytest.mark.parametrize(
    ("config", "there", "message"),
    [
        ("name: in\ndata: [in.sdf]\ninit: in.safetensors", "in.safetensors", "it is the input"),
        ("name: mine\ndata: [in.sdf]", "mine.safetensors", "exists and is no run of this command"),
        ("name: mine\ndata: [in.sdf]", "mine.json", "exists and is no run of this command"),
        ("name: c\ndata: [in.sdf]", "c.json", "exists and is no run of this command"),
        ("data: [in.sdf]", "my-model.safetensors", "exists and is no run of this command"),
    ],
)
def test_train_refuses_to_write_over_models(
    config: str, there: str, message: str, cli: Cli
) -> None:
    Path(there).write_text("precious")
    Path("c.yaml").write_text(f"task: refine\n{config}\n")
    before = files()
    code, out, err = cli("train", "conformers", "c.yaml", "-o", ".", "--budget", "1s")
    assert code == 2 and out == "" and message in err
    assert files() == before
