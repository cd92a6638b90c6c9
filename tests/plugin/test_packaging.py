"""Recipe, container and metadata of other registries say what setup.cfg says."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import yaml

from equidrift import __version__

ROOT = Path(__file__).parents[2]
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
OF_CONDA = {"torch": "pytorch"}  # names on conda-forge that are others


def pinned(lines: list[str]) -> dict[str, str]:
    """Name in small letters -> versions, of requirements."""
    found = {}
    for line in filter(None, map(str.strip, lines)):
        match = re.fullmatch(r"([A-Za-z0-9_-]+)\s*(.*)", line)
        assert match, line
        name = match[1].lower()
        found[OF_CONDA.get(name, name)] = match[2]
    return found


def recipe() -> dict:
    """meta.yaml, its templates filled in."""
    text = (ROOT / "recipe" / "meta.yaml").read_text()
    versions = dict(re.findall(r'{% set (\w+) = "(.*?)" %}', text))
    text = re.sub(r"{%.*?%}\n", "", text)
    filled = re.sub(r"{{ (\w+) }}", lambda match: versions.get(match[1], match[1]), text)
    return yaml.safe_load(filled)


def test_recipe_asks_for_what_the_wheel_asks_for() -> None:
    run = pinned(recipe()["requirements"]["run"])
    assert run.pop("python") == CONFIG["options"]["python_requires"]
    assert run == pinned(CONFIG["options"]["install_requires"].splitlines())


def test_recipe_has_the_commands_of_the_wheel() -> None:
    scripts = CONFIG["options.entry_points"]["console_scripts"].strip().splitlines()
    assert recipe()["build"]["entry_points"] == scripts


def test_versions_and_licences_agree() -> None:
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    kit = yaml.safe_load((ROOT / "mdakit.yaml").read_text())
    assert recipe()["package"]["version"] == zenodo["version"] == citation["version"] == __version__
    licence = CONFIG["metadata"]["license"]
    assert licence == recipe()["about"]["license"] == zenodo["license"] == kit["license"]
    assert zenodo["creators"] == citation["authors"]


def test_mdakit_says_which_python_and_mdanalysis() -> None:
    kit = yaml.safe_load((ROOT / "mdakit.yaml").read_text())
    needed = pinned(CONFIG["options"]["install_requires"].splitlines())
    assert kit["mdanalysis_requires"] == needed["mdanalysis"]
    assert kit["python_requires"] == CONFIG["options"]["python_requires"]
    for command in kit["run_tests"]:
        for path in command.split()[1:]:
            assert (ROOT / path).exists(), path


def test_container_installs_the_torch_of_the_wheel_and_runs_its_command() -> None:
    text = (ROOT / "Dockerfile").read_text()
    needed = pinned(CONFIG["options"]["install_requires"].splitlines())
    assert f'"torch{needed["pytorch"]}"' in text
    entry = re.search(r"ENTRYPOINT (\[.*\])", text)
    assert entry and json.loads(entry[1]) == ["equidrift"]
