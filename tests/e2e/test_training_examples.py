"""The training configs in examples/: each is one that its family takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from equidrift.models.shared.config import TrainingConfig
from equidrift.registry import TRAINING_CONFIGS, resolve

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("train_*.yaml"))


def checked(family: str, config: dict[str, Any]) -> TrainingConfig:
    """The config as its class reads it."""
    said = {config.get(key) for key in ("model", "task", "learn", "kind")}
    variant = next(
        (name for name in TRAINING_CONFIGS[family] if name in said),
        next(iter(TRAINING_CONFIGS[family])),
    )
    kind: type[TrainingConfig] = resolve(TRAINING_CONFIGS[family][variant][1])
    return kind.model_validate({key: value for key, value in config.items() if key != "model"})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_config_holds_what_its_family_takes(path: Path) -> None:
    command = re.search(r"(?m)^# equidrift train (\S+) examples/(\S+)", path.read_text())
    assert command is not None and command[2] == path.name, (
        f"{path.name} must say the command that uses it"
    )
    checked(command[1], yaml.safe_load(path.read_text())).make_schedule()


def test_a_mistake_in_an_example_would_be_found() -> None:
    with pytest.raises(ValueError, match="systme"):
        checked("fields", {"systme": "se"})
