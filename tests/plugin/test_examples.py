"""Every public name of the package has an example in its docstring, and it runs."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import equidrift

RECORDS = (equidrift.Molecule, equidrift.Ensemble, equidrift.Trajectory)
NAMES = [name for name in equidrift.__all__ if not name.startswith("__")]


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_example(getattr(equidrift, name), name)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_examples_of_the_methods_of_a_record_run(
    record: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, method in inspect.getmembers(record, callable):
        if not name.startswith("_"):
            run_example(method, name)


def run_example(made: object, name: str) -> None:
    (test,) = doctest.DocTestFinder(recurse=False).find(made, name, globs={})
    assert test.examples, f"{name} has no example"
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
