"""Weights on disk: round trips, and every way in which a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from equidrift.errors import UnknownNameError, WeightsError
from equidrift.registry import make_model, make_refiner
from equidrift.weights import CARD_KEYS, find, list_cards, load_weights, save_weights

CARD = {key: "x" for key in CARD_KEYS if key != "sha256"}
STATE = {"a": torch.linspace(-1, 1, 7), "n": torch.arange(3)}


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
    with pytest.raises(WeightsError, match="lacks licence"):
        load_weights(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(path)
    with pytest.raises(WeightsError, match="needs licence"):
        save_weights(path, STATE, {key: value for key, value in CARD.items() if key != "licence"})


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
