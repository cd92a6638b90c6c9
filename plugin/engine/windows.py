"""A window of samples, filled batch by batch until each is valid, and kept on the way."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.geometry import NO_COORDINATES
from equidrift.engine.conformer_settings import ConformerSettings
from equidrift.engine.repeats import draw_repeats_again, end_search
from equidrift.engine.tasks import Block, Job, Task, batches, blocks_safely, judge
from equidrift.errors import NoValidSamplesError, error_again
from equidrift.protocols import never_embeds
from equidrift.text import counted

HOPELESS_DRAWS = 100  # a molecule of which nothing is valid after as many draws is given up
RELAX_S = 4.0  # seconds of relaxation after which what is done is kept
_META = "meta"

Keep = Callable[[dict[str, NDArray[Any]]], None]


class _Window:
    """The tasks of a window, being filled batch by batch.

    After each batch, and within a batch each time that relaxation has taken RELAX_S,
    `keep` is given everything that is done as arrays. A later process that hands them
    in as `kept` goes on from there, and makes what an uninterrupted one makes: which
    samples are drawn together follows from what was pending when the attempt began.
    """

    def __init__(
        self, tasks: Sequence[Task], settings: ConformerSettings, keep: Keep | None
    ) -> None:
        self.tasks, self.settings, self.keep = tasks, settings, keep
        self.attempt = 0
        self.done = 0  # batches of the attempt
        self.judged = 0  # rows of the next batch
        self.begun = time.monotonic()
        self.drawn: list[Block] | None = None  # of the batch that is being judged
        self.pending: list[NDArray[np.int64]] = []

    def run(self) -> None:
        """Fill every task with valid samples, or its `error`."""
        while self.attempt < self.settings.max_attempts:
            self.pending = self.pending or [task.pending for task in self.tasks]
            planned = batches(self.tasks, self.settings, self.attempt, self.pending)
            for batch in planned[self.done :]:
                self._run_batch(batch)
            self._stop_hopeless()
            for task in self.tasks:
                draw_repeats_again(task, self.settings.distinct_A)
            if not any(task.pending.size for task in self.tasks):
                return
            self.attempt, self.done, self.pending = self.attempt + 1, 0, []
        for task in self.tasks:
            if task.most:
                end_search(task, self.settings.distinct_A)
            elif task.pending.size:
                task.error = _no_valid(task)

    def _stop_vain(self, tasks: Iterable[Task]) -> None:
        """Draw no more of a molecule that is out of time, or that never embeds."""
        limit = self.settings.timeout_s
        for task in tasks:
            if not task.pending.size:
                continue
            if limit is not None and task.seconds >= limit:
                task.error = _out_of_time(task, limit)
            elif set(task.reasons) == {NO_COORDINATES} and not task.valid.any():
                task.error = _no_valid(task) if self._never_embeds(task) else None

    def _stop_hopeless(self) -> None:
        """Give up, after an attempt, what has had many draws and not one valid sample."""
        for task in self.tasks:
            enough = HOPELESS_DRAWS if self.attempt > 0 else 2 * HOPELESS_DRAWS
            if task.pending.size and task.drawn >= enough and not task.valid.any():
                task.error = _no_valid(task)

    def _never_embeds(self, task: Task) -> bool:
        return never_embeds(self.settings.model, task.molecule)

    def _run_batch(self, batch: Sequence[Job]) -> None:
        if self.drawn is None:
            begun = time.monotonic()
            self.drawn = [Block.none_of(job) for job in batch]
            wanted = [k for k, job in enumerate(batch) if job.task.error is None]
            jobs = [batch[k] for k in wanted]
            for k, block in zip(wanted, blocks_safely(jobs, self.settings), strict=True):
                self.drawn[k] = block
            _share_time(jobs, time.monotonic() - begun)
        row = 0
        size = 1 if self.settings.relax is not None else self.settings.batch_size
        for job, block in zip(batch, self.drawn, strict=True):
            begin = min(len(block), max(0, self.judged - row))
            while begin < len(block):
                begun = time.monotonic()
                part = slice(begin, begin + size)
                some = Block(block.positions[part], block.marks[part])
                judge(Job(job.task, job.slots[part], job.seeds[part]), some, self.settings)
                begin = min(begin + size, len(block))
                self.judged = row + begin
                if time.monotonic() - begun < RELAX_S / 2:
                    size *= 2
                elif self.settings.relax is not None:
                    self._keep()
            row += len(block)
        _report(batch, self.drawn, self.settings, self.begun)
        self._stop_vain(dict.fromkeys(job.task for job in batch))
        self.done, self.judged, self.drawn = self.done + 1, 0, None
        self._keep()

    def _keep(self) -> None:
        if self.keep is not None:
            self.keep(self.arrays())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that is done, as arrays that do not change any more."""
        drawn = self.drawn or []
        pending = [
            np.isin(np.arange(len(task.valid)), slots)
            for task, slots in zip(self.tasks, self.pending, strict=False)
        ]
        meta = {
            "attempt": self.attempt,
            "done": self.done,
            "judged": self.judged,
            "drawn": [len(block) for block in drawn],
            "tasks": [task.described() for task in self.tasks],
        }
        # a task is the arrays of COLUMNS, stored and taken up again by name
        columns = {name: [getattr(task, name) for task in self.tasks] for name in Task.COLUMNS}
        columns |= {"pending": pending, "drawn": [block.positions.reshape(-1) for block in drawn]}
        columns["marks"] = [block.marks for block in drawn]
        columns["positions"] = [block.reshape(-1) for block in columns["positions"]]
        arrays = {name: np.concatenate(blocks) for name, blocks in columns.items() if blocks}
        return {_META: np.array(json.dumps(meta)), **arrays}

    def take_up(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Stand where `arrays` were made; those of another window change nothing."""
        meta = json.loads(str(arrays[_META]))
        if [told["place"] for told in meta["tasks"]] != [task.place for task in self.tasks]:
            return
        begin = 0
        for task, told in zip(self.tasks, meta["tasks"], strict=True):
            end = begin + len(task.valid)
            for name in Task.COLUMNS:
                if name != "positions":
                    setattr(task, name, arrays[name][begin:end].copy())
            self.pending.append(np.flatnonzero(arrays["pending"][begin:end]))
            task.drawn, task.reasons = told["drawn"], Counter(told["reasons"])
            task.most, task.vain, task.settled = told["search"]
            task.error = None if told["error"] is None else error_again(*told["error"])
            begin = end
        sizes = [len(task.valid) * task.molecule.n_atoms * 3 for task in self.tasks]
        parts = np.split(arrays["positions"], np.cumsum(sizes)[:-1])
        for task, block in zip(self.tasks, parts, strict=True):
            task.positions = block.reshape(task.positions.shape).copy()
        self.attempt, self.done, self.judged = meta["attempt"], meta["done"], meta["judged"]
        if meta["drawn"]:
            batch = batches(self.tasks, self.settings, self.attempt, self.pending)[self.done]
            counts = zip(meta["drawn"], batch, strict=True)
            shapes = [(count, job.task.molecule.n_atoms, 3) for count, job in counts]
            ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
            rows = np.cumsum([shape[0] for shape in shapes])[:-1]
            positions = np.split(arrays["drawn"], ends)
            marks_of = np.split(arrays["marks"], rows)
            blocks = zip(positions, marks_of, shapes, strict=True)
            self.drawn = [Block(x.reshape(shape), marks) for x, marks, shape in blocks]


def run_window(
    tasks: Sequence[Task],
    settings: ConformerSettings,
    keep: Keep | None = None,
    kept: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Fill every task of a window with valid samples, or its `error`; see `_Window`."""
    window = _Window(tasks, settings, keep)
    if kept is not None:
        window.take_up(kept)
    window.run()


def _report(
    batch: Sequence[Job], blocks: Sequence[Block], settings: ConformerSettings, begun: float
) -> None:
    if settings.callback is not None:
        accepted = sum(int(job.task.valid[job.slots].sum()) for job in batch)
        drawn = sum(len(block) for block in blocks)
        settings.callback(
            {"accepted": accepted, "drawn": drawn, "seconds": time.monotonic() - begun}
        )


def _share_time(batch: Sequence[Job], seconds: float) -> None:
    """Charge the time of a batch to its molecules, by the atoms each has drawn."""
    atoms = [len(job.seeds) * job.task.molecule.n_atoms for job in batch]
    for job, share in zip(batch, atoms, strict=True):
        job.task.seconds += seconds * share / sum(atoms)


def _found(task: Task) -> str:
    asked, verb = len(task.valid), "is" if len(task.valid) == 1 else "are"
    found = f"{int(task.valid.sum())} of {counted(asked, 'conformer')}"
    return f"{found} of {task.molecule!r} {verb} valid"


def _out_of_time(task: Task, limit_s: float) -> NoValidSamplesError:
    found = f"{_found(task)} after {task.seconds:.1f} s"
    return NoValidSamplesError(
        f"only {found}, and timeout_s is {limit_s:g}; give it more time, or less to do.",
        task.reasons,
    )


def _no_valid(task: Task) -> NoValidSamplesError:
    hint = "raise max_attempts, or try another model (see equidrift.list_models())"
    if task.known is not None:
        hint = (
            "the fixed atoms or restraints may leave no room for the rest: hold fewer atoms, "
            "widen the restraints, or raise max_attempts"
        )
    elif set(task.reasons) <= {NO_COORDINATES}:
        hint = (
            "the molecule may be too strained to exist; check the SMILES, or try another model "
            "(see equidrift.list_models())"
        )
    found = f"{_found(task)} after {counted(task.drawn, 'draw')}"
    return NoValidSamplesError(f"only {found}; {hint}.", task.reasons)
