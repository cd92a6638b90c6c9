"""Local workers: fresh interpreters, one call at a time each; one that dies is replaced."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

from equidrift.arguments import check_count
from equidrift.errors import CrashError, InputTypeError, WorkerDiedError
from equidrift.isolated import Child, request_of, value_of

GRACE_S = 5.0  # for a worker that is asked to end to bring to disk what it has done
# what libraries take for the number of threads they may start
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Call:
    """A function of a module with its picklable arguments, and what it works on."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    what: str

    def bytes(self) -> bytes:
        """The call as a worker takes it; errors as `equidrift.isolated.request_of`."""
        return request_of(self.function, self.args)


class Pool(Protocol):
    """Workers somewhere: of this machine, or of a cluster."""

    @property
    def size(self) -> int:
        """Calls that run at the same time."""
        ...

    def submit(self, call: Call) -> Future[Any]:
        """Start a call; its future raises `WorkerDiedError` if the worker dies."""
        ...

    def close(self) -> None:
        """End all workers; what they have brought to disk stays."""
        ...


def threads_each(workers: int, threads: int | None) -> int:
    """The share of one worker of so many threads; of all cores this process may use for
    None.
    """
    usable = getattr(os, "sched_getaffinity", None)  # macOS and Windows lack it
    cores = len(usable(0)) if usable is not None else os.cpu_count() or 1
    return max(1, (threads or cores) // workers)


def pool_for(model: object, workers: int | None, threads: int | None) -> LocalPool | None:
    """Workers of this machine that run a model; None if neither number is given.

    Raises
    ------
    InputError, InputTypeError
        For a number that is none of workers or threads, or a model that no other
        process could import.
    """
    if workers is None and threads is None:
        return None
    count = check_count("workers", 1 if workers is None else workers)
    if threads is not None:
        check_count("threads", threads)
    kind = type(model)
    if kind.__module__ == "__main__":
        raise InputTypeError(
            f"the model's class {kind.__name__} is defined in __main__, which workers cannot "
            "import; put it into a module"
        )
    return LocalPool(count, threads)


def out_of_memory(what: str) -> WorkerDiedError:
    """For a worker that got no more memory, and lived to tell."""
    return WorkerDiedError(f"{what} ran out of memory")


class LocalPool:
    """Workers of this machine.

    Parameters
    ----------
    workers : int
        Processes; each starts with its first call.
    threads : int or None
        CPU threads of all workers together; None for all cores.
    on_event : callable, optional
        Called, from several threads, one at a time, with what a call tells by
        `equidrift.isolated.tell`.
    """

    def __init__(
        self,
        workers: int,
        threads: int | None = None,
        on_event: Callable[[Any], None] | None = None,
    ) -> None:
        self.size = workers
        share = str(threads_each(workers, threads))
        self._environment = dict.fromkeys(THREAD_VARIABLES, share)
        self.on_event = on_event
        self._threads = ThreadPoolExecutor(workers, "equidrift-worker")
        self._own = threading.local()
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._closed = False

    def submit(self, call: Call) -> Future[Any]:
        """Start a call as soon as a worker is free; see `Pool`."""
        return self._threads.submit(self._run, call.bytes(), call.what)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers: each has GRACE_S to bring to disk what it has done."""
        with self._lock:
            self._closed = True
            children = list(self._children)
        for child in children:
            child.end()
        timer = threading.Timer(GRACE_S, self._kill)
        timer.daemon = True
        timer.start()
        self._threads.shutdown(cancel_futures=True)
        timer.cancel()
        for child in children:
            child.kill()

    def _kill(self) -> None:
        with self._lock:
            for child in self._children:
                child.process.kill()

    def _run(self, request: bytes, what: str) -> Any:
        child = self._child()
        try:
            answer = child.ask(request, math.inf, what, self._tell)
        except CrashError as error:
            self._drop(child)
            raise WorkerDiedError(str(error), error.signal) from error
        try:
            return value_of(answer)
        except MemoryError as error:  # a fresh process has more of it
            self._drop(child)
            raise out_of_memory(what) from error

    def _tell(self, event: Any) -> None:
        if self.on_event is not None:
            with self._lock:
                self.on_event(event)

    def _child(self) -> Child:
        """The worker of this thread."""
        child: Child | None = getattr(self._own, "child", None)
        if child is None or not child.usable:
            if child is not None:
                self._drop(child)
            with self._lock:
                if self._closed:
                    raise WorkerDiedError("the workers are closed")
                child = self._own.child = Child(**self._environment)
                self._children.add(child)
        return child

    def _drop(self, child: Child) -> None:
        self._own.child = None
        with self._lock:
            self._children.discard(child)
        child.kill()
