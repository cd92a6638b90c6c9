"""Failures of long runs: counted, the first of them listed, all of them in a table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from equidrift.files import failures, tabled
from equidrift.files.failures import add_counts, add_failures, no_failures
from equidrift.files.stream import StreamWriter
from tests.commands import Cli, caller
from tests.conftest import make_ensemble
from tests.killing import same_when_killed_at_any_step

COMMAND = {"n": 1}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary lists three failures."""
    monkeypatch.setattr(failures, "LISTED", 3)
    monkeypatch.setattr(tabled, "LISTED", 3)


def failing(first: int, count: int) -> list[dict[str, object]]:
    return [
        {"index": k, "title": f'm{k}, "odd"', "error": f"only 0 of {k}"}
        for k in range(first, first + count)
    ]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as table:
        return list(csv.DictReader(table))


@pytest.mark.parametrize("made", [True, False])
def test_table_of_failures_is_whole_when_the_writer_is_killed_at_any_step(
    made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.sdf"

    def run() -> None:
        writer = StreamWriter(path, COMMAND)
        for k in range(writer.position[0], 3):
            pieces = [(make_ensemble("imine"), 0)] if made else []
            writer.write(pieces, (k + 1, 0), {}, failing(2 * k, 2))
        assert writer.list_failures() == path.with_name("x.sdf.failures.csv")
        if made:
            writer.finish()
        else:
            writer.discard()

    modules = ("stream", "whole", "tabled")
    whole, steps = same_when_killed_at_any_step(run, tmp_path, modules, monkeypatch)
    assert sorted(whole) == [*(["x.sdf"] if made else []), "x.sdf.failures.csv"]
    table = io.StringIO(whole["x.sdf.failures.csv"].decode())
    assert [row["title"] for row in csv.DictReader(table)] == [f'm{k}, "odd"' for k in range(6)]
    assert steps > 5


def test_failures_are_listed_without_a_table_when_they_are_few(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path / "x.sdf", COMMAND)
    writer.write([(make_ensemble("imine"), 0)], (1, 0), {}, failing(0, 3))
    assert writer.list_failures() is None
    writer.finish()
    assert [file.name for file in tmp_path.iterdir()] == ["x.sdf"]


def test_counts_of_a_run_stay_small_when_everything_fails() -> None:
    counts = no_failures()
    for k in range(50):
        add_failures(counts, failing(4 * k, 4))
    assert counts["failed"] == 200 and len(counts["failures"]) == 3
    assert counts["failures_by_reason"] == {"too few valid conformers": 200}
    whole = no_failures()
    for _ in range(2):
        add_counts(whole, counts)
    assert whole["failed"] == 400 and whole["failures"] == counts["failures"]
    assert whole["failures_by_reason"] == {"too few valid conformers": 400}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return caller(monkeypatch, capsys)


def test_table_of_failures_is_not_overwritten_when_it_is_somebody_elses(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["CCO", *(f"nonsense{k}" for k in range(4))]
    (tmp_path / "in.smi").write_text("\n".join(lines) + "\n")
    table = tmp_path / "x.sdf.failures.csv"
    table.write_text("mine")
    arguments = ["sample", "in.smi", "--model", "etkdg", "-o", "x.sdf"]
    code, _, told = cli(*arguments)
    assert code == 2 and str(table.name) in told and table.read_text() == "mine"
    code, out, _ = cli(*arguments, "--overwrite", "--json")
    told = json.loads(out)
    assert code == 1 and told["failed"] == 4 and len(told["failures"]) == 3
    assert told["failures_file"] == table.name and len(rows(table)) == 4
    assert told["failures_by_reason"] == {"refused": 4}
    assert [row["index"] for row in rows(table)] == ["1", "2", "3", "4"]
    # the same command again knows it; one that replaces it by fewer removes it
    code, out, _ = cli(*arguments, "--json")
    assert json.loads(out)["finished_before"] and json.loads(out)["failures_file"] == table.name
    (tmp_path / "in.smi").write_text("CCO\n")
    assert cli(*arguments, "--overwrite")[0] == 0 and not table.exists()
