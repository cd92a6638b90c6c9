"""Every tool says how it is used, does nothing when it is loaded, and serves something."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.tools.loading import ROOT

TOOLS = sorted((ROOT / "tools").glob("*.py"))
FOLDERS = ("docs", "models", "plugin", "adapters", "tests", "examples", "tools", ".ci")
TEXTS = {".md", ".py", ".json", ".yaml", ".yml", ".cfg", ".toml", ""}


def _texts() -> dict[Path, str]:
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {path: path.read_text(errors="ignore") for path in files if path.suffix in TEXTS}


TEXT = _texts()


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.name)
def test_tool_says_how_it_is_used(path: Path) -> None:
    tree = ast.parse(path.read_text())
    usage = ast.get_docstring(tree) or ""
    assert path.name in usage, "its docstring shows the command"
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    assert 'if __name__ == "__main__":' in path.read_text(), "loading it does nothing"


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.name)
def test_tool_is_named_where_its_work_is_used(path: Path) -> None:
    others = [other for other, text in TEXT.items() if other != path and path.stem in text]
    assert others, "nothing names it: remove it, or say what needs it"
