"""The training configs in examples/: each is one that its family takes."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from equidrift.cli.train import FAMILIES

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("train_*.yaml"))


def family_of(path: Path) -> str:
    """The family of the command that the example tells."""
    command = re.search(r"(?m)^# equidrift train (\S+) examples/(\S+)", path.read_text())
    assert command is not None and command[2] == path.name, f"{path.name} must say the command that uses it"
    return command[1]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_config_holds_what_its_family_takes(path: Path) -> None:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    module = importlib.import_module(FAMILIES[family_of(path)].partition(":")[0])
    kind = module.config_class(config)
    kind.model_validate({key: value for key, value in config.items() if key != "model"}).make_schedule()


def test_a_mistake_in_an_example_would_be_found() -> None:
    module = importlib.import_module("equidrift.models.fields.train")
    with pytest.raises(ValueError, match="systme"):
        module.config_class({}).model_validate({"systme": "se"})
