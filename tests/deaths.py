"""Ways in which a process ends, or fails to get memory; functions for workers."""

from __future__ import annotations

import ctypes
import os
import signal


def killed() -> None:
    """As the kernel ends a process when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def aborted() -> None:
    """As a native library ends it that finds itself in an impossible state."""
    os.abort()


def faulted() -> None:
    """As a native library ends it that reads where nothing is."""
    ctypes.string_at(0)


def left() -> None:
    """As a library ends it that calls exit."""
    os._exit(3)


def devoured() -> int:
    """More memory than there is."""
    return len(bytearray(1 << 60))
