"""A module in the place of `ray`: tasks run at once, in this process, and can be lost."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class RayError(Exception):
    """As ray.exceptions has it."""


class WorkerCrashedError(RayError):
    """A task lost its process."""


class RayTaskError(RayError):
    """A task has raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Reference:
    """To the outcome of a task."""

    def __init__(self, outcome: Future[Any]) -> None:
        self._outcome = outcome

    def future(self) -> Future[Any]:
        """The outcome."""
        return self._outcome


class Cluster(ModuleType):
    """What equidrift uses of ray.

    Parameters
    ----------
    lost : list of int
        Tasks, from 0 in the order of their start, that lose their process.
    **resources : float
        Of the whole cluster.
    """

    def __init__(self, *lost: int, **resources: float) -> None:
        super().__init__("ray")
        self.lost, self.resources = set(lost), resources or {"CPU": 2.0}
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.calls: Counter[str] = Counter()
        self.options: dict[str, Any] = {}

    def is_initialized(self) -> bool:
        """Whether this process has joined a cluster."""
        return self.calls["init"] > self.calls["shutdown"]

    def init(self, address: str, **options: object) -> None:
        """Join the cluster, which answers at one address."""
        del options
        if address != "auto":
            raise ConnectionError(f"nobody is at {address}")
        self.calls["init"] += 1

    def shutdown(self) -> None:
        """Leave it."""
        self.calls["shutdown"] += 1

    def cluster_resources(self) -> dict[str, float]:
        """What all nodes have."""
        return self.resources

    def cancel(self, reference: Reference, *, force: bool) -> None:
        """No task runs when this could be called."""
        del reference, force
        self.calls["cancel"] += 1

    def remote(self, **options: Any) -> Callable[[Callable[..., Any]], SimpleNamespace]:
        """As the decorator of ray."""
        self.options = options

        def task(function: Callable[..., Any]) -> SimpleNamespace:
            def start(*args: object) -> Reference:
                number = self.calls["task"]
                self.calls["task"] += 1
                outcome: Future[Any] = Future()
                if number in self.lost:
                    outcome.set_exception(WorkerCrashedError("the worker died unexpectedly"))
                    return Reference(outcome)
                try:
                    outcome.set_result(function(*args))
                except Exception as error:
                    outcome.set_exception(RayTaskError(error))
                return Reference(outcome)

            return SimpleNamespace(remote=start)

        return task


def instead_of_ray(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> Cluster:
    """Let the adapter find this cluster, whether ray is installed or not."""
    monkeypatch.setitem(sys.modules, "ray", cluster)
    monkeypatch.delitem(sys.modules, "equidrift.adapters.ray.pool", raising=False)
    # what is imported in its place goes with the test
    monkeypatch.setitem(sys.modules, "equidrift.adapters.ray.pool", None)
    monkeypatch.delitem(sys.modules, "equidrift.adapters.ray.pool")
    return cluster
