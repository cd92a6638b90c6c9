"""kill -9 or Ctrl-C at any moment, the same command again: the same bytes as a run that was left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = """
import signal, sys
import equidrift.engine as engine
from equidrift.cli.main import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, such as CI's, ignore it
engine.WINDOW = 16
run()
"""


def command(out: str, n: int) -> list[str]:
    inputs = ["CC(O)CN", "C[C@H](F)Cl"] if out.endswith(".sdf") else ["CC(O)CN"]
    return [sys.executable, "-c", RUN, "sample", *inputs, "-n", str(n), "-o", out, "--model", "etkdg", "--seed", "2"]


def start_and_stop(out: Path, n: int, how: int, rng: random.Random) -> tuple[int, str]:
    """Start the command, stop it some time after its journal has moved; its return code and stderr."""
    journal = out.with_name(out.name + ".journal")
    before = journal.read_bytes() if journal.exists() else b""
    process = subprocess.Popen(command(out.name, n), cwd=out.parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes() != before:
            break
        time.sleep(0.005)
    time.sleep(rng.random() * 0.1)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("suffix", [".sdf", ".npz"])
def test_killed_run_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    n, rng = 250, random.Random(1)
    whole, torn = tmp_path / f"whole{suffix}", tmp_path / f"torn{suffix}"
    subprocess.run(command(whole.name, n), cwd=tmp_path, check=True, capture_output=True)
    codes = [start_and_stop(torn, n, signal.SIGKILL, rng)[0] for _ in range(2)]
    assert -signal.SIGKILL in codes, "the run was over before it could be killed"
    last = subprocess.run(command(torn.name, n), cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "continued from conformer" in last.stdout or codes[-1] == 0
    assert torn.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [torn.name, whole.name]


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    n, out = 1000, tmp_path / "x.sdf"
    code, err = start_and_stop(out, n, signal.SIGINT, random.Random(2))
    assert code == 130 and "Traceback" not in err
    assert err.startswith("equidrift: interrupted; ") and "the same command goes on from there" in err
    assert (tmp_path / "x.sdf.journal").exists() and not out.exists()
