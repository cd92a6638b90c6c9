"""What the tests of `equidrift.isolated` call in another process."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

from equidrift.errors import NoValidSamplesError, UnknownNameError


def add(a: Any, b: Any) -> Any:
    return a + b


def whose() -> int:
    """The process that answers."""
    return os.getpid()


def spin() -> NoReturn:
    while True:
        pass


def abort() -> NoReturn:
    """Die as a native library does that finds its own state broken."""
    os.write(2, b"free(): invalid pointer\n")
    os.abort()


def segmentation_fault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> NoReturn:
    os._exit(3)


def talk() -> str:
    """Print as libraries do, at the level of Python and of C."""
    sys.stdout.write("not an answer")
    sys.stdout.flush()
    os.write(1, b"nor this")
    return "answered"


def unknown_name() -> NoReturn:
    raise UnknownNameError("model", "defualt", ["default"])


def no_samples() -> NoReturn:
    raise NoValidSamplesError("only 1 of 2.", {"clash": 3})


class Unpicklable(Exception):
    def __init__(self, a: int, b: int):
        super().__init__(f"{a} and {b}")


def odd_error() -> NoReturn:
    raise Unpicklable(1, 2)


def nested(value: int) -> int:
    """A child that has a child."""
    from equidrift.isolated import run_apart

    return run_apart(add, value, 1, timeout_s=60)
