"""Calls as tasks of a Ray cluster: the pool that takes the place of local workers."""

from __future__ import annotations

import contextlib
import pickle
import socket
from concurrent.futures import Future
from typing import Any

from equidrift.errors import InputError, MissingDependencyError, WorkerDiedError
from equidrift.scale.pool import Call, out_of_memory

try:
    import ray
except ImportError as error:
    raise MissingDependencyError("ray", "ray") from error

ANSWER_S = 10.0  # within which a node of the cluster accepts a connection


def _run(request: bytes) -> Any:
    """In a process of Ray: a call, its function and arguments pickled."""
    # by this user's driver, over the channel that Ray itself fills with pickles; no file is read
    function, args = pickle.loads(request)
    return function(*args)


def _reach(address: str) -> None:
    """Raises OSError if nobody listens at HOST:PORT: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), ANSWER_S).close()


class RayPool:
    """Tasks of a Ray cluster; see `equidrift.scale.pool.Pool`.

    The nodes have equidrift installed, and share the folder of the shards. A process of
    Ray is used for many tasks, and loads a model once, from its node's disk.

    Parameters
    ----------
    address : str
        Of the cluster, as `ray.init` takes it: "auto", HOST:PORT or ray://HOST:PORT.
    threads : int or None
        CPUs of a task; 1 if None.
    gpus_per_task : float
        GPUs of a task; a fraction shares one among several.

    Raises
    ------
    InputError
        If there is no cluster at this address, or it has no room for one task.
    """

    def __init__(
        self, address: str, threads: int | None = None, gpus_per_task: float = 0.0
    ) -> None:
        self._own = not ray.is_initialized()
        try:
            _reach(address)
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
        except (OSError, OverflowError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--ray: no cluster answers at {address!r} ({error}); start one with `ray start "
                "--head`, and give its address, or auto on one of its nodes"
            ) from error
        self._needs = {"CPU": float(threads or 1), "GPU": float(gpus_per_task)}
        if self._room() < 1:
            self.close()
            raise InputError(
                f"--ray: the cluster has no room for a task of {self._needs['CPU']:g} CPUs and "
                f"{gpus_per_task:g} GPUs; ask for fewer by --threads and --gpus-per-task"
            )
        at_once = ray.remote(num_cpus=threads or 1, num_gpus=gpus_per_task, max_retries=0)
        self._task = at_once(_run)
        self._running: set[Any] = set()

    def _room(self) -> int:
        """Tasks that run at the same time on the nodes that are there now."""
        there = ray.cluster_resources()
        needs = {name: need for name, need in self._needs.items() if need}
        return int(min(there.get(name, 0.0) // need for name, need in needs.items()))

    @property
    def size(self) -> int:
        """Tasks that run at the same time; it follows the nodes that come and go."""
        return max(1, self._room())

    def submit(self, call: Call) -> Future[Any]:
        """Start a task as soon as a node has room; see `Pool`."""
        reference = self._task.remote(call.bytes())
        self._running.add(reference)
        told: Future[Any] = Future()
        told.set_running_or_notify_cancel()

        def ended(inner: Future[Any]) -> None:
            self._running.discard(reference)
            _hand_over(inner, told, call.what)

        reference.future().add_done_callback(ended)
        return told

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End what still runs, and leave the cluster."""
        for reference in list(getattr(self, "_running", ())):
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=True)
        if self._own:
            ray.shutdown()


def _hand_over(inner: Future[Any], told: Future[Any], what: str) -> None:
    """The outcome of a task: its value, what it raised, or that its process is gone."""
    failure = inner.exception()
    if failure is None:
        told.set_result(inner.result())
    elif isinstance(failure, ray.exceptions.RayTaskError):
        short = isinstance(failure.cause, MemoryError)
        told.set_exception(out_of_memory(what) if short else failure.cause)
    else:
        how = " ".join(str(failure).split())[:300]
        told.set_exception(WorkerDiedError(f"{what} lost its process or node ({how})"))
