"""docs/architecture.md says what the imports are: rooms from the roof to the ground,
and three paths through them.
"""

from __future__ import annotations

import ast
import configparser
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CORE = ROOT / "plugin"
OUTSIDE = {"__init__", "_version"}
# lazy, see the page
UPWARD = {
    ("records", "registry"),
    ("molecule", "registry"),
    ("shown", "registry"),
}


def block(name: str) -> list[str]:
    found = re.search(rf"```{name}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1].strip().splitlines()


ROWS = [re.split(r"\s{2,}", line)[0].split() for line in block("rooms")]
HEIGHT = {room: len(ROWS) - row for row, rooms in enumerate(ROWS) for room in rooms}
PATHS = {line.split()[0]: line.split(maxsplit=1)[1].split(" -> ") for line in block("paths")}


def room_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Modules of the core that a file imports anywhere in it, type checkers' imports
    left out.
    """
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.ImportFrom):
                module = child.module or ""
                names.update(f"{module}.{alias.name}" for alias in child.names)
            elif isinstance(child, ast.Import):
                names.update(alias.name for alias in child.names)
            visit(child)

    visit(ast.parse(path.read_text()))
    return {name.removeprefix("equidrift.") for name in names if name.startswith("equidrift.")}


FILES = sorted(path for path in CORE.rglob("*.py") if room_of(path) not in OUTSIDE)


def test_the_page_lists_every_room_of_the_core() -> None:
    assert {room_of(path) for path in FILES} == set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    for name in imported(path):
        other = name.split(".")[0]
        if other in HEIGHT and other != room and (room, other) not in UPWARD:
            assert HEIGHT[other] < HEIGHT[room], f"{room} imports {name}"


def sources(name: str) -> list[Path]:
    """The file of a module, or the files of a room."""
    place = CORE / name.replace(".", "/")
    found = sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert found and all(file.is_file() for file in found), name
    return found


def linked(one: str, other: str) -> bool:
    return any(name.startswith(other) for file in sources(one) for name in imported(file)) or any(
        name.startswith(one) for file in sources(other) for name in imported(file)
    )


@pytest.mark.parametrize("command", PATHS)
def test_a_path_enters_each_room_once_and_follows_imports(command: str) -> None:
    stations = PATHS[command]
    rooms = [station.split(".")[0] for station in stations]
    assert len(set(rooms)) == len(rooms)
    for one, other in pairwise(stations):
        assert linked(one, other), f"{one} and {other} do not meet"


def test_signposts_of_the_page_lead_somewhere() -> None:
    signposts = re.findall(r"\| `([\w/]+\.py)` \|", PAGE)
    assert len(signposts) >= 6
    assert all((ROOT / path).is_file() for path in signposts)


def test_every_package_is_in_the_wheel() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    places = dict(
        line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines()
    )
    found = {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for name, folder in places.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(config["options"]["packages"].split())
