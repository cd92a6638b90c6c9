"""The scripts of tools/trainings: what each is called with, and what it trains by."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from equidrift.registry import resolve
from equidrift.registry.tables import TRAINING_CONFIGS
from tests.tools.loading import ROOT

SCRIPTS = ROOT / "tools" / "trainings"
FAKE = """#!/bin/sh
echo "$@" >> "$EQUIDRIFT_CALLS"
"""


def called(script: str, *arguments: str, work: Path) -> subprocess.CompletedProcess[str]:
    """A script with an `equidrift` on its path that writes down what it is called with."""
    command = work / "bin" / "equidrift"
    command.parent.mkdir(exist_ok=True)
    command.write_text(FAKE)
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "EQUIDRIFT_CALLS": str(work / "calls"),
        "EQUIDRIFT_DATA": str(work / "data"),
    }
    return subprocess.run(
        ["bash", str(SCRIPTS / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def listed(script: str) -> list[list[str]]:
    """Names and seconds that a script tells."""
    done = subprocess.run(
        ["bash", str(SCRIPTS / script), "list"], capture_output=True, text=True, check=True
    )
    return [line.split() for line in done.stdout.splitlines()]


def jobs() -> list[tuple[str, str, str]]:
    """(script, name, seconds) of all scripts with a list."""
    return [(s, *line) for s in ("fields.sh", "trajectories.sh") for line in listed(s)]


@pytest.mark.parametrize(("script", "name", "seconds"), jobs(), ids=str)
def test_a_listed_training_has_a_config_that_can_be_begun(
    script: str, name: str, seconds: str, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "md.npz").touch()  # dynamics that one of them would make first
    done = called(script, name, str(tmp_path / "runs"), work=tmp_path)
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "calls").read_text().split()
    family, out = words[1], words[words.index("-o") + 1]
    assert out == str(tmp_path / "runs" / name)
    assert words[-2:] == ["--budget", f"{seconds}s"]
    config = yaml.safe_load(Path(words[2]).read_text())
    (kind,) = [
        path
        for choice, path in TRAINING_CONFIGS[family].values()
        if choice == "" or f"{choice.split(': ')[0]}: {config.get(choice.split(': ')[0])}" == choice
    ][-1:]
    resolve(kind)(**config).begin()


def test_the_joint_model_goes_on_by_steps(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "qm9_molecules.npz").touch()
    assert called("joint.sh", str(folder), "900", work=tmp_path).returncode == 0
    words = (tmp_path / "calls").read_text().split()
    assert words[:2] == ["train", "molecules"] and "--resume" not in words
    config = yaml.safe_load(Path(words[2]).read_text())
    assert config.pop("model") == config["init"] == "joint"
    assert config["schedule"]["steps"] == 900
    assert resolve(TRAINING_CONFIGS["molecules"]["joint"][1])(**config).begin() is not None


@pytest.mark.parametrize("script", ["fields.sh", "trajectories.sh"])
def test_a_name_that_is_not_listed_is_refused_and_a_checkpoint_resumed(
    script: str, tmp_path: Path
) -> None:
    wrong = called(script, "nothing", str(tmp_path), work=tmp_path)
    assert wrong.returncode == 2
    assert f"{script} list" in wrong.stderr
    assert not (tmp_path / "calls").exists()
    name = listed(script)[0][0]
    (tmp_path / "md.npz").touch()
    (tmp_path / name).mkdir()
    (tmp_path / name / "checkpoint.json").write_text("{}")
    assert called(script, name, str(tmp_path), "60", work=tmp_path).returncode == 0
    assert (tmp_path / "calls").read_text().split()[-3:] == ["--budget", "60s", "--resume"]
