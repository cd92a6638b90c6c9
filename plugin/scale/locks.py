"""Who works on what: locks that go with their process, and those that other machines see."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from equidrift.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none: there a worker that lives on is not waited for
    fcntl = None  # type: ignore[assignment]

WAIT_S = 30.0  # for the worker of a run that was killed, which ends by itself
_LOOK_S = 0.05


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """While this is open, no other process of this machine has the lock of that file.

    Raises
    ------
    InputError
        If another process holds it for longer than WAIT_S.
    """
    with open(path, "a") as stream:
        until = time.monotonic() + WAIT_S
        while fcntl is not None and not _taken(stream.fileno()):
            if time.monotonic() > until:
                raise InputError(
                    f"another process works on {str(path.with_suffix(''))!r}; wait until it ends, "
                    "or end it"
                )
            time.sleep(_LOOK_S)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
