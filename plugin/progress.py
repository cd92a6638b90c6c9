"""Progress bars: rate and time left, on stderr, only if somebody watches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import rich.progress


class Drawn(Protocol):
    """Frames that were drawn, such as `equidrift.records.Chunk`."""

    @property
    def n_frames(self) -> int:
        """All samples together."""
        ...

    @property
    def rejected(self) -> tuple[Counter[str], ...]:
        """Draws made again by reason, of each sample."""
        ...


Report = Callable[[dict[str, Any]], None]


def _bar(
    label: str, *, counted: bool = True, state: str = "", end: str = ""
) -> rich.progress.Progress:
    """A bar on stderr, which goes when it is done: label, what is done (as numbers, or
    as a percentage), state, times, end. Texts may name fields of the task.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    done = MofNCompleteColumn() if counted else TaskProgressColumn()
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    columns = (
        TextColumn(label),
        BarColumn(),
        done,
        *([TextColumn(state)] if state else []),
        *times,
        *([TextColumn(end)] if end else []),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


@contextmanager
def conformer_bar(
    total: int | None, *, shown: bool, done: int = 0, label: str = "conformers"
) -> Iterator[Report | None]:
    """A bar over conformers, or what `label` says; yields the engine's callback, None
    if nothing is shown.
    """
    if not shown:
        yield None
        return
    with _bar(label, state="{task.fields[rate]}", end="{task.fields[rejected]}") as bar:
        bar.add_task(label, total=total, completed=done, rate="", rejected="")
        yield _conformer_report(bar, done)


def _conformer_report(bar: rich.progress.Progress, done: int) -> Report:
    """What brings the only task of a bar to the state that an engine's event tells."""
    rejected = 0

    def report(event: dict[str, Any]) -> None:
        nonlocal rejected
        rejected += event["drawn"] - event["accepted"]
        task = bar.tasks[0]
        finished = task.completed + event["accepted"] - done
        bar.update(
            task.id,
            advance=event["accepted"],
            rate=f"{finished / task.elapsed:.1f}/s" if task.elapsed else "",
            rejected=f"{rejected} rejected" if rejected else "",
        )

    return report


@contextmanager
def frame_bar(
    total: int, *, shown: bool, done: int = 0
) -> Iterator[Callable[[Drawn], None] | None]:
    """A bar over frames; yields a function that takes each `equidrift.records.Chunk`,
    None if nothing is shown.
    """
    with conformer_bar(total, shown=shown, done=done, label="frames") as report:

        def chunk_done(chunk: Drawn) -> None:
            if report is not None:
                redrawn = sum(count.total() for count in chunk.rejected)
                report({"accepted": chunk.n_frames, "drawn": chunk.n_frames + redrawn})

        yield None if report is None else chunk_done


@contextmanager
def training_bar(*, shown: bool) -> Iterator[Report]:
    """A bar over the share of a training that is done, with step and loss; yields what
    a trainer reports to.
    """
    if not shown:
        yield lambda _: None
        return
    with _bar("training", counted=False, state="{task.fields[state]}") as bar:
        task = bar.add_task("training", total=1.0, state="")

        def report(event: dict[str, Any]) -> None:
            bar.update(
                task,
                completed=event["share"],
                state=f"step {event['step']}, loss {event['loss']:.4g}",
            )

        yield report


@contextmanager
def phase_bar(*, shown: bool) -> Iterator[Report | None]:
    """A bar over the cycles of a simulation, one bar for each phase; yields the callback, None
    if nothing is shown.
    """
    if not shown:
        yield None
        return
    with _bar("{task.description}", end="{task.fields[accepted]}") as bar:
        tasks: dict[str, Any] = {}

        def report(event: dict[str, Any]) -> None:
            if event["stage"] not in tasks:
                tasks[event["stage"]] = bar.add_task(
                    event["stage"], total=event["total"], accepted=""
                )
            unknown = math.isnan(event["acceptance"])
            bar.update(
                tasks[event["stage"]],
                completed=event["done"],
                accepted="" if unknown else f"{event['acceptance']:.1%} accepted",
            )

        yield report
