"""What README and guide show, runs; what they list is complete."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {"README": README} | {
    path.stem: path.read_text() for path in sorted((ROOT / "docs" / "guide").glob("*.md"))
}
MOST_LINES = 150
MODEL = "default"
OWN_TESTS = "".join(
    path.read_text() for path in sorted((ROOT / "tests" / "e2e").glob("test_examples_*.py"))
)  # of examples with arguments of their own
EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.py")) if path.name not in OWN_TESTS]
IN_ONE_PROCESS = """
import json, sys
from equidrift.cli.main import run
for command in json.loads(sys.argv[1]):
    sys.argv = ["equidrift", *command]
    try:
        run()
    except SystemExit as stop:
        assert not stop.code, command
"""


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def run_python(code: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *code], cwd=folder, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in PAGES if blocks("python", PAGES[name])])
def test_python_blocks(name: str, tmp_path: Path) -> None:
    run_python(["-c", "\n".join(blocks("python", PAGES[name]))], tmp_path)


def commands_of(shown: list[str]) -> str:
    """The commands of equidrift in blocks, as IN_ONE_PROCESS takes them."""
    lines = [line.removesuffix(" &&") for block in shown for line in block.splitlines()]
    commands = [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("equidrift ")
    ]
    assert commands
    for command in commands:
        if "-n" in command:
            command[command.index("-n") + 1] = "2"
    return json.dumps(commands)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in PAGES if blocks("bash", PAGES[name])])
def test_bash_blocks(name: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    run_python(["-c", IN_ONE_PROCESS, commands_of(blocks("bash", PAGES[name]))], tmp_path)


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
def test_links_lead_to_files(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("marker", ["run", "test"])
def test_newcomers_commands_are_marked(marker: str) -> None:
    found = re.findall(
        rf"<!-- newcomer: {marker} -->\n```bash\n(pip install .*?)```", README, flags=re.DOTALL
    )
    assert len(found) == 1 and found[0].count("pip install") == 1


@pytest.mark.long
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs_with_tiny_settings(path: Path, tmp_path: Path) -> None:
    """An example takes the number of conformers and the model, so that it can be run
    small.
    """
    assert run_python([str(path), "2", MODEL], tmp_path).strip()


def test_first_example_is_short() -> None:
    assert (
        len((ROOT / "examples" / "01_smiles_to_openmm_to_mdanalysis.py").read_text().splitlines())
        <= 25
    )


def test_every_dependency_has_its_reason() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    lines += [
        line for extra in config["options.extras_require"].values() for line in extra.split("\n")
    ]
    table = (ROOT / "docs" / "dependencies.md").read_text()
    for line in filter(None, lines):
        name = re.split(r"[<>=\[;]", line)[0]
        if name == "equidrift":  # an extra that holds another
            continue
        assert re.search(rf"\b{re.escape(name)}\b", table), (
            f"{name} has no reason in docs/dependencies.md"
        )


def test_nothing_is_left_open() -> None:
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md"):
        assert not re.search(r"TODO|TBD|FIXME|XXX|lorem", path.read_text())
