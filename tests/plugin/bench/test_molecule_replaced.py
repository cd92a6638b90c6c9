"""Rows of molecules a part of which is drawn anew: what is replaced, and what counts as
better.
"""

from __future__ import annotations

import pytest

from equidrift.bench import molecule_replaced as replaced
from equidrift.bench.molecule_replaced import GOALS, Task, at_gap, better_rows, tasks_of
from equidrift.bench.molecule_work import cached_model
from equidrift.checks.molecule import Draw, Raw
from equidrift.records import Molecule
from tests.doubles import geometry
from tests.models.molecules.test_properties import network


def system(smiles: str) -> Raw:
    molecule = Molecule.from_smiles(smiles)
    return molecule, geometry(molecule)


def draw(smiles: str) -> Draw:
    return Draw(0, "", *system(smiles))


@pytest.mark.parametrize(
    ("name", "smiles", "places"),
    [
        ("rgroup", "OC1CC1", {(0,)}),
        ("scaffold", "OC1CC1", {(1, 2, 3)}),
        ("linker", "CCCO", {(1,), (2,)}),
    ],
)
def test_each_task_replaces_its_part(name: str, smiles: str, places: set[tuple[int, ...]]) -> None:
    tasks = tasks_of(name, [system("C"), system(smiles), system(smiles)], 1)
    assert len(tasks) == 1 and tasks[0].start[0].n_atoms > 5
    assert tasks[0].atoms in places


def test_better_is_counted_over_starts() -> None:
    starts = [Task(system("CCO"), (2,), 0), Task(system("CCC"), (2,), 1)]
    assert replaced.exact([task.start for task in starts])["QED"].max() < 0.45
    good, bad = draw("CC(C)NC(=O)CC"), draw("C")
    low, high = replaced.exact([system("C"), system("CC(C)NC(=O)CC")])["QED"]
    assert low < 0.38 and high > 0.5
    rows = replaced.goal_rows(
        "x", GOALS[0], starts, [[good, bad, Draw(0, "valency"), bad], [bad, bad, bad, bad]]
    )
    alone, best = (row["values"] for row in rows)
    assert [row["row"] for row in rows] == ["x/draw", "x/equidrift"]
    assert alone["better"] == pytest.approx(12.5) and alone["valid"] == pytest.approx(87.5)
    assert alone["better_se"] == pytest.approx(12.5) and alone["n"] == 2 and alone["draws"] == 8
    assert best["better"] == 50 and best["draws"] == 2 and best["better_se"] == pytest.approx(50)


def test_a_gap_is_aimed_at_within_the_range_and_misses_are_of_the_judge() -> None:
    judge = network()
    task = Task(system("CCO"), (2,), 0)
    aimed = at_gap(task, judge)
    start = float(judge.predict([task.start])["gap_eV"][0])
    least, greatest = cached_model("joint").properties["gap_eV"]
    assert aimed.gap_eV is not None and least <= aimed.gap_eV <= greatest
    found = replaced.gap_values(aimed, [draw("CCO"), Draw(0, "clash")], judge)
    assert found["valid"].tolist() == [True, False] and not found["better"].any()
    nearer = Task(task.start, task.atoms, 0, start)
    assert not replaced.gap_values(nearer, [draw("CCN")], judge)["better"].any()


@pytest.mark.long
def test_rows_of_real_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaced, "CANDIDATES", 2)
    rows = better_rows([system("CC(C)NC=O")], network(), 1, map, str)
    names = {row["row"] for row in rows}
    assert {"me-better-rgroup-QED/equidrift", "me-better-linker-gap_eV/no-target"} <= names
    assert len(names) == 2 * 6 and not any("scaffold" in name for name in names)
    for row in rows:
        assert row["values"]["n"] == 1
        assert 0 <= row["values"]["better"] <= row["values"]["valid"] <= 100
    cached_model.cache_clear()
