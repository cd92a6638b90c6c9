"""The ASE example runs as a user would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "02_ase_generator_optimiser_db.py"


@pytest.mark.long
def test_ase_example(tmp_path):
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    done = subprocess.run(
        [sys.executable, EXAMPLE, "2", "etkdg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[0].endswith("eV/A") and " 0.000 eV above the best" in lines[0]
    assert (tmp_path / "conformers.db").is_file()
