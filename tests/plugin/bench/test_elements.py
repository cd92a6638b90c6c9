"""The bench of elements: what a molecule counts for, and rows in which nothing is left out."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from equidrift.bench import elements
from equidrift.bench.elements import Judged, judged, kinds_of, rows_of
from equidrift.errors import InputError
from equidrift.records import Molecule
from tests.tools.loading import tool

PIECES = ("c1ccccc1", "c1ccncc1", "C1CCOC1", "c1ccc[nH]1", "C1CCNCC1", "c1ccoc1")
pytest.importorskip("tblite", reason="the bench relaxes with GFN2-xTB")


@pytest.mark.parametrize(
    ("smiles", "kinds"),
    [
        ("CS", {"H", "C", "S"}),
        ("CS(C)=O", {"H", "C", "S", "O"}),
        ("CS(=O)(=O)F", {"H", "C", "S", "O", "F", "S(VI)"}),
        ("CN=S(C)(C)=O", {"H", "C", "N", "S", "O", "S(VI)"}),
        ("C[N+]#[C-]", {"H", "C", "N", "isocyanide"}),
        ("CC#N", {"H", "C", "N"}),
        ("OB(O)c1ccc(I)c([Si](C)(C)C)c1", {"H", "C", "B", "O", "I", "Si"}),
    ],
)
def test_molecule_counts_for_its_elements_and_hard_groups(smiles: str, kinds: set[str]) -> None:
    assert set(kinds_of(Molecule.from_smiles(smiles))) == kinds


def test_rows_count_what_was_not_answered_and_what_gfn2_xtb_could_not_relax() -> None:
    found = [
        Judged("CS", ("C", "S"), answered=True, refined=True, released_kcal_mol=1.0),
        Judged("CSC", ("C", "S"), answered=True, changed=True, released_kcal_mol=30.0),
        Judged("CI", ("C", "I"), answered=False),
    ]
    rows = {one["row"]: one["values"] for one in rows_of(found)}
    assert set(rows) == {f"elements/{kind}" for kind in ("C", "S", "I", "all")}
    assert rows["elements/all"]["n"] == 3 and rows["elements/S"]["n"] == 2
    assert rows["elements/all"]["answered"] == pytest.approx(200 / 3)
    assert rows["elements/S"]["energy_released_worst_kcal_mol"] == 30.0
    assert rows["elements/S"]["above_25"] == 1 and rows["elements/S"]["changed"] == 50.0
    assert rows["elements/I"]["answered"] == 0.0
    assert math.isnan(rows["elements/I"]["energy_released_worst_kcal_mol"])


def test_conformer_is_answered_and_near_a_minimum_when_the_element_is_rare() -> None:
    one = judged("C[SiH3]")
    assert one.answered and not one.changed and 0 <= one.released_kcal_mol < 10


def test_bench_names_the_tool_when_there_is_no_list(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"make_element_molecules\.py --each 50"):
        elements.run()


def test_list_holds_as_many_molecules_of_each_element_as_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    making = tool("make_element_molecules")
    smiles = [f"C{chain}{end}" for chain in ("C", "CC", "CCC", "CCO", "CCN") for end in PIECES]
    monkeypatch.setattr(making, "pieces", lambda *_: map(making.Chem.MolFromSmiles, smiles))
    found = making.each_of(None, set(), making.random.Random(0), 2)
    counted = Counter(kind for one in found for kind in kinds_of(Molecule.from_smiles(one)))
    assert len(set(found)) == len(found) < len(smiles)
    assert all(counted[kind] >= 2 for kind in making.RARE)
