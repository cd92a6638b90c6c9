"""The example of completed forces runs as a user would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "13_complete_forces.py"


@pytest.mark.long
def test_completed_forces_example(tmp_path: Path) -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    done = subprocess.run(
        [sys.executable, EXAMPLE, "3"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and "nan" not in done.stdout
