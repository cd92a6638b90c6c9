"""The changelog is made of fragments, one a change."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from tests.tools.loading import ROOT

FRAGMENTS = [
    path
    for path in sorted((ROOT / "changelog.d").glob("*"))
    if path.name not in ("README.md", "template.md")
]
KINDS = {
    kind["directory"]
    for kind in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
}


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_fragment_has_a_kind_that_towncrier_shows(path) -> None:
    name, kind, suffix = path.name.split(".")
    assert name and kind in KINDS and suffix == "md"
    assert path.read_text().strip() and not path.read_text().startswith(("*", "-", "#"))


def test_unreleased_changes_stand_in_fragments_alone() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "<!-- towncrier release notes start -->" in text and "Unreleased" not in text


def test_draft_shows_every_fragment() -> None:
    pytest.importorskip("towncrier", reason="towncrier is in the extra `test`")
    done = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "## 9.9" in done.stdout
    assert done.stdout.count("\n* ") == len(FRAGMENTS)
