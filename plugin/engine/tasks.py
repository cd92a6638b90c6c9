"""Samples of a molecule that are being made: drawn in batches, judged, and kept or
counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.checks.geometry import BOND_LENGTH, CLASH, GeometryCheck
from equidrift.engine.capabilities import CostedConformerModel, MarkingConformerModel
from equidrift.engine.conformer_settings import ConformerSettings
from equidrift.errors import EquidriftError, told_error
from equidrift.protocols import BatchedConformerModel
from equidrift.records import Molecule
from equidrift.seeds import sample_seeds

SIZE_SPREAD = 1.3  # largest over smallest molecule of a batch, in atoms
BATCH_ATOMS = 6400  # in one call of the model, so that what is done can be kept every few seconds


@dataclass(eq=False)
class Task:
    """Samples start..stop-1 of one molecule, being made."""

    index: int
    molecule: Molecule
    start: int
    stop: int
    error: EquidriftError | None = None
    known: Known | None = None

    # arrays with a row for each sample
    COLUMNS: ClassVar = ("positions", "energies", "refined", "seeds", "valid")

    def __post_init__(self) -> None:
        n = self.stop - self.start
        self.positions = np.full((n, self.molecule.n_atoms, 3), np.nan)
        self.energies = np.full(n, np.nan)
        self.refined = np.full(n, np.nan)
        self.seeds = np.zeros(n, np.int64)
        self.valid = np.zeros(n, bool)
        self.reasons: Counter[str] = Counter()
        self.drawn, self.seconds = 0, 0.0
        self.geometry = GeometryCheck(self.molecule)
        self.most, self.vain, self.settled = 0, 0, False  # of a search for distinct ones

    def check(self, positions_A: NDArray[np.float64]) -> NDArray[np.str_]:
        """What is wrong with each sample: its geometry, or what was to be held."""
        reasons = self.geometry(positions_A)
        return reasons if self.known is None else self.known.reasons(positions_A, reasons)

    @property
    def place(self) -> list[int]:
        """What a task that is taken up must have in common with the one that was kept."""
        return [self.index, self.start, self.stop, self.molecule.n_atoms]

    def described(self) -> dict[str, Any]:
        """What is known of the task, but for its arrays, as plain values."""
        error = None if self.error is None else [type(self.error).__name__, str(self.error)]
        return {
            "place": self.place,
            "drawn": self.drawn,
            "reasons": dict(self.reasons),
            "error": error,
            "search": [self.most, self.vain, self.settled],
        }

    @property
    def pending(self) -> NDArray[np.int64]:
        """Indices, within the task, still without a valid sample."""
        if self.error is not None or self.settled:
            return np.zeros(0, np.int64)
        return np.flatnonzero(~self.valid)

    def drop(self, slots: NDArray[np.int64], reason: str) -> None:
        """Take back valid samples, and count them as rejected."""
        self.valid[slots] = False
        self.positions[slots] = np.nan
        self.energies[slots] = np.nan
        self.refined[slots] = np.nan
        self.reasons[reason] += len(slots)


@dataclass(frozen=True)
class Job:
    """Seeds of one task that go to the model in one call."""

    task: Task
    slots: NDArray[np.int64]
    seeds: NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """What a model made of one job: positions_A (k, n_atoms, 3), and marks (k, 2), NaN
    if it gives none: whether each is refined, and its energy in eV by the model.
    """

    positions: NDArray[np.float64]
    marks: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.positions)

    @classmethod
    def none_of(cls, job: Job) -> Block:
        """What is made of a job that is not drawn any more."""
        return cls.unmarked(np.zeros((0, job.task.molecule.n_atoms, 3)))

    @classmethod
    def unmarked(cls, positions_A: object) -> Block:
        """Conformers of which nothing is known."""
        positions = np.asarray(positions_A, np.float64)
        return cls(positions, np.full((len(positions), 2), np.nan))


def blocks_of(jobs: Sequence[Job], settings: ConformerSettings) -> list[Block]:
    """The one place where a batch of jobs becomes conformers, one block for each job."""
    model = settings.model
    pairs = [(job.task.molecule, job.seeds) for job in jobs]
    if isinstance(model, MarkingConformerModel):
        marked = model.sample_marked(pairs, steps=settings.steps)
        return [
            Block(
                np.asarray(one.positions_A, np.float64),
                np.stack([one.refined.astype(float), one.energies_eV], 1),
            )
            for one in marked
        ]
    if len(jobs) > 1 and isinstance(model, BatchedConformerModel):
        made = model.sample_many(pairs, steps=settings.steps)
    else:
        made = [model.sample(molecule, seeds, steps=settings.steps) for molecule, seeds in pairs]
    return [Block.unmarked(positions) for positions in made]


def blocks_safely(jobs: Sequence[Job], settings: ConformerSettings) -> list[Block]:
    """`blocks_of`, in halves when the device runs out of memory; a molecule the model
    refuses costs only itself.
    """
    if not jobs:
        return []
    try:
        return blocks_of(jobs, settings)
    except (EquidriftError, RuntimeError, ValueError, MemoryError) as error:
        if len(jobs) > 1:
            half = len(jobs) // 2
            return blocks_safely(jobs[:half], settings) + blocks_safely(jobs[half:], settings)
        job = jobs[0]
        if _out_of_memory(error) and len(job.seeds) > settings.block:
            half = settings.in_blocks((len(job.seeds) + 1) // 2)
            parts = [
                Job(job.task, job.slots[part], job.seeds[part])
                for part in (slice(half), slice(half, None))
            ]
            made = [blocks_safely([part], settings)[0] for part in parts]
            return [
                Block(
                    np.concatenate([b.positions for b in made]),
                    np.concatenate([b.marks for b in made]),
                )
            ]
        job.task.error = told_error(error, f"the model failed on {job.task.molecule!r}")
        return [Block.unmarked(np.full((len(job.seeds), job.task.molecule.n_atoms, 3), np.nan))]


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def batches(
    tasks: Sequence[Task],
    settings: ConformerSettings,
    attempt: int,
    pending: Sequence[NDArray[np.int64]],
) -> list[list[Job]]:
    """Pending samples as batches of molecules of similar size.

    A batch holds at most `batch_size` samples, and at most BATCH_ATOMS atoms, counted as
    often as the model draws them, unless one block of samples has more.
    """
    batches: list[list[Job]] = []
    room = 0
    for task, wanted in sorted(
        zip(tasks, pending, strict=True), key=lambda pair: pair[0].molecule.n_atoms
    ):
        slots = wanted
        seeds = sample_seeds(settings.seed, task.start, task.stop, attempt)[slots]
        n_atoms = task.molecule.n_atoms
        while len(slots):
            smallest = batches[-1][0].task.molecule.n_atoms if batches else 0
            if room < 1 or n_atoms > SIZE_SPREAD * smallest:
                batches.append([])
                room = _samples_of_call(task.molecule, settings)
            size = min(len(slots), room)
            batches[-1].append(Job(task, slots[:size], seeds[:size]))
            slots, seeds, room = slots[size:], seeds[size:], room - size
    return batches


def _samples_of_call(molecule: Molecule, settings: ConformerSettings) -> int:
    """Samples of molecules of this size in one call, so that it takes a few seconds.

    Whole blocks, but for a model that can go on within a block and has much work to do.
    """
    cost = 1
    if isinstance(settings.model, CostedConformerModel):
        cost = settings.model.cost(molecule)
    samples = BATCH_ATOMS // (max(1, molecule.n_atoms) * cost)
    if cost == 1:
        samples = max(1, samples // settings.block) * settings.block
    return min(settings.batch_size, max(1, samples))


def judge(job: Job, block: Block, settings: ConformerSettings) -> None:
    """Keep what is valid, before relaxation and after it; count the rest by reason."""
    task = job.task
    if task.error is not None:
        return
    positions, marks = block.positions, block.marks
    reasons = task.check(positions)
    energies = marks[:, 1].copy()
    if settings.relax is not None:
        energies[:] = np.nan
        mendable = ("", BOND_LENGTH, CLASH) if task.known is None else ("",)
        if (good := np.flatnonzero(np.isin(reasons, mendable))).size:
            try:
                held = {} if task.known is None else {"known": task.known}
                moved, energies[good] = settings.relax(task.molecule, positions[good], **held)
            except EquidriftError as error:
                task.error = error
                return
            positions = positions.copy()
            positions[good] = moved
            reasons[good] = task.check(moved)
    keep = reasons == ""
    slots = job.slots[keep]
    task.positions[slots], task.energies[slots], task.seeds[slots] = (
        positions[keep],
        energies[keep],
        job.seeds[keep],
    )
    task.refined[slots] = marks[keep, 0]
    task.valid[slots] = True
    task.drawn += len(positions)
    task.reasons.update(reasons[~keep].tolist())
