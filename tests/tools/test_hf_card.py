"""Cards for Hugging Face's hub say what ours say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from equidrift.files.journal import file_sha256
from equidrift.weights import list_cards
from tests.tools.loading import tool

CARDS = {card["name"]: card for card in list_cards()}


@pytest.mark.parametrize("name", CARDS)
def test_head_of_every_card_is_yaml_with_licence_and_all_that_was_measured(name: str) -> None:
    card = CARDS[name]
    text = tool("hf_card").page(card)
    _, head, body = text.split("---\n", 2)
    read = yaml.safe_load(head)
    assert read["license"] == card["licence"].lower()
    found = [
        (result["dataset"]["name"], metric["name"], metric["value"])
        for model in read.get("model-index", [])
        for result in model["results"]
        for metric in result["metrics"]
    ]
    assert found == list(tool("hf_card").metrics_of(card["quality"]))
    assert card["training_data"] in body
    assert card["sha256"] in body


def test_folder_holds_card_and_weights(tmp_path: Path) -> None:
    assert tool("hf_card").main(["refine", "--output", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"README.md", "refine.json", "refine.safetensors"}
    card = json.loads((tmp_path / "refine.json").read_text())
    assert file_sha256(tmp_path / "refine.safetensors") == card["sha256"]


def test_unknown_model_is_refused_with_the_nearest_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        tool("hf_card").main(["refin", "--output", str(tmp_path / "hub")])
    assert stop.value.code == 2
    assert "refine" in capsys.readouterr().err
    assert not (tmp_path / "hub").exists()
