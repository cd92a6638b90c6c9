"""Records validate what they are given and cannot be changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equidrift.errors import InputError
from equidrift.records import Ensemble, Molecule, Trajectory

WATER: dict[str, Any] = {"numbers": [8, 1, 1], "bonds": [(0, 1), (0, 2)], "bond_orders": [1, 1], "formal_charges": [0, 0, 0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bonds": [(0, 3), (0, 1)]}, "bonds names atom 3, but the molecule has 3 atoms"),
        ({"bonds": [(0, 1, 2)]}, r"bonds has shape \(1, 3\), expected \(any, 2\)"),
        ({"bond_orders": [1]}, r"bond_orders has shape \(1,\), expected \(2\)"),
        ({"formal_charges": [0]}, r"formal_charges has shape"),
        ({"numbers": [8, 1, 999]}, "numbers must be atomic numbers 1 to"),
        ({"atom_names": ("O",)}, "atom_names has 1 entries for 3 atoms"),
        ({"tetrahedral": [(0, 1, 2, 7, 0)]}, "tetrahedral names atom 7"),
    ],
)
def test_molecule_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Molecule(**{**WATER, **change})


def test_molecule_is_a_value() -> None:
    water = Molecule(**WATER)
    assert water == Molecule(**{**WATER, "bonds": [(1, 0), (0, 2)]}) and hash(water) == hash(Molecule(**WATER))
    assert water != water.replace(formal_charges=[1, 0, 0])
    assert water.replace(formal_charges=[1, 0, 0]).charge == 1 and water.charge == 0
    assert water.symbols == ["O", "H", "H"]
    with pytest.raises(ValueError):
        water.numbers[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        water.name = "x"  # type: ignore[misc]


def test_molecule_copies_its_arrays() -> None:
    numbers = np.array([8, 1, 1])
    water = Molecule(**{**WATER, "numbers": numbers})
    numbers[0] = 6
    assert water.numbers[0] == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions_A": np.zeros((2, 4, 3))}, r"positions_A has shape \(2, 4, 3\), expected \(any, 3, 3\)"),
        ({"seeds": [1]}, "seeds has shape"),
        ({"valid": [True]}, "valid has shape"),
        ({"energies_eV": [0.0]}, "energies_eV has shape"),
        ({"scores": {"a": [0.0]}}, r"scores\['a'\] has shape"),
    ],
)
def test_ensemble_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Ensemble(**{"molecule": Molecule(**WATER), "positions_A": np.zeros((2, 3, 3)), **change})


@given(st.integers(0, 6), st.data())
def test_ensemble_picks(n: int, data: st.DataObject) -> None:
    positions = np.arange(n * 9.0).reshape(n, 3, 3)
    ensemble = Ensemble(Molecule(**WATER), positions, energies_eV=np.arange(n), scores={"s": np.arange(n)}, provenance={"model": "m"})
    pick = data.draw(st.lists(st.integers(0, n - 1), max_size=5)) if n else []
    part = ensemble[np.array(pick, int)]
    assert len(part) == len(pick) and part.provenance["model"] == "m"
    np.testing.assert_array_equal(part.positions_A, positions[pick])
    np.testing.assert_array_equal(part.scores["s"], np.asarray(pick, float))


def test_ensemble_cannot_be_changed() -> None:
    ensemble = Ensemble(Molecule(**WATER), np.zeros((2, 3, 3)), scores={"s": [1, 2]}, provenance={"model": "m"})
    with pytest.raises(ValueError):
        ensemble.positions_A[0] = 1
    with pytest.raises(TypeError):
        ensemble.provenance["model"] = "x"  # type: ignore[index]
    assert ensemble.replace(valid=[False, True]).valid.tolist() == [False, True]  # type: ignore[union-attr]
    assert ensemble.valid.all()  # type: ignore[union-attr]


def test_trajectory_refuses() -> None:
    with pytest.raises(InputError, match="time_fs has shape"):
        Trajectory(Molecule(**WATER), np.zeros((2, 3, 3)), np.zeros(3))
    with pytest.raises(InputError, match="box_A has shape"):
        Trajectory(Molecule(**WATER), np.zeros((2, 3, 3)), np.zeros(2), box_A=np.zeros(3))
