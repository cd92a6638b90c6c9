"""Pages of the site that are made of other files: one an example, one a model's card."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SHORT = ("family", "task", "level", "licence", "training_data", "max_atoms", "units", "dtype")


def model_pages(cards: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """One page a card, and their index."""
    made = {str(card["name"]): model_page(card) for card in cards}
    write(folder, made, "# Models\n\nThe weights in the package, one card each.\n")


def example_pages(scripts: Iterable[Path], folder: Path) -> None:
    """One page a script, and their index."""
    made = {path.stem: example_page(path) for path in scripts}
    write(folder, made, "# Examples\n\nEach runs in the tests: `python examples/NAME.py`.\n")


def write(folder: Path, pages: Mapping[str, str], head: str) -> None:
    """Write pages and `index.md`; a page that is as it was keeps its time."""
    folder.mkdir(exist_ok=True)
    tree = "```{toctree}\n:maxdepth: 1\n\n" + "\n".join(pages) + "\n```\n"
    for name, text in {**pages, "index": f"{head}\n{tree}"}.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for old in folder.glob("*.md"):
        if old.stem not in pages and old.stem != "index":
            old.unlink()


def model_page(card: Mapping[str, Any]) -> str:
    """A card as a page."""
    lines = [f"# {card['name']}", "", str(card.get("description", "")), "", "| | |", "|---|---|"]
    lines += [f"| {key.replace('_', ' ')} | {card[key]} |" for key in SHORT if key in card]
    if "elements" in card:
        lines.append(f"| elements | {' '.join(map(str, card['elements']))} |")
    quality = card.get("quality")
    if quality:
        lines += ["", "## Measured", "", *quality_table(quality)]
    return "\n".join(lines) + "\n"


def quality_table(quality: Mapping[str, Any]) -> list[str]:
    """A line a measured row and value."""
    lines = ["| row | value | |", "|---|---|---:|"]
    for row, values in quality.items():
        found = values if isinstance(values, Mapping) else {"": values}
        for key, value in found.items():
            shown = f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
            lines.append(f"| {row} | {key} | {shown} |")
    return lines


def example_page(path: Path) -> str:
    """A script as a page: what its docstring says, then the code."""
    told = ast.get_docstring(ast.parse(path.read_text())) or path.stem
    number, _, name = path.stem.partition("_")
    title = f"{number}. {name.replace('_', ' ')}"
    return f"# {title}\n\n{told}\n\n```{{literalinclude}} ../../examples/{path.name}\n```\n"
