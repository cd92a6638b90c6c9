"""Tensors are made where their inputs are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "models"
MAKERS = {"arange", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint"}
MAKERS |= {"randn", "randperm", "tensor", "zeros"}
PARAMETERS = {"__init__", "_spline_weights"}  # what they make moves with its module


def makers(source: str) -> Iterator[ast.Call]:
    """Calls of torch that make a tensor, outside of what makes a module's parameters."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name in PARAMETERS
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in inside:
            continue
        called = ast.unparse(node.func)
        if called.startswith("torch.") and called.removeprefix("torch.") in MAKERS:
            yield node


@pytest.mark.parametrize("room", ["shared", "boltzmann"])
def test_tensors_name_their_device(room: str) -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for call in makers(path.read_text())
        if all(keyword.arg != "device" for keyword in call.keywords)
    ]
    assert not bare, "give device="


def test_the_search_finds_a_tensor_without_a_device() -> None:
    assert [call.lineno for call in makers("def f():\n    return torch.zeros(3)")] == [2]
    assert not list(makers("class A:\n    def __init__(self):\n        torch.zeros(3)"))
