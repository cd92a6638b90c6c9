"""The training runs: a file per run, and the table made of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "runs_table.py"
RUNS = sorted((ROOT / "models" / "zoo" / "runs").glob("*.yaml"))


def test_table_of_runs_is_the_one_of_the_files() -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], check=False)
    assert done.returncode == 0, "run tools/runs_table.py"


def test_numbers_of_runs_are_each_given_once() -> None:
    numbers = [path.name.split("-")[0] for path in RUNS]
    assert len(RUNS) > 50 and len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    "text", ["run: mine\n", "date: 2026-11-28\nrun: mine\nsamples: 3\n", "- mine\n"]
)
def test_run_without_all_fields_is_refused(text: str, tmp_path: Path) -> None:
    sys.path.insert(0, str(TOOL.parent))
    try:
        from runs_table import read_run
    finally:
        sys.path.pop(0)
    (tmp_path / "099-mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"099-mine\.yaml must hold the fields date, run"):
        read_run(tmp_path / "099-mine.yaml")
