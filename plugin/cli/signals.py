"""Signals that end a run, and what an interrupted run says is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from equidrift.text import counted

ENDING = ("SIGTERM", "SIGHUP")  # Ctrl-C is SIGINT, which Python turns into KeyboardInterrupt itself


class Ended(KeyboardInterrupt):
    """The process was asked to end by a signal other than Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """What a shell expects: 128 and the number of the signal."""
    while isinstance(error.__cause__, KeyboardInterrupt):
        error = error.__cause__
    return 128 + (error.number if isinstance(error, Ended) else int(signal.SIGINT))


@contextmanager
def telling_what_is_kept(message: Callable[[], str]) -> Iterator[None]:
    """A run that, if it is interrupted, says what is kept and how to continue.

    Parameters
    ----------
    message : callable
        Called after an interruption. It brings to disk what is done, and returns the
        sentence to print.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(message()) from error


def kept(what: str) -> str:
    """The sentence for a run that the same command continues."""
    return f"{what} kept; give the same command again to continue"


def kept_so_far(number: int, noun: str) -> str:
    """The sentence for a run that has made so many samples; why there is nothing, if
    there are none.
    """
    if number == 0:
        return (
            f"nothing is kept, since the first {noun} was not complete; "
            "give the same command again to start anew"
        )
    return kept(counted(number, noun))


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
