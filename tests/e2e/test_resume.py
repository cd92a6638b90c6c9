"""kill -9 or Ctrl-C at any moment, the same command again: the same bytes as a run that was left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stopping import stop_at

RUN = """
import signal, sys
import equidrift.engine as engine
from equidrift.cli.main import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, such as CI's, ignore it
engine.WINDOW = 16
{hook}
run()
"""
N = 64


def command(out: str, hook: str = "") -> list[str]:
    inputs = ["CC(O)CN", "C[C@H](F)Cl"] if out.endswith(".sdf") else ["CC(O)CN"]
    code = RUN.format(hook=hook)
    return [sys.executable, "-c", code, "sample", *inputs, "-n", str(N), "-o", out, "--model", "etkdg", "--seed", "2"]


def stop(out: Path, how: signal.Signals, count: int, *, before: bool) -> subprocess.CompletedProcess[str]:
    """Run the command until it ends itself by a signal, at the writing of its journal for the `count`-th time."""
    hook = stop_at(".journal", count, how=how, before=before)
    return subprocess.run(command(out.name, hook), cwd=out.parent, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("suffix", [".sdf", ".npz"])
def test_killed_run_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    whole, torn = tmp_path / f"whole{suffix}", tmp_path / f"torn{suffix}"
    subprocess.run(command(whole.name), cwd=tmp_path, check=True, capture_output=True)
    for count, before in ((2, True), (2, False)):
        assert stop(torn, signal.SIGKILL, count, before=before).returncode == -signal.SIGKILL
    last = subprocess.run(command(torn.name), cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "continued from conformer" in last.stdout
    assert torn.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [torn.name, whole.name]


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "x.sdf"
    stopped = stop(out, signal.SIGINT, 2, before=False)
    assert stopped.returncode == 130 and "Traceback" not in stopped.stderr
    assert stopped.stderr.startswith("equidrift: interrupted; ") and "the same command goes on from there" in stopped.stderr
    assert (tmp_path / "x.sdf.journal").exists() and not out.exists()
    again = subprocess.run(command(out.name), cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "continued from conformer" in again.stdout and out.exists()
