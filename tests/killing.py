"""Commands that end themselves after so many steps of their writes to disk, by any
signal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
