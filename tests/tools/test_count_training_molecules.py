"""The cards' counts of training molecules: counted where the files were kept, estimates
with their standard errors elsewhere.
"""

from __future__ import annotations

import json

import pytest

from tests.tools.loading import DATA, ROOT, tool

CARDS = ("refine", "conformer")


def _card(name: str) -> dict:
    return json.loads((ROOT / f"models/zoo/{name}.json").read_text())


@pytest.mark.parametrize("name", CARDS)
def test_card_lists_the_elements_that_at_least_a_hundred_training_molecules_hold(name: str) -> None:
    card = _card(name)
    total = card["training_molecules_per_element"]
    assert card["elements"] == [symbol for symbol, count in total.items() if count >= 100]
    for symbol, count in total.items():
        assert count == sum(s["per_element"][symbol] for s in card["training_sources"])


@pytest.mark.parametrize("name", CARDS)
def test_card_tells_counts_from_estimates(name: str) -> None:
    for source in _card(name)["training_sources"]:
        assert all(count <= source["molecules"] for count in source["per_element"].values())
        assert source["counted"] is ("standard_error" not in source)
        assert source["counted"] is (source["source"] in tool("count_training_molecules").KEPT)


@pytest.mark.parametrize("name", CARDS)
def test_counts_of_the_card_are_those_of_the_files_when_they_were_kept(name: str) -> None:
    counting = tool("count_training_molecules")
    kept = [source for source in _card(name)["training_sources"] if source["counted"]]
    assert len(kept) == len(counting.KEPT)
    if not all((DATA / path).is_file() for path in counting.KEPT):
        pytest.skip("needs EQUIDRIFT_DATA/gfn2_conformers")
    assert kept == [counting.kept_source(DATA, path) for path in counting.KEPT]


def test_tool_writes_the_card_as_it_stands_when_nothing_changed() -> None:
    counting = tool("count_training_molecules")
    for name in CARDS:
        card = _card(name)
        again = counting.counted_card(card, card["training_sources"])
        assert json.loads(counting.card_text(again)) == card
