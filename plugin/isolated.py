"""Calls into native code that may hang or crash, made in a child that can die.

`run_apart(function, *args, timeout_s=...)` gives the function's value, or raises what
it raised. A call that takes too long ends in `TimeLimitError`, one that kills its
process in `CrashError`; the caller's process goes on either way.

The children are fresh interpreters that import what the function needs, not the user's
`__main__`, so that a script without a `__main__` guard works. An idle child is used again.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import IO, Any, TypeVar

from equidrift.errors import CrashError, InputError, InputTypeError, TimeLimitError

T = TypeVar("T")
_LENGTH_BYTES = 8  # before each message: how long it is
_GRACE_S = 5  # the child's own alarm rings this much later; it counts only if the parent is gone
_SHOWN_CHARACTERS = 300  # of what a library printed before it died
_HAS_ALARM = hasattr(signal, "SIGALRM")  # Windows has none
_EVENT = b"e"  # begins a message that is no answer; a pickle begins with another byte
_WATCH_S = 0.5  # how often a child looks whether its parent is still there
_COMMAND = "from equidrift.isolated import serve; serve()"


def run_apart(function: Callable[..., T], *args: object, timeout_s: float, what: str = "") -> T:
    """Call `function(*args)` in a child process, and return its value.

    Parameters
    ----------
    function : callable
        Importable by name (not a lambda, nothing in `__main__`); `functools.partial` of
        such a function works.
    *args
        Picklable, as the value must be.
    timeout_s : float
        Wall-clock time in s after which the child is killed; the start of a child does
        not count.
    what : str
        What is worked on, for the messages; the function's name if empty.

    Returns
    -------
    object
        What the function returned.

    Raises
    ------
    TimeLimitError
        If the call takes longer than `timeout_s`.
    CrashError
        If the child dies (abort, segmentation fault, out of memory); `signal` is the
        signal's number, if any.
    InputTypeError
        If the function or an argument cannot be sent to another process.
    Exception
        Whatever the function itself raised.
    """
    limit_s = _checked_limit(timeout_s)
    what = what or _name_of(function)
    request = request_of(function, args)
    child = _taken()
    try:
        answer = child.ask(request, limit_s, what)
    except BaseException:  # an interrupt too: a child in the middle of a call cannot be used again
        child.kill()
        raise
    _give_back(child)
    result: T = value_of(answer)
    return result


def value_of(answer: bytes) -> Any:
    """What an answer holds; raises what the function raised."""
    good, value = pickle.loads(answer)
    if good:
        return value
    raise value


def _checked_limit(timeout_s: object) -> float:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise InputTypeError(
            f"timeout_s must be a number of seconds, not {timeout_s!r}; give for example 60"
        )
    if not 0 < timeout_s <= threading.TIMEOUT_MAX:
        raise InputError(f"timeout_s must be above 0, not {timeout_s}; give for example 60")
    return float(timeout_s)


def _name_of(function: object) -> str:
    inner = function.func if isinstance(function, partial) else function
    # a callable object has no name of its own
    return str(getattr(inner, "__qualname__", None) or type(inner).__name__)


def request_of(function: object, args: tuple[Any, ...]) -> bytes:
    """The call as bytes.

    Raises `InputTypeError` for what a fresh interpreter could not import.
    """
    inner = function.func if isinstance(function, partial) else function
    name = _name_of(function)
    if inner.__module__ == "__main__":
        raise InputTypeError(
            f"{name} is defined in __main__, which another process cannot import; put it "
            f"into a module"
        )
    try:
        return pickle.dumps((function, args))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputTypeError(
            f"{name} or its arguments cannot be sent to another process ({error}); give a "
            f"function of a module, and plain data"
        ) from error


class Child:
    """An interpreter that answers one call at a time over its standard streams.

    Parameters
    ----------
    **environment : str
        Variables of its environment, beside those of this process.
    """

    def __init__(self, **environment: str) -> None:
        # what libraries print goes here, not to the user; `close` closes it
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        self.process = subprocess.Popen(
            # -P: a random.py in the working folder is not ours to import
            [sys.executable, "-P", "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                **environment,
            },
        )
        assert (
            self.process.stdin is not None and self.process.stdout is not None
        )  # for the type checker: both are pipes
        self.requests, self.answers = self.process.stdin, self.process.stdout
        self.ready = False

    def ask(
        self,
        request: bytes,
        limit_s: float,
        what: str,
        on_event: Callable[[Any], None] | None = None,
    ) -> bytes:
        """The answer to a request (`request_of`), for `value_of`.

        Parameters
        ----------
        request : bytes
            A function with its arguments.
        limit_s : float
            Seconds that it may take; `math.inf` for no limit.
        what : str
            What is worked on, for the messages.
        on_event : callable, optional
            Called with what the function tells by `tell`, as it comes.
        """
        self._wait_ready(what)
        self.log.seek(0)
        self.log.truncate()
        expired = threading.Event()
        limit = min(limit_s, threading.TIMEOUT_MAX)
        timer = threading.Timer(limit, self._expire, (expired,))
        timer.daemon = True
        timer.start()
        try:
            _send(self.requests, pickle.dumps(limit_s))
            _send(self.requests, request)
            while (answer := _receive(self.answers)) is not None and answer[:1] == _EVENT:
                if on_event is not None:
                    on_event(pickle.loads(answer[1:]))
        except OSError:  # a broken pipe: the child is gone
            answer = None
        finally:
            timer.cancel()
            timer.join()
        if answer is None:
            self._raise_dead(expired.is_set(), limit_s, what)
        if expired.is_set():  # it answered at the last moment, and was killed all the same
            self.ready = False
        return answer  # type: ignore[return-value]  # _raise_dead does not return

    def _wait_ready(self, what: str) -> None:
        """Wait for the child's first word, so that its start is not counted as the
        call's time.
        """
        if not self.ready and _receive(self.answers) is None:
            self._raise_dead(False, 0.0, what)
        self.ready = True

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self.process.kill()

    def _raise_dead(self, expired: bool, limit_s: float, what: str) -> None:
        code = self.process.wait()
        if expired or (_HAS_ALARM and code == -signal.SIGALRM):
            raise TimeLimitError(
                f"{what} took longer than {limit_s:g} s and was stopped; give it more time, "
                f"or leave it out",
                limit_s,
            )
        self.log.seek(0)
        said = " ".join(self.log.read().decode(errors="replace").split())[-_SHOWN_CHARACTERS:]
        how = _signal_name(-code) if code < 0 else f"exit code {code}"
        raise CrashError(
            f"{what} took its process down ({how}){': ' + said if said else ''}",
            -code if code < 0 else None,
        )

    @property
    def usable(self) -> bool:
        """Whether it lives and waits for a call."""
        return self.ready and self.process.poll() is None

    def end(self) -> None:
        """Ask it to end (SIGTERM); `ask` then raises `CrashError`."""
        self.process.terminate()

    def kill(self) -> None:
        """End it, and let go of its pipes."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Let it end by itself: it stops if there are no more requests."""
        for stream in (self.requests, self.answers, self.log):
            with contextlib.suppress(OSError):  # unsent bytes to a child that is gone
                stream.close()
        self.process.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# Children that wait for a call. A forked process must not talk to its parent's.
