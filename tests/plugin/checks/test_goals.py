"""Targets of the graph: what is read, what is refused, what is nearer, what is best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import QED, Crippen, Descriptors, rdMolDescriptors

from equidrift.adapters.rdkit.druglike import graph_values, neutral_smiles
from equidrift.checks.goals import (
    GRAPH_PROPERTIES,
    Goal,
    broken,
    goals_of,
    pareto_front,
    total_miss,
)
from equidrift.checks.judges import achieved, achieved_text, pareto, pareto_text
from equidrift.errors import InputError, InputTypeError
from equidrift.records import Molecule

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_values_are_those_of_rdkit_and_of_the_authors_sa_score() -> None:
    molecule = Molecule.from_smiles(ASPIRIN)
    values = graph_values([(molecule, np.zeros((molecule.n_atoms, 3)))])
    mol = Chem.MolFromSmiles(ASPIRIN)
    wanted = {
        "MW": Descriptors.MolWt(mol),
        "QED": QED.qed(mol),
        "SA": 1.58,  # of sascorer, to its two published decimals
        "TPSA": rdMolDescriptors.CalcTPSA(mol),
        "logP": Crippen.MolLogP(mol),
    }
    assert set(values) == set(GRAPH_PROPERTIES)
    for name, value in wanted.items():
        assert values[name][0] == pytest.approx(value, abs=0.005 if name == "SA" else 1e-9)


@pytest.mark.parametrize(
    ("given", "neutral"),
    [
        ("CCC[NH3+]", "CCCN"),
        ("CCC(=O)[O-]", "CCC(=O)O"),
        ("C[NH2+]CC(=O)[O-]", "CNCC(=O)O"),
        ("C[N+](=O)[O-]", "C[N+](=O)[O-]"),
        ("C[N+](C)(C)C", ""),
        ("CC.O", ""),
        ("C[CH]C", ""),
        ("C1CC", ""),
    ],
)
def test_neutral_form(given: str, neutral: str) -> None:
    assert neutral_smiles(given) == neutral


@pytest.mark.parametrize(
    ("wanted", "kind", "told"),
    [
        (2.5, "=", 2.5),
        ("2.5", "=", 2.5),
        ("max", "max", "max"),
        ("min", "min", "min"),
        ("<3", "<", "<3"),
        ("> 1.5", ">", ">1.5"),
    ],
)
def test_goal_reads_numbers_extremes_and_limits(wanted: Any, kind: str, told: Any) -> None:
    goal = Goal.of("logP", wanted)
    assert goal.kind == kind and goal.told == told
    assert Goal.of("logP", goal.told) == goal or goal.kind in ("max", "min")


@pytest.mark.parametrize(
    ("name", "wanted", "error", "message"),
    [
        ("logP", "high", InputError, "a number, 'max', 'min', or a limit"),
        ("logP", "<", InputError, "a number, 'max', 'min', or a limit"),
        ("QED", 3, InputError, "between 0 and 1, not 3"),
        ("SA", "<0.5", InputError, "between 1 and 10"),
        ("logP", float("nan"), InputError, "finite"),
        ("MW", True, InputTypeError, "not True"),
        ("MW", None, InputTypeError, "not None"),
    ],
)
def test_goals_that_cannot_be(name: str, wanted: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Goal.of(name, wanted)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_limits_break_and_misses_order_the_molecules() -> None:
    goals, others = goals_of({"gap_eV": 7, "TPSA": "<90", "QED": "max", "logP": 2.0})
    assert others == {"gap_eV": 7} and [goal.name for goal in goals] == ["QED", "TPSA", "logP"]
    good = {"TPSA": 80.0, "QED": 0.8, "logP": 2.1}
    assert (
        broken(goals, good) == "" and broken(goals, {**good, "TPSA": 95.0}) == "TPSA not below 90"
    )
    for worse in ({"QED": 0.7}, {"logP": 3.0}, {"logP": 1.0}):
        assert total_miss(goals, {**good, **worse}) > total_miss(goals, good)
    assert total_miss(goals, {**good, "TPSA": 10.0}) == total_miss(goals, good)


def test_pareto_front_holds_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    misses = rng.random((60, 3))
    front = pareto_front(misses)
    for k, row in enumerate(misses):
        beaten = ((misses <= row).all(1) & (misses < row).any(1)).any()
        assert front[k] == (not beaten)


def test_pareto_table_lists_the_best_at_the_first_target_first() -> None:
    scores = {"QED": [0.9, 0.5, 0.8], "logP": [1.0, 2.4, 2.5], "TPSA": [10.0, 20.0, 30.0]}
    told: dict[str, float | str] = {"QED": "max", "TPSA": "<90", "logP": 2.5}
    rows = pareto(told, scores, ["A", "B", "C"])
    assert [row["smiles"] for row in rows] == ["A", "C"] and rows[0]["TPSA"] == 10.0
    lines = pareto_text(rows)
    assert len(lines) == 3 and "QED" in lines[0] and lines[1].endswith("A")
    assert lines[0].startswith("Pareto front, 2 molecules: ")
    assert pareto_text(rows[:1])[0].startswith("Pareto front, 1 molecule: ")
    width = lines[0].index("QED")
    assert lines[1][width - 5 :].split()[:2] == ["0.9", "10"], "numbers below their names"
    assert pareto({"QED": "max", "TPSA": "<90"}, scores, ["A", "B", "C"]) == []
    assert pareto_text([]) == []


def test_what_was_achieved_of_the_graphs_properties_is_exact() -> None:
    told: dict[str, float | str] = {"QED": "max", "TPSA": "<90", "gap_eV": 7.0, "logP": 2.5}
    scores = {"QED": [0.9, 0.5], "TPSA": [10.0, 20.0], "logP": [2.0, 4.0], "gap_eV": [6.0, 7.0]}
    rows = {row["property"]: row for row in achieved(told, scores, ("network", "rdkit"))}
    assert len(rows) == 4 and rows["gap_eV"]["judge"] == "network"
    assert rows["QED"]["best"] == 0.9 and rows["logP"]["mean_absolute_error"] == 1.0
    assert rows["logP"]["mean_absolute_error_se"] == pytest.approx(0.5)
    assert achieved_text(rows["QED"]).startswith("QED: target max, achieved (judge rdkit)")
    assert achieved_text(rows["TPSA"]).endswith("kept by all")
