"""The cards' counts of training molecules: counted where the files were kept, estimates
with their standard errors elsewhere.
"""

from __future__ import annotations

import json

import pytest

import equidrift
from equidrift.registry import make_model
from tests.tools.loading import DATA, ROOT, tool

CARDS = ("refine", "conformer")
SYMBOLS = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")


def _card(name: str) -> dict:
    return json.loads((ROOT / f"models/zoo/{name}.json").read_text())


@pytest.mark.parametrize("name", CARDS)
def test_card_lists_the_elements_that_at_least_a_hundred_training_molecules_hold(name: str) -> None:
    card, surely = _card(name), tool("count_training_molecules").surely
    total, sources = card["training_molecules_per_element"], card["training_sources"]
    assert card["elements"] == [symbol for symbol in total if surely(symbol, sources) >= 100]
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


def test_element_that_only_an_estimate_brings_to_a_hundred_is_not_claimed() -> None:
    counting = tool("count_training_molecules")
    sure = {"counted": True, "molecules": 500, "per_element": dict.fromkeys(SYMBOLS, 0)}
    guess = {**sure, "counted": False, "standard_error": dict.fromkeys(SYMBOLS, 9.0)}
    sure["per_element"] = sure["per_element"] | {"H": 100, "C": 99, "Cl": 8}
    guess["per_element"] = guess["per_element"] | {"Cl": 93, "S": 118}
    card = counting.counted_card({"elements": []}, [sure, guess])
    assert card["elements"] == ["S"]
    assert counting.counted_card({"elements": []}, [sure])["elements"] == ["H"]


def test_default_refines_chlorides_by_the_energy_that_has_learnt_chlorine() -> None:
    assert "Cl" not in _card("refine")["elements"] and "Cl" in _card("conformer-energy")["elements"]
    molecule = equidrift.Molecule.from_smiles("ClCCO")
    (way,) = make_model("default").refiners_of(molecule)
    assert way.name == "conformer-energy"
    ensemble = equidrift.sample(molecule, 4)
    assert ensemble.provenance["refiner"] == "conformer-energy"
    assert ensemble.provenance["refined"] == 4


def test_tool_writes_the_card_as_it_stands_when_nothing_changed() -> None:
    counting = tool("count_training_molecules")
    for name in CARDS:
        card = _card(name)
        again = counting.counted_card(card, card["training_sources"])
        assert json.loads(counting.card_text(again)) == card
