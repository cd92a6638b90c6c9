"""Records validate what they are given and cannot be changed."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equidrift.errors import InputError
from equidrift.records import Ensemble, Molecule, Proposal, Trajectory

WATER: dict[str, Any] = {
    "numbers": [8, 1, 1],
    "bonds": [(0, 1), (0, 2)],
    "bond_orders": [1, 1],
    "formal_charges": [0, 0, 0],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bonds": [(0, 3), (0, 1)]}, "bonds names atom 3, but the molecule has 3 atoms"),
        ({"bonds": [(0, 1, 2)]}, r"bonds has shape \(1, 3\), expected \(any, 2\)"),
        ({"bond_orders": [1]}, r"bond_orders has shape \(1,\), expected \(2\)"),
        ({"formal_charges": [0]}, r"formal_charges has shape"),
        ({"numbers": [8, 1, 999]}, "numbers must be atomic numbers 1 to"),
        ({"atom_names": ("O",)}, "atom_names has 1 entry for 3 atoms"),
        ({"numbers": [8.5, 1, 1]}, "numbers must be whole numbers"),
        ({"numbers": ["O", "H", "H"]}, "numbers must be whole numbers"),
        ({"formal_charges": [10**30, 0, 0]}, "formal_charges must be whole numbers"),
        ({"formal_charges": [99, 0, 0]}, "formal_charges must be -20 to 20, not 99"),
        ({"bond_orders": [1, 4]}, "bond_orders must be 0, 1, 1.5, 2, 3, not 4"),
        ({"multiplicity": 0}, "multiplicity must be 1 to 99, not 0"),
        ({"isotopes": [-2, 0, 0]}, "isotopes must be 0 to 999, not -2"),
        ({"isotopes": [2]}, r"isotopes has shape \(1,\)"),
        ({"name": "a\ud800b"}, "name holds half of a surrogate pair"),
        ({"name": "a\x00b"}, "name holds a control character"),
        ({"name": "a" * 10_001}, "name has 10001 characters, and may have 10000"),
        ({"atom_names": ("O" * 65, "H", "H")}, "atom_names has 65 characters"),
        ({"properties": {"a\x07": "1"}}, "a name in properties holds a control character"),
        ({"properties": {"a": "\x1b"}}, r"properties\['a'\] holds a control character"),
        ({"tetrahedral": [(0, 1, 2, 7, 0)]}, "tetrahedral names atom 7"),
    ],
)
def test_molecule_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Molecule(**{**WATER, **change})


def test_molecule_is_a_value() -> None:
    water = Molecule(**WATER)
    assert water == Molecule(**{**WATER, "bonds": [(1, 0), (0, 2)]}) and hash(water) == hash(
        Molecule(**WATER)
    )
    assert water != water.replace(formal_charges=[1, 0, 0])
    assert water.replace(formal_charges=[1, 0, 0]).charge == 1 and water.charge == 0
    assert water.symbols == ["O", "H", "H"]
    with pytest.raises(ValueError, match="read-only"):
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
        (
            {"positions_A": np.zeros((2, 4, 3))},
            r"positions_A has shape \(2, 4, 3\), expected \(any, 3, 3\)",
        ),
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
    ensemble = Ensemble(
        Molecule(**WATER),
        positions,
        energies_eV=np.arange(n),
        scores={"s": np.arange(n)},
        provenance={"model": "m"},
    )
    pick = data.draw(st.lists(st.integers(0, n - 1), max_size=5)) if n else []
    part = ensemble[np.array(pick, int)]
    assert len(part) == len(pick) and part.provenance["model"] == "m"
    np.testing.assert_array_equal(part.positions_A, positions[pick])
    np.testing.assert_array_equal(part.scores["s"], np.asarray(pick, float))


def test_ensemble_cannot_be_changed() -> None:
    ensemble = Ensemble(
        Molecule(**WATER), np.zeros((2, 3, 3)), scores={"s": [1, 2]}, provenance={"model": "m"}
    )
    with pytest.raises(ValueError, match="read-only"):
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


WHOLE = Molecule(
    **WATER,
    isotopes=[18, 2, 0],
    atom_maps=[1, 0, 0],
    name="heavy",
    smiles="[18OH2]",
    properties={"id": "7"},
)
POSITIONS_A = np.arange(18.0).reshape(2, 3, 3)
RECORDS = {
    "molecule": WHOLE,
    "ensemble": Ensemble(
        WHOLE,
        POSITIONS_A,
        energies_eV=[0.0, 1.0],
        scores={"a": [1.0, 2.0]},
        provenance={"model": "m", "options": {"steps": 2}},
        properties={"pose": ["1", "2"]},
    ),
    "trajectory": Trajectory(
        WHOLE, POSITIONS_A, [0.0, 1.0], box_A=np.eye(3), provenance={"exact": False}
    ),
    "proposal": Proposal(POSITIONS_A[0], 0.5, {"kind": "jump"}),
}


def contents(value: Any) -> Any:
    """A record as comparable values, with what may be written to."""
    if dataclasses.is_dataclass(value):
        return {f.name: contents(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist(), value.dtype.str, value.flags.writeable
    return (
        {key: contents(item) for key, item in value.items()} if hasattr(value, "items") else value
    )


def through_a_worker(record: Any) -> Any:
    return record


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize(
    "way",
    [lambda r: pickle.loads(pickle.dumps(r)), copy.deepcopy, copy.copy],
    ids=["pickle", "deepcopy", "copy"],
)
def test_record_is_the_same_after_a_copy_and_stays_read_only(name: str, way: Any) -> None:
    record = RECORDS[name]
    again = way(record)
    assert type(again) is type(record) and again is not record
    assert contents(again) == contents(record)
    if name != "proposal":
        with pytest.raises(TypeError):
            (again.properties if name == "molecule" else again.provenance)["new"] = 1


@pytest.mark.parametrize(
    "method", sorted(set(multiprocessing.get_all_start_methods()) & {"fork", "spawn"})
)
def test_records_go_through_the_workers_of_a_pool(method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        for record, again in zip(
            RECORDS.values(), pool.map(through_a_worker, RECORDS.values()), strict=True
        ):
            assert contents(again) == contents(record)


def test_isotopes_make_another_molecule_and_maps_do_not() -> None:
    plain = Molecule(**WATER)
    assert plain != plain.replace(isotopes=[0, 2, 0]) and plain == plain.replace(
        atom_maps=[3, 0, 0], name="x", properties={"a": "b"}
    )
    assert plain.isotopes.tolist() == [0, 0, 0] == plain.atom_maps.tolist()


def test_properties_of_samples_follow_the_samples() -> None:
    ensemble = RECORDS["ensemble"]
    assert ensemble[1].properties == {"pose": ("2",)} and ensemble[[1, 0]].properties == {
        "pose": ("2", "1")
    }
    with pytest.raises(InputError, match=r"properties\['pose'\] must hold 2 texts"):
        ensemble.replace(properties={"pose": ["1"]})


@given(
    st.lists(st.floats(-50, 50) | st.just(np.nan), min_size=1, max_size=6),
    st.floats(50, 2000),
)
def test_boltzmann_weights_are_ratios_of_boltzmann_factors(
    energies_eV: list[float], temperature_K: float
) -> None:
    molecule = Molecule.from_smiles("O")
    ensemble = Ensemble(molecule, np.zeros((len(energies_eV), 3, 3)), energies_eV=energies_eV)
    known = np.isfinite(energies_eV)
    if not known.any():
        with pytest.raises(InputError, match="has no energies"):
            ensemble.boltzmann_weights(temperature_K)
        return
    weights = ensemble.boltzmann_weights(temperature_K)
    assert weights.sum() == pytest.approx(1)
    assert not weights[~known].any()
    lowest = int(np.nanargmin(energies_eV))
    gap_eV = np.array(energies_eV)[known] - energies_eV[lowest]
    ratios = weights[known] / weights[lowest]
    expected = np.exp(-gap_eV / (8.617333262e-5 * temperature_K))
    np.testing.assert_allclose(ratios, expected, atol=1e-300)  # a half of 5e-324 is 0


@pytest.mark.parametrize("temperature_K", [0.0, -300.0, np.inf, np.nan])
def test_boltzmann_weights_refuse_a_temperature_that_is_none(temperature_K: float) -> None:
    ensemble = Ensemble(Molecule.from_smiles("O"), np.zeros((1, 3, 3)), energies_eV=[0.0])
    with pytest.raises(InputError, match="temperature_K"):
        ensemble.boltzmann_weights(temperature_K)
