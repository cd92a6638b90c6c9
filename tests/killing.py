"""Commands that end themselves after so many steps of their writes to disk, by any
signal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)  # the background jobs of a shell ignore it
from equidrift.files import stream, trajectory_stream, whole
{setup}
left, how, told = int(os.environ["STOP_AT"]), int(os.environ["STOP_HOW"]), 0

def moment(name):
    global left, told
    told += 1
    left -= 1
    if left == 0:
        os.kill(os.getpid(), how)

modules = stream, trajectory_stream, whole
assert all(callable(module.moment) for module in modules) and stream.FLUSH_S > 0
stream.moment = trajectory_stream.moment = whole.moment = moment
stream.FLUSH_S = 0.0  # what is done of a window is kept after each batch
from equidrift.cli.main import run
try:
    run()
finally:
    print(f"moments {{told}}", file=sys.stderr)
"""


def run_until(
    arguments: Sequence[object],
    folder: Path,
    at: int = 0,
    how: int = 9,
    setup: str = "",
    limit_s: float = 600.0,
) -> subprocess.CompletedProcess[str]:
    """Run `equidrift ARGUMENTS` in a folder; at the step number `at` of its writes it
    gets the signal.

    Parameters
    ----------
    at : 1 is the first step; 0 lets the command end by itself.
    setup : lines that run in the child before the command; `stream` is files.stream.
    limit_s : after which it counts as hung.
    """
    environment = {**os.environ, "STOP_AT": str(at), "STOP_HOW": str(int(how))}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    script = RUN.format(setup=setup)
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
    )


def moments(done: subprocess.CompletedProcess[str]) -> int:
    """How many steps a command that came to its end has taken."""
    return int(done.stderr.rpartition("moments ")[2])


class Killed(Exception):
    """Stands for kill -9 at a step of a write."""


def same_when_killed_at_any_step(
    run: Callable[[], None],
    folder: Path,
    modules: Iterable[str],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[dict[str, bytes], int]:
    """What a run writes into a folder, and its steps: killed at each of them and given
    again, it must write the same.

    Parameters
    ----------
    run : callable
        Writes, from where it was killed; the folder is empty when it begins.
    modules : of `equidrift.files`, whose moments are the steps
    """
    left = 0

    def moment(name: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed(name)

    for module in modules:
        monkeypatch.setattr(f"equidrift.files.{module}.moment", moment)

    def made() -> dict[str, bytes]:
        found = {file.name: file.read_bytes() for file in folder.iterdir()}
        for name in found:
            (folder / name).unlink()
        return found

    run()
    whole, at = made(), 0
    while True:
        at += 1
        left = at
        try:
            run()
        except Killed:
            left = 0
            run()
            assert made() == whole
            continue
        return whole, at
