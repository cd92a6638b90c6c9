"""Parts of a benchmark: which are measured, and where their rows go."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from equidrift.bench.parts import chosen_parts, measured, of_data
from equidrift.bench.rows import Row, row
from equidrift.cli.bench import OF_PARTS
from equidrift.errors import EquidriftError, InputError, UnknownNameError


def one(name: str, value: float) -> list[Row]:
    return [row(name, {"value": value}, 1)]


def test_parts_are_taken_in_the_benchmarks_order() -> None:
    assert chosen_parts(None, ["b", "a"]) == ["b", "a"]
    assert chosen_parts(" a, b", ["b", "a", "c"]) == ["b", "a"]
    with pytest.raises(UnknownNameError, match="Did you mean 'rigid'"):
        chosen_parts("rigit", ["rigid", "ala2"])


def test_rows_take_the_places_of_earlier_ones_of_their_name(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    earlier = {"name": "x", "commit": "abc", "machine": {}, "rows": one("b/1", 5) + one("a/1", 6)}
    file.write_text(json.dumps(earlier))
    parts = {"a": lambda: one("a/1", 1.0), "b": lambda: one("b/1", 2.0)}
    assert [r["row"] for r in measured("x", parts, "a", str(file))["rows"]] == ["a/1"]
    kept = json.loads(file.read_text())["rows"]
    assert kept == [{"commit": "abc", **one("b/1", 5)[0]}, one("a/1", 1.0)[0]]


def test_what_was_measured_before_a_failure_is_in_the_file(tmp_path: Path) -> None:
    def fails() -> list[Row]:
        raise InputError("no")

    file = tmp_path / "bench.json"
    with pytest.raises(InputError):
        measured("x", {"a": lambda: one("a/1", 1.0), "b": fails}, None, str(file))
    assert [r["row"] for r in json.loads(file.read_text())["rows"]] == ["a/1"]
    with pytest.raises(InputError, match="holds no result of `equidrift bench y --json`"):
        measured("y", {}, None, str(file))
    with pytest.raises(InputError, match="no folder"):
        measured("y", {"a": fails}, None, str(tmp_path / "none" / "bench.json"))


@pytest.mark.parametrize("name", [name for name in OF_PARTS if name != "molecules"])
def test_every_benchmark_of_parts_tells_which_it_has(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it measures anything; molecules: tests/plugin/bench/test_molecules.py."""
    (tmp_path / "gfn2_conformers").mkdir()
    (tmp_path / "gfn2_conformers" / "qm9_val.npz").touch()
    monkeypatch.setenv("EQUIDRIFT_DATA", str(tmp_path))
    run = import_module(f"equidrift.bench.{name}").run
    with pytest.raises(EquidriftError, match=r"unknown part \(--parts\) 'none'"):
        run(parts="none")


def test_parts_whose_data_is_missing_tell_so_and_have_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def rows(folder: Path) -> list[Row]:
        return one(f"a/{folder.name}", 1.0)

    monkeypatch.setenv("EQUIDRIFT_DATA", str(tmp_path))
    (tmp_path / "there").touch()
    assert of_data("a", ["there", "not"], rows, told.append) == []
    assert told.pop() == f"a: left out, not is not in {tmp_path}"
    assert of_data("a", ["there"], rows, told.append)[0]["row"] == f"a/{tmp_path.name}"
    monkeypatch.delenv("EQUIDRIFT_DATA")
    assert of_data("a", ["there"], rows, told.append) == []
    assert told == ["a: left out, there is not in EQUIDRIFT_DATA, which is not set"]
