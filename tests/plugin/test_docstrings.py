"""Docstrings keep numpydoc's form: `name : type`, the description indented below it."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from numpydoc.docscrape import FunctionDoc, NumpyDocString
from numpydoc.hooks.validate_docstrings import process_file

import equidrift

ROOT = Path(equidrift.__file__).parent
CHECKS = {
    "GL03",  # no two blank lines in a row
    "GL06",  # no section that numpydoc does not know
    "GL07",  # sections in numpydoc's order
    "PR02",  # nothing is described that is no parameter
    "PR03",  # in the order of the signature
    "PR04",  # each has a type
    "PR05",  # which is no sentence
    "PR06",  # and in numpydoc's words
    "PR07",  # each has a description
    "PR10",  # a blank on both sides of the colon
    "RT03",  # what is returned is described
}
# "n, seed, steps" / "As for `equidrift.sample`.": the types stand there
ELSEWHERE = {"PR04": r"\n +As for `|\n +See `"}
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
CORE = [name for name in FILES if not name.startswith(("adapters/", "models/"))]
FUNCTIONS = [name for name in equidrift.__all__ if inspect.isfunction(getattr(equidrift, name))]
RECORDS = (equidrift.Molecule, equidrift.Ensemble, equidrift.Trajectory)


def faults(path: Path) -> list[str]:
    """What numpydoc finds wrong with the docstrings of a module."""
    config = {"checks": CHECKS, "exclude": set(), "overrides": ELSEWHERE}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpydoc only warns of a broken underline
        found = process_file(path, config)
    classes = {node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)}
    return [
        f"{name}: {code} {told}"
        for _, name, code, told in found
        # the fields of a dataclass are no parameters to it: see the test of the fields
        if not (code == "PR02" and name.rpartition(".")[2] in classes)
    ]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def dataclasses_of(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef) and "dataclass" in map(called, node.decorator_list):
            yield node


def called(decorator: ast.expr) -> str:
    name = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(name)


@pytest.mark.parametrize("name", CORE)
def test_docstrings_of_a_module_have_numpydocs_form(name: str) -> None:
    assert faults(ROOT / name) == []


@pytest.mark.parametrize("name", CORE)
def test_docstring_of_a_dataclass_describes_fields_that_it_has(name: str) -> None:
    for node in dataclasses_of(ROOT / name):
        described = NumpyDocString(ast.get_docstring(node) or "")["Parameters"]
        names = {one for entry in described for one in entry.name.split(", ")}
        fields = {ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)}
        assert names <= fields or node.bases, f"{node.name} has no {names - fields}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_function_describes_every_parameter_and_has_an_example(name: str) -> None:
    function = getattr(equidrift, name)
    told = FunctionDoc(function)
    described = {
        one.lstrip("*") for entry in told["Parameters"] for one in re.split(r",\s*", entry.name)
    }
    assert described == set(inspect.signature(function).parameters)
    assert told["Returns"] or told["Yields"]
    assert any(">>>" in line for line in told["Examples"])


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_record_describes_its_fields_and_has_an_example(record: type) -> None:
    told = NumpyDocString(inspect.getdoc(record) or "")
    described = {one for entry in told["Parameters"] for one in entry.name.split(", ")}
    assert described == set(inspect.signature(record).parameters)
    assert any(">>>" in line for line in told["Examples"])
    for name, method in inspect.getmembers(record, callable):
        if name.startswith("_"):
            continue
        told = FunctionDoc(method)
        parameters = set(inspect.signature(method).parameters) - {"self"}
        described = {entry.name.lstrip("*") for entry in told["Parameters"]}
        assert described == parameters, method.__qualname__
        assert told["Examples"], method.__qualname__
