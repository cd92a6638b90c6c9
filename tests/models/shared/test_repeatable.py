"""Training is a function of config, data, seed and step count: the same bytes again, in
another process, and after a kill.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.shared.trainings import CASES, ROOT, train


def result(out: Path) -> tuple[bytes, dict[str, Any]]:
    """The weights and the part of the card that must not depend on the clock."""
    card = json.loads((out / "mine.json").read_text())
    del card["run"]  # which tells of the clock
    assert "minutes" not in card["description"]
    return (out / "mine.safetensors").read_bytes(), card


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case trained in another process, with another order of hashes."""
    folder = tmp_path_factory.mktemp("elsewhere")
    code = """
import sys
from tests.models.shared.test_repeatable import train_all
train_all(sys.argv[1])"""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, check=True, cwd=folder
    )
    return folder


def train_all(folder: str) -> None:
    torch.manual_seed(12345)  # whatever the user's random state is
    for name in CASES:
        place = Path(folder) / name
        place.mkdir()
        train(name, place, place / "out")


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_training_gives_the_same_bytes_in_another_process(
    name: str, tmp_path: Path, elsewhere: Path
) -> None:
    summary = train(name, tmp_path, tmp_path / "out")
    here, there = result(tmp_path / "out"), result(elsewhere / name / "out")
    assert here[0] == there[0]
    assert here[1] == there[1]
    assert summary["steps"] == 5
    losses = here[1]["trained"]["held_out_loss"]
    assert set(losses) == {"before", "after"} and np.isfinite(list(losses.values())).all()
    assert summary["held_out_loss_after"] == losses["after"]
    if (
        name != "properties"
    ):  # the composition of its six molecules tells all, and the unit of its loss is rounding
        assert losses["after"] != losses["before"]


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_training_gives_the_same_bytes_after_a_kill(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(name, tmp_path, tmp_path / "whole")
    replace, seen = os.replace, list[str]()

    def interrupted(source: Any, target: Any) -> None:
        replace(source, target)
        seen.append(str(target)) if str(target).endswith("checkpoint.json") else None
        if len(seen) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupted)
        train(name, tmp_path, tmp_path / "torn")
    train(name, tmp_path, tmp_path / "torn", resume=True)
    assert result(tmp_path / "torn") == result(tmp_path / "whole")
