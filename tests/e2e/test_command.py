"""What all commands have in common: help, version, threads, records, quiet; and models
of other packages that do not load.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import equidrift
from equidrift import entries as entries_module
from equidrift import registry
from equidrift.cli.main import NETWORKED, build
from equidrift.cli.models import options_of
from equidrift.errors import ModelError


def call(*arguments: object):
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


def test_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "equidrift", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"equidrift {equidrift.__version__}\n"


def test_help_command_is_the_help_option() -> None:
    assert "--version" in call("--help").output and "--install-completion" in call("--help").output
    assert call("help").output.split() == call("--help").output.split()
    assert "--max-attempts" in call("help", "sample").output
    wrong = call("help", "smaple")
    assert wrong.exit_code == 2 and "Did you mean 'sample'" in wrong.output


@pytest.mark.parametrize(
    "command",
    ["sample", "refine", "forecast", "generate", "md", "train", "bench", "models", "doctor"],
)
def test_every_command_can_be_quiet_and_verbose(command: str) -> None:
    text = call(command, "--help").output
    assert "--quiet" in text and "--verbose" in text
    assert ("--threads" in text) == (command in NETWORKED)


def test_threads_are_as_before_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, before = [], torch.get_num_threads()
    monkeypatch.setitem(registry.CONFORMER_MODELS, "etkdg", "tests.e2e.test_command:watched")
    monkeypatch.setattr(sys.modules[__name__], "SEEN", seen, raising=False)
    done = call(
        "sample", "CCO", "--model", "etkdg", "--threads", before + 1, "-o", tmp_path / "x.sdf"
    )
    assert done.exit_code == 0, done.output
    assert seen == [before + 1] and torch.get_num_threads() == before
    assert call("sample", "CCO", "--threads", 0, "-o", tmp_path / "y.sdf").exit_code == 2


def watched():
    """ETKDG that notes PyTorch's threads."""
    from equidrift.adapters.rdkit.etkdg import ETKDG

    sys.modules[__name__].SEEN.append(torch.get_num_threads())
    return ETKDG()


def test_quiet_says_nothing_but_errors_and_json_is_a_result(tmp_path: Path) -> None:
    done = call("sample", "CCO", "-q", "--model", "etkdg", "-o", tmp_path / "x.sdf")
    assert done.exit_code == 0 and done.output == "" and (tmp_path / "x.sdf").exists()
    wrong = call("sample", "nonsense(", "-q", "-o", tmp_path / "y.sdf")
    assert wrong.exit_code == 2 and "equidrift: " in wrong.output
    told = call("sample", "CCO", "-q", "--json", "--model", "etkdg", "-o", tmp_path / "z.sdf")
    assert json.loads(told.stdout)["conformers"] >= 1


def test_records_are_shown_when_asked_for_and_the_logger_is_left_alone(tmp_path: Path) -> None:
    logger = logging.getLogger("equidrift")
    before = list(logger.handlers), logger.level
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
    options = ("sample", "CCO", "--model", "etkdg", "--overwrite", "-o", tmp_path / "x.sdf")
    assert "INFO" not in call(*options).output
    assert "equidrift.cli.main: INFO: sample took" in call(*options, "-v").output
    assert (list(logger.handlers), logger.level) == before


def test_models_are_a_line_each_and_tell_their_options() -> None:
    plain = call("models").output.splitlines()
    names = {
        (verb, name)
        for verb, table in (("sample", registry.CONFORMER_MODELS), ("refine", registry.REFINERS))
        for name in table
    }
    for verb, name in names:
        assert sum(line.startswith(f"equidrift {verb} --model {name}: ") for line in plain) == 1
    assert len(call("models", "--all").output) > 3 * len("\n".join(plain))
    told = call("models", "default").output
    assert "--set candidates=3  Draws of a sample" in told and "  int " not in told
    assert re.search(r"--set num_threads=0  [Tt]hreads of RDKit", told)
    assert (
        json.loads(call("models", "conformer", "--json").stdout)["options"]["sample"]["churn"][
            "default"
        ]
        == 0.6
    )
    card = call("models", "field-se").output
    assert "licence: MIT" in card and "training data:" in card and "sha256:" in card
    assert json.loads(call("models", "field-se", "--json").stdout)["card"]["task"] == "field"
    assert call("models", "defualt").exit_code == 2


def test_listed_options_are_taken() -> None:
    for table in (registry.CONFORMER_MODELS, registry.REFINERS):
        for name, path in table.items():
            given = {
                key: default for key, (default, _) in options_of(registry.resolve(path)).items()
            }
            assert registry.resolve(path)(**given).name, name


@pytest.fixture
def broken_plugins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three models of other packages: no module, an import that raises, no factory; and
    one that works.
    """
    module = type(sys)("a_plugin_that_is_no_factory")
    module.number = 3
    module.make = watched
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "a_plugin_that_cannot_be_imported", None)
    entries = [
        EntryPoint("gone", "no_such_module_anywhere:make", "equidrift.models"),
        EntryPoint("raises", "a_plugin_that_cannot_be_imported:make", "equidrift.models"),
        EntryPoint("number", f"{module.__name__}:number", "equidrift.models"),
        EntryPoint("works", f"{module.__name__}:make", "equidrift.models"),
    ]
    monkeypatch.setattr(
        entries_module, "entry_points", lambda group: entries if group == "equidrift.models" else []
    )
    entries_module.announced.cache_clear()
    yield ["gone", "raises", "number"]
    entries_module.announced.cache_clear()


def test_broken_plugins_are_reported_and_cost_nothing(broken_plugins: list[str]) -> None:
    found = registry.third_party_models()
    assert {name for name, problem in found.items() if problem} == set(broken_plugins) and found[
        "works"
    ] == ""
    for name in broken_plugins:
        with pytest.raises(ModelError, match=rf"{name}.*update or remove it"):
            registry.make_model(name)
    assert len(equidrift.sample("CCO", 2, model="etkdg")) == 2
    assert {"works", "etkdg"} <= set(equidrift.list_models())
    listed = call("models")
    assert listed.exit_code == 0 and listed.output.count("does not load: ") == 3
    assert "equidrift sample --model works: of another package" in listed.output
    report = call("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(report.stdout)["findings"]}
    for name in broken_plugins:
        assert findings[f"model of another package: {name}"]["state"] == "not ours"
    assert findings["model of another package: works"]["state"] == "ok"


def test_doctor_begins_with_its_verdict() -> None:
    report = call("doctor")
    first = report.output.splitlines()[0]
    assert first.startswith("everything works") if report.exit_code == 0 else "broken: " in first
