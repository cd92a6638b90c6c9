"""Who works on a shard: a lock that goes with its process, and tells other machines."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from equidrift.errors import LockedError

try:
    import fcntl
except ImportError:  # Windows has none: there a worker that lives on is not waited for
    fcntl = None  # type: ignore[assignment]

WAIT_S = 10.0  # for the worker of a run that was killed, which ends by itself
_LOOK_S = 0.05


def this_run() -> str:
    """A name for the run that this process leads; its workers take over from each other."""
    return f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"


@contextlib.contextmanager
def exclusive(path: Path, run: str) -> Iterator[None]:
    """While this is open, nobody else works on what the file at `path` locks.

    Parameters
    ----------
    path : Path
        The lock file: it tells host, process and time while somebody works, and is
        empty afterwards.
    run : str
        Of `this_run`, of the process that leads; a lock of the same run is taken over.

    Raises
    ------
    LockedError
        If another process of this machine holds it for longer than WAIT_S, or one of
        another machine, which may still run, has left it.
    """
    host = socket.gethostname()
    with open(path, "a+") as stream:
        until = time.monotonic() + WAIT_S
        while fcntl is not None and not _taken(stream):
            if time.monotonic() > until:
                raise _locked(path, holder(path) or {})
            time.sleep(_LOOK_S)
        told = holder(path)
        if told is not None and told.get("host") != host and told.get("run") != run:
            raise _locked(path, told)
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        _write(stream, json.dumps({"host": host, "pid": os.getpid(), "time": now, "run": run}))
        try:
            yield
        finally:
            _write(stream, "")


def holder(path: Path) -> dict[str, Any] | None:
    """Host, pid, time and run of who has locked, None if nobody has."""
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def locked_text(path: Path, told: dict[str, Any]) -> str:
    """Who works on a shard, and what to do if nobody does."""
    who = f"process {told.get('pid', '?')} on {told.get('host', '?')}"
    return (
        f"shard {path.stem} is locked by {who} since {told.get('time', '?')}; wait for it, or, if "
        f"that job does not run any more, remove {str(path)!r}"
    )


def _locked(path: Path, told: dict[str, Any]) -> LockedError:
    return LockedError(locked_text(path, told))


def _write(stream: IO[str], text: str) -> None:
    stream.truncate(0)
    stream.write(text)
    stream.flush()
    os.fsync(stream.fileno())


def _taken(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
