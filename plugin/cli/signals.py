"""Signals that end a run: what is done is brought to disk first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = ("SIGTERM", "SIGHUP")  # Ctrl-C is SIGINT, which Python turns into KeyboardInterrupt itself


class Ended(KeyboardInterrupt):
    """The process was asked to end by a signal other than Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """What a shell expects: 128 and the number of the signal."""
    while error.__cause__ is not None and isinstance(error.__cause__, KeyboardInterrupt):
        error = error.__cause__
    return 128 + (error.number if isinstance(error, Ended) else int(signal.SIGINT))


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """While this is open, SIGTERM and SIGHUP raise `Ended`, unless somebody else
    handles them.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        raise Ended(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ENDING:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
