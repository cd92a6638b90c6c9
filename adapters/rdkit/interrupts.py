"""Ctrl-C stays Python's after a call of RDKit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_interrupts() -> Iterator[None]:
    """Put Python's handler of SIGINT back when the block ends.

    RDKit before 2026.9 catches Ctrl-C in its embedding and optimising and leaves
    another handler behind, which the next Ctrl-C is lost in, and the one after that
    ends the process with nothing kept.
    """
    try:
        yield
    finally:
        handler = signal.getsignal(signal.SIGINT)  # what Python believes to be in place
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
