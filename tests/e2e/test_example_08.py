"""The core-constrained example runs as a user would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "08_core_constrained_to_openmm.py"


@pytest.mark.long
def test_core_constrained_example(tmp_path: Path) -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 50
    done = subprocess.run(
        [sys.executable, EXAMPLE, "2", "default"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        core_A, rest_A = (float(x) for x in re.findall(r"([\d.]+) A", line))
        assert core_A < 1e-3 < rest_A < 8.0
