"""Recipe, container and metadata of other registries say what setup.cfg says; the wheel
holds what the default models need.
"""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest
import yaml

import equidrift
from equidrift import __version__, weights
from equidrift.cli import doctor
from equidrift.cli.doctor import DEFAULT_WEIGHTS
from equidrift.errors import WeightsError
from equidrift.models.molecules.properties.sampler import load_properties
from equidrift.models.torsions.sampler import load_torsion
from equidrift.records import Molecule
from equidrift.registry import (
    make_energy_refiner,
    make_model,
    make_molecule_model,
    make_refiner,
    make_trajectory_model,
)

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


def packed_weights() -> set[str]:
    """The weights that setup.cfg puts into a wheel."""
    patterns = CONFIG["options.package_data"]["equidrift.models.zoo"].split()
    assert "*.json" in patterns, "every card is there"
    return {Path(name).stem for name in patterns if name.endswith(".safetensors")}


def test_wheel_has_the_weights_of_the_default_models_alone() -> None:
    assert packed_weights() == set(DEFAULT_WEIGHTS)
    sizes = [(weights.zoo() / f"{name}.safetensors").stat().st_size for name in packed_weights()]
    assert sum(sizes) < 15e6, "bytes"


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of weights as a wheel installs it; where the others are."""
    shipped = weights.zoo()
    for path in shipped.glob("*.json"):
        (tmp_path / path.name).symlink_to(path)
    for name in packed_weights():
        (tmp_path / f"{name}.safetensors").symlink_to(shipped / f"{name}.safetensors")
    monkeypatch.setattr(weights, "zoo", lambda: tmp_path)
    monkeypatch.delenv(weights.FOLDERS, raising=False)
    load_properties.cache_clear()
    return shipped


def test_defaults_of_every_command_need_no_other_weights(as_installed: Path) -> None:
    assert len(equidrift.sample("CCO", 1)) == 1
    assert len(equidrift.sample("CC(C)Cc1ccc(cc1)C(C)C(=O)O", 1)) == 1  # selects by energy
    for make in (make_refiner, make_energy_refiner):
        assert make("refine" if make is make_refiner else "conformer-energy").name
    assert make_trajectory_model("default").name and make_molecule_model("default").name
    assert load_properties().name
    assert load_torsion(Molecule.from_smiles("CCCC")) is not None


def test_weights_that_are_not_installed_are_refused_with_the_way_out_and_found_there(
    as_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match=r"conformer\.safetensors is not installed.*EQUIDRIFT_"):
        make_model("conformer")
    findings = {finding.what: finding for finding in doctor.weights_found()}
    assert "conformer" in findings["weights of further models"].detail
    assert not [one for one in findings.values() if one.state == "broken"]
    monkeypatch.setenv(weights.FOLDERS, f"/nowhere:{ROOT / 'models' / 'zoo'}")
    assert make_model("conformer").name == "conformer"
    assert {one.state for one in doctor.weights_found()} == {"ok"}
