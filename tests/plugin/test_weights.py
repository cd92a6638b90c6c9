"""Weights on disk: round trips, and every way in which a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from equidrift.errors import UnknownNameError, WeightsError
from equidrift.registry import make_model, make_refiner
from equidrift.weights import CARD_KEYS, find, list_cards, load_weights, save_weights

CARD: dict[str, Any] = {key: "x" for key in CARD_KEYS if key != "sha256"}
CARD |= {"config": {}, "elements": ["C", "H"], "max_atoms": 9, "quality": {}}
STATE = {"a": torch.linspace(-1, 1, 7), "n": torch.arange(3)}


def texts(value: object) -> list[str]:
    """Every text in a card."""
    if isinstance(value, dict):
        return [*map(str, value), *(text for part in value.values() for text in texts(part))]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


def test_no_text_of_a_shipped_card_holds_a_brace() -> None:
    """A brace is of a format string that was not filled in."""
    found = {card["name"]: texts(card) for card in list_cards()}
    assert len(found) > 20 and all(found.values())
    braces = {name: [t for t in told if "{" in t or "}" in t] for name, told in found.items()}
    assert not any(braces.values()), braces


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save_weights(tmp_path / "model.safetensors", STATE, CARD)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    path = save_weights(tmp_path / "model", STATE, {**CARD, "dtype": dtype})
    for name in (path, str(path.with_suffix(".json"))):
        state, card = load_weights(name)
        assert (
            state["a"].dtype == torch.float32
            and torch.equal(state["n"], STATE["n"])
            and card["dtype"] == dtype
        )
        torch.testing.assert_close(
            state["a"], STATE["a"], atol=0 if dtype == "float32" else 4e-3, rtol=0
        )


def test_truncated_and_tampered(path: Path) -> None:
    raw = path.read_bytes()
    for broken in (raw[:-3], raw[:-1] + bytes([raw[-1] ^ 1]), b""):
        path.write_bytes(broken)
        with pytest.raises(WeightsError, match="truncated or altered"):
            load_weights(path)


def test_missing_files(path: Path) -> None:
    path.unlink()
    with pytest.raises(WeightsError, match="no weights beside the card"):
        load_weights(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match="no model card"):
        load_weights(path)


def test_broken_cards(path: Path) -> None:
    card = json.loads(path.with_suffix(".json").read_text())
    del card["licence"]
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"model\.json.* the field 'licence' is missing"):
        load_weights(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(WeightsError, match=r"model\.json' is damaged: .* no JSON"):
        load_weights(path)
    with pytest.raises(WeightsError, match="the field 'licence' is missing"):
        save_weights(path, STATE, {key: value for key, value in CARD.items() if key != "licence"})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("config", [], "config: input should be a valid dictionary"),
        ("config", None, "config: input should be a valid dictionary"),
        ("elements", [None], "elements.list[union[str,int]].0.str: input should be a valid string"),
        ("max_atoms", -1, "max_atoms: input should be greater than or equal to 0"),
        ("max_atoms", "9", "max_atoms: input should be a valid integer"),
        ("sha256", "zz", "sha256: string should match pattern"),
        ("name", "", "name: string should have at least 1 character"),
        ("dtype", "object", "dtype: input should be 'bfloat16'"),
        ("options", 3, "options: input should be a valid dictionary"),
    ],
)
def test_card_is_refused_by_file_and_field_when_a_field_is_tampered_with(
    field: str, value: object, message: str, path: Path
) -> None:
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**card, field: value}))
    with pytest.raises(WeightsError) as error:
        load_weights(path)
    told = str(error.value)
    assert message in told and "model.json" in told and "\n" not in told


def test_card_of_another_text_encoding_is_refused(path: Path) -> None:
    path.with_suffix(".json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(WeightsError, match=r"model\.json' is damaged"):
        load_weights(path)


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="refin"):
        find("refin")


def test_shipped_cards_are_complete_and_fit_their_files() -> None:
    for card in list_cards():
        assert load_weights(card["name"])[1] == card


@pytest.mark.parametrize("make", [make_model, make_refiner])
def test_models_by_path(path: Path, make: object) -> None:
    with pytest.raises(WeightsError, match="is a model for task None; here one for"):
        make(str(path))
    with pytest.raises(WeightsError, match="no model card"):
        make("missing.safetensors")
