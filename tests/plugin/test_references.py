"""What users read cites papers that they have, not pages of the authors' own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("plugin", "adapters", "models", "examples", "docs", "tools", "changelog.d")
READ = (".py", ".md", ".json", ".yaml")
FILES = [
    path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in READ
]
OWN_PAGES = re.compile(
    r"(?<!docs/)\b(methods|hosts|symmetry_kit|architecture|style)\.md\b|\bmethods [A-F](\.\d+)?\b"
)


@pytest.mark.parametrize(
    "path",
    [*FILES, ROOT / "README.md", ROOT / "CHANGELOG.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_citations_are_of_published_work(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [
        f"{number}: {line.strip()[:100]}"
        for number, line in enumerate(lines, 1)
        if OWN_PAGES.search(line)
    ]
