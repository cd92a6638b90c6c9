"""Several independent chains of one run, each in a process of its own.

Processes are spawned, so that none inherits the state of OpenMM or of PyTorch. Each
chain has its own seed, by a hash of the run's seed and its number, its own start if
ETKDG makes it, and its own files. So a chain is the same whatever the number of chains
or of cores, and an interrupted run continues chain by chain.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from equidrift.arguments import check_count
from equidrift.errors import CrashError
from equidrift.montecarlo.plan import Plan
from equidrift.montecarlo.result import Chain
from equidrift.montecarlo.tables import table_paths
from equidrift.outputs import claim

Progress = Callable[[dict[str, Any]], None]
RunOne = Callable[[Plan, bool, Progress | None], Chain]
_TELL_EVERY_S = 0.2  # progress through the pipe; a child without a parent ends at the next


def chain_plans(plan: Plan, chains: int) -> list[Plan]:
    """The plans of a run's chains: run.1.xtc, run.2.xtc, ... for run.xtc, each with a
    seed of its own.

    Parameters
    ----------
    plan : Plan
        What is asked for.
    chains : int
        How many.
    """
    output, plans = plan.output, []
    for k in range(chains):
        name = f"{output.stem}.{k + 1}{output.suffix}"
        settings = dataclasses.replace(plan.settings, seed=chain_seed(plan.settings.seed, k))
        plans.append(dataclasses.replace(plan, output=output.with_name(name), settings=settings))
    return plans


def chain_seed(seed: int, k: int) -> int:
    """The seed of chain k, from 0.

    Hashed, because the adaptive phase of a chain takes the seeds after its own: chains
    with consecutive seeds would share streams.
    """
    state = np.random.SeedSequence(seed, spawn_key=(k,)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(2))


def run_chains(
    run_one: RunOne,
    plan: Plan,
    chains: int,
    threads: int | None,
    overwrite: bool,
    progress: Progress | None,
) -> list[Chain]:
    """The chains of a run, as many at once as there are cores for.

    Parameters
    ----------
    run_one : callable
        (plan, overwrite, progress) -> the chain; a function of a module, as another
        process imports it.
    plan : Plan
        What is asked for.
    chains : int
        How many.
    threads : int, optional
        Cores; None takes those that this process may use.
    overwrite : bool
        Replace what is there.
    progress : callable, optional
        Called with the sums over all chains.

    Raises
    ------
    CrashError
        If a process dies. An error of a chain is raised as it is. The others are then
        stopped, and go on from their checkpoints.
    """
    cores = available_cores() if threads is None else check_count("threads", threads)
    plans = chain_plans(plan, chains)
    for part in plans:
        part.check_output(overwrite=overwrite)
    own = any(part.checkpoint.exists() for part in plans)
    claim(table_paths(plan.output), inputs=[plan.what], own=own, overwrite=overwrite)
    at_once = min(cores, chains)
    crew = _Crew(run_one, overwrite, cores // at_once, _Sum(progress, chains))
    waiting, done = list(enumerate(plans)), {}
    try:
        while waiting or crew.running:
            while waiting and len(crew.running) < at_once:
                crew.start(*waiting.pop(0))
            done.update(crew.finished())
    finally:
        crew.stop()
    return [done[k] for k in range(chains)]


def available_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return (os.cpu_count() or 1) if affinity is None else len(affinity(0))


class _Sum:
    """Progress of all chains as that of one."""

    def __init__(self, progress: Progress | None, chains: int) -> None:
        self.progress, self.chains = progress, chains
        self.last: dict[str, dict[int, dict[str, Any]]] = {}

    def tell(self, k: int, event: dict[str, Any]) -> None:
        """Chain k has reported."""
        rows = self.last.setdefault(event["stage"], {})
        rows[k] = event
        if self.progress is not None:
            share = sum(row["acceptance"] for row in rows.values()) / len(rows)
            done = sum(row["done"] for row in rows.values())
            whole = {"done": done, "total": event["total"] * self.chains, "acceptance": share}
            self.progress({"stage": event["stage"], **whole})


class _Crew:
    """The processes that run now."""

    def __init__(self, run_one: RunOne, overwrite: bool, threads: int, told: _Sum) -> None:
        self.run_one, self.overwrite, self.threads, self.told = run_one, overwrite, threads, told
        self.running: dict[Connection, tuple[int, Any]] = {}

    def start(self, k: int, plan: Plan) -> None:
        """Start chain k."""
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, self.run_one, plan, self.overwrite, self.threads)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self.running[ours] = (k, process)

    def finished(self) -> dict[int, Chain]:
        """Wait until somebody reports; the chains that have come to their ends."""
        ended = {}
        for connection in wait(list(self.running)):
            assert isinstance(connection, Connection)
            k, process = self.running[connection]
            try:
                kind, value = connection.recv()
            except EOFError:
                process.join()
                raise CrashError(
                    f"the process of chain {k + 1} ended before the chain (exit code "
                    f"{process.exitcode}); repeat the run to continue it. A script that runs "
                    "chains needs the line: if __name__ == '__main__':",
                    None,
                ) from None
            if kind == "progress":
                self.told.tell(k, value)
                continue
            process.join()
            del self.running[connection]
            connection.close()
            if kind == "failed":
                raise value
            ended[k] = value
        return ended

    def stop(self) -> None:
        """End what still runs."""
        for connection, (_, process) in self.running.items():
            process.terminate()
            process.join()
            connection.close()
        self.running.clear()


def _serve(
    connection: Connection, run_one: RunOne, plan: Plan, overwrite: bool, threads: int
) -> None:
    """In the child: run a chain, and send progress and its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    os.environ["OPENMM_CPU_THREADS"] = str(threads)
    os.environ["OMP_NUM_THREADS"] = "1"  # networks give the same numbers on any number of cores
    told = -_TELL_EVERY_S

    def progress(event: dict[str, Any]) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_EVERY_S or event["done"] == event["total"]:
            connection.send(("progress", event))
            told = time.monotonic()

    try:
        connection.send(("done", run_one(plan, overwrite, progress)))
    except Exception as error:
        connection.send(("failed", error))
    finally:
        connection.close()
