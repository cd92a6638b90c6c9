"""Every example in a docstring of the adapters runs; none is skipped."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ADAPTERS = Path(__file__).parents[2] / "adapters"
NAMES = sorted(
    ".".join(("equidrift.adapters", *path.relative_to(ADAPTERS).with_suffix("").parts))
    for path in ADAPTERS.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_examples_of_an_adapter_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert tests
    for test in tests:
        assert not any(doctest.SKIP in example.options for example in test.examples), test.name
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
