"""What a checkpoint of MD holds of its proposer is checked field by field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from equidrift.errors import InputError
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.protocols import StorableProposer
from equidrift.stored import StoredRun, checked, read_stored
from tests.contract import test_proposers as suites

SUITES = {
    suite.__name__: suite
    for suite in (
        suites.TestUniform,
        suites.TestUniformBlocks,
        suites.TestHistogram,
        suites.TestMixture,
        suites.TestLocal,
        suites.TestHeatBath,
        suites.TestTorsion,
    )
}


@lru_cache
def plain(name: str) -> str:
    made = SUITES[name]().make()
    assert isinstance(made, StorableProposer)
    return json.dumps(made.to_dict())


def run_of(proposer: dict[str, Any]) -> dict[str, Any]:
    return {"identity": "abc", "proposer": proposer, "adaptation": {}}


@pytest.mark.parametrize("name", SUITES)
def test_proposer_comes_out_of_its_check_unchanged(name: str) -> None:
    data = json.loads(plain(name))
    kept = checked(run_of(data), StoredRun, "run").proposer
    assert kept == data
    proposer_from_dict(kept)


@pytest.mark.parametrize("name", SUITES)
def test_field_that_is_missing_is_named(name: str) -> None:
    data = json.loads(plain(name))
    for field in set(data) - {"proposer"}:
        broken = {key: value for key, value in data.items() if key != field}
        with pytest.raises(InputError, match=rf"proposer\.[\w-]+\.{field}' is missing"):
            checked(run_of(broken), StoredRun, "run")


def at(*path: str | int) -> Callable[[dict[str, Any], Any], None]:
    """What puts a value at a place within plain data."""

    def put(data: dict[str, Any], value: Any) -> None:
        place: Any = data
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return put


TAMPERED = {
    "atom of another molecule": ("TestUniform", at("tree", "bonds", 0, 0), 99, "99"),
    "negative atom": ("TestUniform", at("tree", "atoms", 0, 0), -1, "tree.atoms.0.0"),
    "text for a number": ("TestLocal", at("sigma_rad"), "0.4", "sigma_rad"),
    "no step": ("TestLocal", at("sigma_rad"), 0.0, "sigma_rad"),
    "block of none": ("TestUniformBlocks", at("block_size"), 0, "block_size"),
    "another density": ("TestUniform", at("density", "kind"), "Cauchy", "density"),
    "negative weight": ("TestMixture", at("density", "weights", 0), -1.0, "weights.0"),
    "width of zero": ("TestMixture", at("density", "sigmas", 0, 0), 0.0, "sigmas.0.0"),
    "component short": ("TestMixture", at("density", "means"), [], "rows of means"),
    "table of zeros": ("TestHistogram", at("density", "table"), [0.0, 1.0], "table"),
    "another kind": ("TestUniform", at("proposer"), "telepathy", "proposer"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_proposer_is_refused_in_one_line_with_file_and_field(
    case: str, tmp_path: Path
) -> None:
    name, put, value, field = TAMPERED[case]
    data = copy.deepcopy(json.loads(plain(name)))
    put(data, value)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run_of(data)))
    with pytest.raises(InputError) as raised:
        read_stored(path, StoredRun, "run of equidrift md")
    message = str(raised.value)
    assert "run.json" in message and field in message and "\n" not in message
