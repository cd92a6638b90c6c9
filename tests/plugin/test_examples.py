"""Every public name of the package has an example in its docstring, and it runs."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import equidrift

NAMES = [name for name in equidrift.__all__ if not name.startswith("__")]


@pytest.mark.parametrize("name", NAMES)
def test_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = getattr(equidrift, name)
    (test,) = doctest.DocTestFinder(recurse=False).find(made, name, globs={})
    assert test.examples, f"equidrift.{name} has no example"
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