_idle: list[Child] = []


class _Pool:
    """The lock of `_idle`, which a forked process replaces."""

    lock = threading.Lock()


_pool = _Pool()


def _taken() -> Child:
    with _pool.lock:
        while _idle:
            child = _idle.pop()
            if child.usable:
                return child
            child.kill()
    return Child()


def _give_back(child: Child) -> None:
    if child.usable:
        with _pool.lock:
            _idle.append(child)
    else:
        child.kill()


def close_children() -> None:
    """End every child that is idle; the next call starts a fresh one."""
    with _pool.lock:
        while _idle:
            _idle.pop().kill()


def _forget_children() -> None:
    """In a forked process: the children are the parent's, and so is the lock's state."""
    _pool.lock = threading.Lock()
    _kept.extend(_idle)
    _idle.clear()


_kept: list[Child] = []  # not to be collected in a fork, which would wait for processes of another
atexit.register(close_children)
if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_forget_children)


# The child's side ---------------------------------------------------------------------
# -------------------------------


_answers: list[IO[bytes]] = []  # of a child, where `tell` writes; empty in any other process


def tell(event: object) -> None:
    """In a child: send something picklable to whoever called; elsewhere nothing happens."""
    for stream in _answers:
        _send(stream, _EVENT + pickle.dumps(event))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, which would leave the call to nobody."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)


def serve() -> None:
    """Answer calls from standard input until it ends.

    Runs in the child; standard output is kept for the answers.
    """
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 0)
    os.dup2(2, 1)  # what a library prints must not come between the answers
    if _HAS_ALARM:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _send(answers, b"ready")
    _answers.append(answers)
    while (limit := _receive(requests)) is not None:
        request = _receive(requests)
        if request is None:
            break
        limit_s = pickle.loads(limit)
        _set_alarm(limit_s + _GRACE_S if math.isfinite(limit_s) else 0)
        answer = _answer(request)
        _set_alarm(0)
        _send(answers, answer)


def _set_alarm(seconds: float) -> None:
    """End this process after a time even if the parent cannot; 0 takes that back."""
    if _HAS_ALARM:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _answer(request: bytes) -> bytes:
    """(True, value) or (False, exception), pickled."""
    try:
        function, args = pickle.loads(request)
        return pickle.dumps((True, function(*args)))
    except Exception as error:
        return _pickled_error(error)


def _pickled_error(error: Exception) -> bytes:
    """The error itself if it survives the way, else its words."""
    try:
        data = pickle.dumps((False, error))
        pickle.loads(data)
    except Exception:  # whatever a class of errors does on its way through pickle
        data = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return data


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(_LENGTH_BYTES, "big"))
    stream.write(message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    """The next message, None if the other side is gone."""
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    message = stream.read(length)
    return message if len(message) == length else None
