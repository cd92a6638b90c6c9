"""Names of tests are promises, and no test is skipped for a module of our own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))


def functions(path: Path) -> list[ast.FunctionDef]:
    """The tests of a file, those of its classes included."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_names_of_tests_say_more_than_their_subject(path: Path) -> None:
    short = [test.name for test in functions(path) if test.name.count("_") < 2]
    assert not short, f"{short[0]}: test_<subject>_<does what>_<when>"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_is_skipped_for_a_module_of_our_own(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("importorskip"):
            assert "equidrift" not in ast.unparse(node.args[0])
