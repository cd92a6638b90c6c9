"""Every option of every command: a bad value is exit code 2 and one line that names the
option, what came and what is allowed.

The options are asked of the commands themselves: one without a case here fails.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer.main

from equidrift.cli.main import build
from tests.commands import Cli, add_doubles, caller
from tests.conftest import make_ensemble

ASPIRIN = Path(__file__).parents[2] / "examples" / "data" / "aspirin.xtc"
COUNT = [("0", "1 or more"), ("1.5", "an integer"), ("many", "an integer")]
SEED = [("-1", "from 0 to 2**63-1"), (str(2**63), "from 0 to 2**63-1"), ("x", "an integer")]
OUTPUT = [("x.nonsense", ".sdf"), ("none/x.sdf", "no folder"), ("folder.sdf", "name of a file")]
MODEL = [("nonsense", "Known: "), ("none.safetensors", "no file"), ("none.json", "no file")]
RELAX = [("mmf", "Did you mean 'mmff'?")]
SET = [("colour", "takes KEY=VALUE"), ("colour=red", "colour"), ("x=[", "x=[")]
CHARGE = [("one", "an integer"), ("0.5", "an integer")]
SMILES = [("C(", "cannot read the SMILES")]
TOP = [("none.pdb", "no file"), ("C(", "cannot read the SMILES")]
CORE = [("none.sdf", ".sdf, .mol or .pdb"), ("words.sdf", "words.sdf")]
SHARED: dict[str, list[tuple[str, str]]] = {
    "seed": SEED,
    "steps": COUNT,
    "batch_size": COUNT,
    "max_attempts": COUNT,
    "n": COUNT,
    "threads": COUNT,
    "workers": COUNT,
    "shard": [("0/4", "k/K"), ("5/4", "k/K"), ("1", "k/K"), ("a/b", "k/K")],
    "ray": [("nowhere", "auto, HOST:PORT or ray://HOST:PORT"), ("host:x", "HOST:PORT")],
    "gpus_per_task": [("-1", "0 or more"), ("nan", "0 or more")],
    "store": [("nowhere://x", "--ray")],
    "relax": RELAX,
    "set_": SET,
    "device": [("gpu", "give cpu, cuda"), ("cuda:x", "give cpu, cuda")],
    "charge": CHARGE,
    "smiles": SMILES,
    "model": MODEL,
    "output": OUTPUT,
    "top": TOP,
}
# command -> (what is right, of each option its bad values, each with words of the message)
PICTURE = [("x.pdf", ".png"), ("none/x.png", "no folder")]
TIME = [("5", "fs, ps, ns"), ("x", "fs, ps, ns"), ("0ps", "0"), ("-1ps", "-1ps")]
CASES: dict[str, tuple[tuple[str, ...], dict[str, list[tuple[str, str]]]]] = {
    "sample": (
        ("in.pdb", "-o", "x.sdf", "--model", "shaker"),
        {
            "inputs": [("none.sdf", "no file"), ("C(", "cannot read the SMILES")],
            "prune": [("0", "Å above 0"), ("nan", "Å above 0"), ("close", "Å above 0")],
            "preset": [("quick", "Known: docking, ensemble, fast, macrocycle")],
            "effort": [("0", "from 1 to 20"), ("21", "from 1 to 20"), ("x", "an integer")],
            "select": [("best", "Known: ")],
            "solvent": [("nonsense", "nonsense")],
            "sort": [("size", "Known: energy")],
            "window": [("-1", "kcal/mol above 0"), ("inf", "kcal/mol above 0")],
            "fix": CORE,
            "restrain": [("none.txt", "i j lower upper"), ("words.sdf", "words.sdf")],
            "stereo": [("some", "Known: any, enumerate, require")],
            "timeout": [("0", "s above 0"), ("nan", "s above 0")],
        },
    ),
    "refine": (
        ("in.sdf", "-o", "x.sdf", "--model", "shrinker"),
        {"file": [("none.sdf", "no file")]},
    ),
    "forecast": (
        ("in.xtc", "--top", "in.pdb", "--frames", "2", "-o", "x.xtc", "--model", "walker"),
        {
            "trajectory": [("none.xtc", "no file"), ("folder.sdf", "folder")],
            "output": [("x.sdf", ".xtc"), ("none/x.xtc", "no folder")],
            "frames": COUNT,
            "every": [
                ("0", "above 0"),
                ("-1", "such as 200ps"),
                ("2ms", "such as 200ps"),
                ("0ps", "above 0"),
                ("11fs", "no multiple of the"),
            ],
            "level": [("0", "above 0 and at most 1"), ("1.5", "at most 1"), ("nan", "at most 1")],
            "broken": [("mend", "Known: redraw, report")],
            "stride": COUNT,
            "dt": [("0", "fs above 0"), ("nan", "fs above 0"), ("5fs", "fs above 0")],
        },
    ),
    "generate": (
        ("-o", "x.sdf", "--model", "baker"),
        {
            "target": [
                ("gap_eV", "takes PROPERTY=VALUE"),
                ("gap_eV=big", "no number"),
                ("gap_eV=nan", "nan"),
                ("gap_eV=99", "4 to 10"),
                ("gap=7", "Did you mean 'gap_eV'"),
                ("loqP<3", "Did you mean 'logP'"),
                ("QED=best", "'max', 'min'"),
                ("TPSA<-1", "0 or more"),
            ],
            "guidance": [("-1", "0 or more"), ("nan", "0 or more"), ("2", "--target")],
            "judge": [("nonsense", "Known: gfn2, network, rdkit")],
            "candidates": [*COUNT, ("4", "which of them is best")],
            "fragment": CORE,
            "replace": [("[OH]", "--fragment")],
            "pocket": [("none.pdb", ".pdb, .sdf or .mol2"), ("words.sdf", "words.sdf")],
            "centre": [("1,2", "three numbers"), ("1,2,3", "--pocket")],
            "ligand": [("none.sdf", "no file"), ("in.sdf", "--pocket")],
            "pull": [("-1", "0 or more"), ("2", "--pocket")],
            "spectrum": [
                ("none.csv", "two columns"),
                ("folder.sdf", "two columns"),
                ("words.sdf", "holds no numbers"),
                ("ir.csv", "'baker' takes no spectrum"),
            ],
        },
    ),
    "md": (
        ("in.pdb", "-o", "x.xtc", "--time", "1ps"),
        {
            "what": [("none.pdb", "no file"), ("C(", "cannot read the SMILES")],
            "output": [("x.sdf", ".xtc"), ("none/x.xtc", "no folder")],
            "time": TIME,
            "temperature": [("0", "K"), ("nan", "K"), ("warm", "K")],
            "proposals": [("nonsense", "torsion")],
            "forcefield": [("none.xml", "none.xml")],
            "timestep": TIME,
            "friction": [("-1", "1/ps"), ("nan", "1/ps")],
            "constraints": [("some", "HBonds")],
            "md_steps": COUNT,
            "plot": PICTURE,
            "n_proposals": COUNT,
            "adapt": TIME[:2],
            "interval": TIME,
            "platform": [("nonsense", "CPU")],
            "chains": COUNT,
        },
    ),
    "align": (
        ("in.sdf", "in.sdf", "-o", "x.sdf"),
        {
            "moved": [("none.sdf", "no file"), ("folder.sdf", "folder")],
            "fixed": [("none.sdf", "no file"), ("words.sdf", "words.sdf")],
            "starts": COUNT,
        },
    ),
    "place": (
        ("CCO", "--pocket", "in.sdf", "-o", "x.sdf"),
        {
            "ligand": [("none.sdf", "no file"), ("C(", "cannot read the SMILES")],
            "pocket": [("none.pdb", "no file"), ("folder.sdf", "folder")],
            "centre": [("1,2", "three numbers"), ("1,2,x", "three numbers")],
            "radius": [("0", "Å above 0"), ("nan", "Å above 0")],
            "starts": COUNT,
            "conformers": COUNT,
            "chain": COUNT,
            "temperature": [("0", "K"), ("nan", "K"), ("warm", "K")],
        },
    ),
    "train": (
        ("conformers", "ours.yaml"),
        {
            "family": [("conformer", "Did you mean 'conformers'")],
            "config": [("none.yaml", "no configuration"), ("words.sdf", "KEY: VALUE")],
            "output": [("words.sdf", "name of a folder")],
            "budget": [("5x", "90s, 25m or 2h"), ("0s", "90s, 25m or 2h"), ("-1", "90s")],
        },
    ),
    "bench": (
        ("conformers",),
        {
            "name": [("conformer", "Did you mean 'conformers'")],
            "plot": PICTURE,
            "drugs": [("none", "an option of molecules; not of conformers")],
            "parts": [("replaced", "Known: drugs"), ("qm9,", "Known: drugs")],
            "into": [("none/x.json", "no folder"), ("words.sdf", "no result of")],
            "references": [("none.sdf", "an option of rivals")],
            "molecules": [("none.smi", "an option of rivals")],
        },
    ),
    "merge": (
        ("in.sdf",),
        {
            "folders": [("none.sdf", "no shards"), ("folder.sdf", "no folder of shards")],
            "output": [("none/x.sdf", "no folder"), ("x.doc", ".sdf")],
        },
    ),
    "status": (("in.sdf",), {"folders": [("none.sdf", "no shards"), ("in.sdf", "no shards")]}),
    "report": (
        ("in.sdf", "-o", "x.html"),
        {
            "results": [("none.sdf", "no file")],
            "output": [("x.sdf", ".html"), ("none/x.html", "no folder")],
            "details": [("-1", "0 or more"), ("many", "0 or more")],
            "dt": [("0", "fs above 0"), ("nan", "fs above 0"), ("5fs", "fs above 0")],
        },
    ),
    "models": ((), {"name": [("defualt", "Did you mean 'default'")]}),
    "doctor": ((), {}),
    "help": ((), {"command": [("smaple", "Did you mean 'sample'")]}),
}
# takes a value or does without one, and is no option of the work itself
NO_CASE = {"help", "title"}


def parameters() -> list[tuple[str, Any]]:
    """(command, parameter) of everything that the commands take."""
    group: Any = typer.main.get_command(build())
    return [
        (name, parameter)
        for name, command in group.commands.items()
        for parameter in command.params
        if parameter.name not in NO_CASE
    ]


def bad_values(command: str, parameter: Any) -> list[tuple[str, str]]:
    """The bad values of a parameter, each with words of the message."""
    if parameter.param_type_name == "option" and (parameter.is_flag or parameter.count):
        return [("maybe", "not take a value")]
    return CASES[command][1].get(parameter.name) or SHARED[parameter.name]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command in a folder with inputs; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    add_doubles(monkeypatch, refiner="shrinker")
    make_ensemble("imine").save("in.sdf")
    shutil.copy(ASPIRIN, "in.xtc")
    shutil.copy(ASPIRIN.with_suffix(".pdb"), "in.pdb")
    Path("words.sdf").write_text("words\n")
    Path("ours.yaml").write_text("data: in.sdf\n")
    Path("folder.sdf").mkdir()
    Path("ir.csv").write_text("\n".join(f"{x},1" for x in range(400, 4001, 20)))
    return caller(monkeypatch, capsys)


def test_every_option_of_every_command_has_a_case() -> None:
    missing = []
    for command, parameter in parameters():
        try:
            assert bad_values(command, parameter)
        except KeyError:
            missing.append(f"{command} {parameter.name}")
    assert not missing, "add bad values of these options to CASES"


@pytest.mark.long
@pytest.mark.parametrize("command", CASES)
def test_bad_value_is_one_line_that_names_the_option(command: str, cli: Cli) -> None:
    before, faults = sorted(Path().iterdir()), []
    for name, parameter in parameters():
        for value, allowed in bad_values(name, parameter) if name == command else ():
            arguments, told = line(command, parameter, value)
            code, out, err = cli(command, *arguments)
            right = code == 2 and not out and err.startswith("equidrift: ")
            right = right and err.count("\n") == 1 and told in err and allowed in err
            if not right:
                faults.append(f"{command} {' '.join(arguments)}: {code} {err or out}")
    assert not faults, "\n".join(faults)
    after = [path for path in sorted(Path().iterdir()) if "_offsets" not in path.name]
    assert after == before, "nothing is left behind"


def line(command: str, parameter: Any, value: str) -> tuple[list[str], str]:
    """The arguments with a bad value, and the name that the message must have."""
    right, _ = CASES[command]
    if parameter.param_type_name == "argument":
        own = [p for c, p in parameters() if c == command and p.param_type_name == "argument"]
        place = [p.name for p in own].index(parameter.name)
        return [*right[:place], value, *right[place + 1 :]], value
    name = max(parameter.opts, key=len)
    joined = f"{name}={value}" if name.startswith("--") else f"{name}{value}"
    return [*right, joined], name
