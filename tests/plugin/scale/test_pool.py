"""Local workers: one that dies, in whichever way, is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from equidrift.errors import WorkerDiedError
from equidrift.scale.pool import Call, LocalPool
from tests import deaths

WAYS = {
    deaths.killed: "SIGKILL",
    deaths.aborted: "SIGABRT",
    deaths.faulted: "SIGSEGV",
    deaths.left: "exit code 3",
    deaths.devoured: "out of memory",
}


@pytest.mark.parametrize("end", WAYS, ids=lambda end: end.__name__)
def test_worker_is_replaced_when_it_dies(end: Callable[[], object]) -> None:
    with LocalPool(1) as pool:
        first = pool.submit(Call(os.getpid, (), "a number")).result()
        with pytest.raises(WorkerDiedError, match=f"the work.*{WAYS[end]}"):
            pool.submit(Call(end, (), "the work")).result()
        assert pool.submit(Call(os.getpid, (), "a number")).result() != first
