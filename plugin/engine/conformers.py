"""Seeds -> batches -> samples -> checks -> drawn again until n are valid -> Ensemble.

Work goes through windows: runs of (molecule, range of sample indices) in the caller's
order, each small enough to hold in memory. Inside a window the samples are put into
batches by molecule size; behind it, pieces leave in the caller's order. A window
depends only on where it starts, so a run that is continued from the end of any window
makes what an uninterrupted run makes.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift._version import __version__
from equidrift.arguments import check_count
from equidrift.checks.conditions import Conditions, Known
from equidrift.checks.geometry import (
    BOND_LENGTH,
    CLASH,
    ELEMENTS,
    MAX_ATOMS,
    NO_COORDINATES,
    GeometryCheck,
    check_supported,
)
from equidrift.engine.capabilities import (
    ConditionalConformerModel,
    CostedConformerModel,
    MarkingConformerModel,
)
from equidrift.engine.notes import notes_of, tell
from equidrift.engine.run import MAX_ATTEMPTS, made_by
from equidrift.errors import (
    EquidriftError,
    InputError,
    InputTypeError,
    ModelError,
    NoValidSamplesError,
    error_again,
)
from equidrift.protocols import (
    BatchedConformerModel,
    Callback,
    CandidConformerModel,
    ConformerModel,
    Relax,
    TimedConformerModel,
    as_conformer_model,
)
from equidrift.records import Ensemble, Molecule, joined, with_relative_energies
from equidrift.registry import make_model
from equidrift.seeds import check_seed, sample_seeds
from equidrift.units import KCAL_MOL_PER_EV

BATCH_SIZE = 128
WINDOW = 512  # samples held at a time when many molecules, or many samples, are streamed
WINDOW_MOLECULES = 256
HOPELESS_DRAWS = 100  # a molecule of which nothing is valid after as many draws is given up
SIZE_SPREAD = 1.3  # largest over smallest molecule of a batch, in atoms

BATCH_ATOMS = 6400  # in one call of the model, so that what is done can be kept every few seconds
RELAX_S = 4.0  # seconds of relaxation after which what is done is kept
_META = "meta"

Keep = Callable[[dict[str, NDArray[Any]]], None]


@dataclass(frozen=True)
class Settings:
    """What every draw of a run has in common; `generate` explains the fields."""

    model: ConformerModel
    seed: int = 0
    steps: int | None = None
    batch_size: int = BATCH_SIZE
    max_attempts: int = MAX_ATTEMPTS
    relax: Relax | None = None
    timeout_s: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    callback: Callback | None = None
    conditions: Conditions | None = None

    def known(self, molecule: Molecule) -> Known | None:
        """What is known of a molecule beforehand; raises `InputError` where that does
        not fit it.
        """
        return None if self.conditions is None else self.conditions.of(molecule)

    @property
    def block(self) -> int:
        """Samples the model couples: every range it is given starts at a multiple of
        this.
        """
        return int(self.model.block)

    @property
    def window(self) -> int:
        """Samples in a window: WINDOW, rounded up to whole blocks."""
        return -(-WINDOW // self.block) * self.block


def make_settings(
    model: Any = "default",
    *,
    seed: int = 0,
    steps: int | None = None,
    batch_size: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    relax: Relax | None = None,
    timeout_s: float | None = None,
    callback: Callback | None = None,
    options: dict[str, Any] | None = None,
    conditions: Conditions | None = None,
    **model_options: Any,
) -> Settings:
    """Check the options of a run and load its model.

    Raises
    ------
    UnknownNameError
        for an unknown model, InputError or InputTypeError for an option out of its
        range.
    """
    seed = check_seed(seed)
    for label, value in (
        ("steps", steps),
        ("batch_size", batch_size),
        ("max_attempts", max_attempts),
    ):
        if value is not None:
            check_count(label, value)
    check_seconds(timeout_s)
    made = as_conformer_model(
        made_by(make_model, model, model_options) if isinstance(model, str) else model
    )
    if timeout_s is not None and isinstance(made, TimedConformerModel):
        made = made.timed(timeout_s)
    if conditions is not None:
        if not isinstance(made, ConditionalConformerModel):
            raise InputError(
                f"the model {made.name!r} cannot hold atoms or distances (fix, restrain); 'default', 'etkdg-mmff' and "
                "'conformer-refine' can"
            )
        made = made.conditioned(conditions)
    block = int(made.block)
    size = batch_size or made.batch_size or BATCH_SIZE
    size = -(-size // block) * block
    told = {
        **model_options,
        **({} if timeout_s is None else {"timeout_s": timeout_s}),
        **(options or {}),
    }
    return Settings(
        made, seed, steps, size, max_attempts, relax, timeout_s, told, callback, conditions
    )


def check_seconds(timeout_s: float | None) -> None:
    """Refuse a time limit that is no number of seconds above 0."""
    if timeout_s is None:
        return
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise InputTypeError(
            f"timeout_s must be a number of seconds, not {timeout_s!r}; give for example timeout_s=60"
        )
    if not 0 < timeout_s < math.inf:
        raise InputError(
            f"timeout_s must be above 0 seconds, not {timeout_s}; leave it out for no limit"
        )


@dataclass(eq=False)
class Task:
    """Samples start..stop-1 of one molecule, being made."""

    index: int
    molecule: Molecule
    start: int
    stop: int
    error: EquidriftError | None = None
    known: Known | None = None

    COLUMNS = (
        "positions",
        "energies",
        "refined",
        "seeds",
        "valid",
    )  # arrays with a row for each sample

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
        }

    @property
    def pending(self) -> NDArray[np.int64]:
        """Indices, within the task, still without a valid sample."""
        return np.flatnonzero(~self.valid) if self.error is None else np.zeros(0, np.int64)


@dataclass(frozen=True)
class Piece:
    """What leaves the engine: samples start.. of the molecule with that index, or the
    error that it met. `last` closes the molecule.
    """

    index: int
    start: int
    ensemble: Ensemble | None
    error: EquidriftError | None
    last: bool


@dataclass(frozen=True)
class Job:
    """Seeds of one task that go to the model in one call."""

    task: Task
    slots: NDArray[np.int64]
    seeds: NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """What a model made of one job: positions_A (k, n_atoms, 3), and marks (k, 2), NaN
    where it gives none: whether each is refined, and its energy in eV by the model.
    """

    positions: NDArray[np.float64]
    marks: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.positions)

    @classmethod
    def unmarked(cls, positions_A: Any) -> Block:
        positions = np.asarray(positions_A, np.float64)
        return cls(positions, np.full((len(positions), 2), np.nan))


def blocks_of(jobs: Sequence[Job], settings: Settings) -> list[Block]:
    """The one place where a batch of jobs becomes conformers, one block a job."""
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


def _blocks_safely(jobs: Sequence[Job], settings: Settings) -> list[Block]:
    """`blocks_of`, in halves when the device runs out of memory; a molecule the model
    refuses costs only itself.
    """
    try:
        return blocks_of(jobs, settings)
    except (EquidriftError, RuntimeError, ValueError, MemoryError) as error:
        if len(jobs) > 1:
            half = len(jobs) // 2
            return _blocks_safely(jobs[:half], settings) + _blocks_safely(jobs[half:], settings)
        job = jobs[0]
        if _out_of_memory(error) and len(job.seeds) > settings.block:
            half = -(-len(job.seeds) // 2 // settings.block) * settings.block
            parts = [
                Job(job.task, job.slots[part], job.seeds[part])
                for part in (slice(half), slice(half, None))
            ]
            made = [_blocks_safely([part], settings)[0] for part in parts]
            return [
                Block(
                    np.concatenate([b.positions for b in made]),
                    np.concatenate([b.marks for b in made]),
                )
            ]
        job.task.error = (
            error if isinstance(error, EquidriftError) else _model_error(job.task, error)
        )
        return [Block.unmarked(np.full((len(job.seeds), job.task.molecule.n_atoms, 3), np.nan))]


def _model_error(task: Task, error: Exception) -> ModelError:
    wrapped = ModelError(f"the model failed on {task.molecule!r}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _batches(
    tasks: Sequence[Task],
    settings: Settings,
    attempt: int,
    pending: Sequence[NDArray[np.int64]],
) -> list[list[Job]]:
    """Pending samples as batches of molecules of similar size.

    A batch holds at most `batch_size` samples, and at most BATCH_ATOMS atoms, counted as
    often as the model draws them, unless one block of samples has more.
    """
    batches: list[list[Job]] = []
    room = 0
    for task, slots in sorted(zip(tasks, pending), key=lambda pair: pair[0].molecule.n_atoms):
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


def _samples_of_call(molecule: Molecule, settings: Settings) -> int:
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


def _judge(job: Job, block: Block, settings: Settings) -> None:
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


class _Window:
    """The tasks of a window, being filled batch by batch.

    After each batch, and within a batch each time that relaxation has taken RELAX_S,
    `keep` is given everything that is done as arrays. A later process that hands them
    in as `kept` goes on from there, and makes what an uninterrupted one makes: which
    samples are drawn together follows from what was pending when the attempt began.
    """

    def __init__(self, tasks: Sequence[Task], settings: Settings, keep: Keep | None) -> None:
        self.tasks, self.settings, self.keep = tasks, settings, keep
        self.attempt, self.done, self.judged = (
            0,
            0,
            0,
        )  # attempt, its batches done, rows of the next
        self.begun = time.monotonic()
        self.drawn: list[Block] | None = None  # of the batch that is being judged
        self.pending: list[NDArray[np.int64]] = []

    def run(self) -> None:
        """Fill every task with valid samples, or its `error`."""
        while self.attempt < self.settings.max_attempts:
            self.pending = self.pending or [task.pending for task in self.tasks]
            batches = _batches(self.tasks, self.settings, self.attempt, self.pending)
            for batch in batches[self.done :]:
                self._run_batch(batch)
            if self._over():
                return
            self.attempt, self.done, self.pending = self.attempt + 1, 0, []
        for task in self.tasks:
            if task.pending.size:
                task.error = _no_valid(task)

    def _over(self) -> bool:
        """Give up what is hopeless; whether nothing is left to draw."""
        for task in self.tasks:
            enough = task.drawn >= HOPELESS_DRAWS and self.attempt > 0
            never_embedded = set(task.reasons) == {NO_COORDINATES} and self._never_embeds(task)
            if (enough or never_embedded) and not task.valid.any():
                task.error = task.error or _no_valid(task)
            limit = self.settings.timeout_s
            if limit is not None and task.seconds >= limit and task.pending.size:
                task.error = task.error or _out_of_time(task, limit)
        return not any(task.pending.size for task in self.tasks)

    def _never_embeds(self, task: Task) -> bool:
        model = self.settings.model
        return isinstance(model, CandidConformerModel) and model.never_embeds(task.molecule)

    def _run_batch(self, batch: Sequence[Job]) -> None:
        if self.drawn is None:
            begun = time.monotonic()
            self.drawn = _blocks_safely(batch, self.settings)
            _share_time(batch, time.monotonic() - begun)
        row = 0
        size = 1 if self.settings.relax is not None else self.settings.batch_size
        for job, block in zip(batch, self.drawn):
            begin = min(len(block), max(0, self.judged - row))
            while begin < len(block):
                begun = time.monotonic()
                part = slice(begin, begin + size)
                some = Block(block.positions[part], block.marks[part])
                _judge(Job(job.task, job.slots[part], job.seeds[part]), some, self.settings)
                begin = min(begin + size, len(block))
                self.judged = row + begin
                if time.monotonic() - begun < RELAX_S / 2:
                    size *= 2
                elif self.settings.relax is not None:
                    self._keep()
            row += len(block)
        _report(batch, self.settings, self.begun)
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
            for task, slots in zip(self.tasks, self.pending)
        ]
        meta = {
            "attempt": self.attempt,
            "done": self.done,
            "judged": self.judged,
            "drawn": [len(block) for block in drawn],
            "tasks": [task.described() for task in self.tasks],
        }
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
        for task, told in zip(self.tasks, meta["tasks"]):
            end = begin + len(task.valid)
            for name in Task.COLUMNS:
                if name != "positions":
                    setattr(task, name, arrays[name][begin:end].copy())
            self.pending.append(np.flatnonzero(arrays["pending"][begin:end]))
            task.drawn, task.reasons = told["drawn"], Counter(told["reasons"])
            task.error = None if told["error"] is None else error_again(*told["error"])
            begin = end
        sizes = [len(task.valid) * task.molecule.n_atoms * 3 for task in self.tasks]
        for task, block in zip(self.tasks, np.split(arrays["positions"], np.cumsum(sizes)[:-1])):
            task.positions = block.reshape(task.positions.shape).copy()
        self.attempt, self.done, self.judged = meta["attempt"], meta["done"], meta["judged"]
        if meta["drawn"]:
            batch = _batches(self.tasks, self.settings, self.attempt, self.pending)[self.done]
            shapes = [(len(job.seeds), job.task.molecule.n_atoms, 3) for job in batch]
            ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
            rows = np.cumsum([shape[0] for shape in shapes])[:-1]
            blocks = zip(np.split(arrays["drawn"], ends), np.split(arrays["marks"], rows), shapes)
            self.drawn = [Block(x.reshape(shape), marks) for x, marks, shape in blocks]


def _run_window(
    tasks: Sequence[Task],
    settings: Settings,
    keep: Keep | None = None,
    kept: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Fill every task of a window with valid samples, or its `error`; see `_Window`."""
    window = _Window(tasks, settings, keep)
    if kept is not None:
        window.take_up(kept)
    window.run()


def _report(batch: Sequence[Job], settings: Settings, begun: float) -> None:
    if settings.callback is not None:
        accepted = sum(int(job.task.valid[job.slots].sum()) for job in batch)
        drawn = sum(len(job.seeds) for job in batch)
        settings.callback(
            {"accepted": accepted, "drawn": drawn, "seconds": time.monotonic() - begun}
        )


def _share_time(batch: Sequence[Job], seconds: float) -> None:
    """Charge the time of a batch to its molecules, by the atoms each has drawn."""
    atoms = [len(job.seeds) * job.task.molecule.n_atoms for job in batch]
    for job, share in zip(batch, atoms):
        job.task.seconds += seconds * share / sum(atoms)


def _out_of_time(task: Task, limit_s: float) -> NoValidSamplesError:
    found = f"{int(task.valid.sum())} of {len(task.valid)} conformers of {task.molecule!r} are valid after {task.seconds:.1f} s"
    return NoValidSamplesError(
        f"only {found}, and timeout_s is {limit_s:g}; give it more time, or less to do.",
        task.reasons,
    )


def _no_valid(task: Task) -> NoValidSamplesError:
    hint = "raise max_attempts, or try another model (see equidrift.list_models())"
    if task.known is not None:
        hint = "the fixed atoms or restraints may leave no room for the rest: hold fewer atoms, widen the restraints, or raise max_attempts"
    elif set(task.reasons) <= {NO_COORDINATES}:
        hint = "the molecule may be too strained to exist; check the SMILES, or try another model (see equidrift.list_models())"
    found = f"{int(task.valid.sum())} of {len(task.valid)} conformers of {task.molecule!r} are valid after {task.drawn} draws"
    return NoValidSamplesError(f"only {found}; {hint}.", task.reasons)


def provenance(settings: Settings) -> dict[str, Any]:
    """Where a run's samples come from: model, weights, seed, options and version."""
    model = settings.model
    options = {"steps": settings.steps, **settings.options}
    known = {} if settings.conditions is None else {"conditions": settings.conditions.fingerprint()}
    return known | {
        "model": str(model.name),
        "weights_sha256": model.weights_sha256,
        "seed": settings.seed,
        "options": {key: value for key, value in options.items() if value is not None},
        "equidrift": __version__,
    }


def _ensemble(task: Task, settings: Settings) -> Ensemble:
    rejected = {reason: task.reasons[reason] for reason in sorted(task.reasons)}
    scores = {} if task.known is None else task.known.scores(task.positions)
    notes = notes_of(task.molecule, settings)
    origin = provenance(settings) | ({} if task.known is None else task.known.describe())
    if notes:
        origin["notes"] = notes
        if task.start == 0:
            tell(task.molecule, notes)
    if isinstance(settings.model, MarkingConformerModel):
        scores = {**scores, "refined": task.refined}
        origin |= {
            "refined": int(np.nansum(task.refined[task.valid])),
            **settings.model.origin(task.molecule),
        }
        if settings.relax is None and settings.model.gives_energies(task.molecule):
            scores["energy_kcal_mol"] = task.energies * KCAL_MOL_PER_EV
    if settings.relax is not None:
        origin["energies"] = (
            f"of the relaxed conformer by {settings.options.get('relax', 'the relaxation')}"
        )
    return with_relative_energies(
        Ensemble(
            task.molecule,
            task.positions,
            seeds=task.seeds,
            valid=task.valid,
            energies_eV=task.energies
            if np.isfinite(task.energies).any() or settings.relax is not None
            else None,
            scores=scores,
            provenance=origin | {"drawn": task.drawn, "rejected": rejected},
        )
    )


def check_molecule(molecule: Molecule, settings: Settings) -> None:
    """Refuse what the model of these settings cannot handle, or what cannot be held as
    asked.

    Raises `MoleculeError` or `InputError`, or `InputTypeError` for another object.
    """
    if not isinstance(molecule, Molecule):
        raise InputTypeError(
            f"molecule must be an equidrift Molecule, not {type(molecule).__name__}; try Molecule.from_smiles('CCO')"
        )
    model = settings.model
    check_supported(molecule, model.elements or ELEMENTS, model.max_atoms or MAX_ATOMS)
    settings.known(molecule)
    if settings.relax is not None:  # of nothing: it says at once that it has no parameters
        settings.relax(molecule, np.zeros((0, molecule.n_atoms, 3)))


def generate(molecule: Molecule, n: int, *, model: Any = "default", **options: Any) -> Ensemble:
    """n valid conformers of one molecule.

    Parameters
    ----------
    molecule : one fragment, closed shell.
    n : conformers wanted, 1 or more.
    model : a name of `equidrift.list_models()`, or an object with `sample(molecule,
        seeds, *, steps, callback)`.
    seed : of the run. Conformer k depends on it and on k alone, not on the batch size.
    steps : of the model's solver, None for its own default.
    batch_size : samples in one call of the model, None for its own default.
    max_attempts : draws a conformer before it is given up.
    timeout_s : seconds a molecule may take, None for no limit.
    relax : function (molecule, positions_A) -> (positions_A, energies_eV) applied to
        valid samples, which are then checked again. It is called with no samples first,
        and may refuse the molecule then.
    callback : called with {"accepted", "drawn", "seconds"} behind every batch.
    conditions : of `equidrift.checks.conditions.make_conditions`: atoms to hold and
        distances to keep.

    Returns
    -------
    Ensemble of n conformers; its provenance counts the rejected draws by reason.

    Raises
    ------
    MoleculeError
        for a molecule that is not supported.
    NoValidSamplesError
        where n valid conformers cannot be found, with the reasons counted; its
        `partial` is the Ensemble of those that are valid.
    InputError, InputTypeError
        for an option out of its range.
    """
    chunks: list[Ensemble] = []
    try:
        for chunk in generate_chunks(molecule, n, model=model, **options):
            chunks.append(chunk)
    except NoValidSamplesError as error:
        partial = [*chunks, *([] if error.partial is None else [error.partial])]
        error.partial = joined(partial) if partial else None
        raise
    return joined(chunks)


def generate_chunks(
    molecule: Molecule, n: int, *, model: Any = "default", start: int = 0, **options: Any
) -> Iterator[Ensemble]:
    """Conformers start..n-1 of one molecule as Ensembles of at most `Settings.window`,
    in order, in constant memory.

    Parameters and errors are `generate`'s; `start` must be where a chunk of an earlier
    run ended.
    """
    settings = make_settings(model, **options)
    check_count("n", n)
    for piece in generate_many([molecule], n, settings=settings, start=(0, start)):
        if piece.error is not None:
            raise piece.error
        if piece.ensemble is not None:
            yield piece.ensemble


def generate_many(
    molecules: Iterable[Molecule | EquidriftError],
    n: int,
    *,
    settings: Settings,
    start: tuple[int, int] = (0, 0),
    window: int | None = None,
) -> Iterator[Piece]:
    """n valid conformers of each molecule, batches mixing molecules of similar size.

    Parameters
    ----------
    molecules : molecules, or the error met in reading one, which comes out again in its
        place.
    n : conformers of each.
    settings : of `make_settings`.
    start : (molecules done, samples done of the next): where to go on. `molecules` must
        begin with the first of them not done.
    window : samples held at a time, None for `Settings.window`.

    Yields ------ Pieces in the order of the molecules. A molecule that fails yields its
    error and costs only itself.
    """
    for pieces in generate_windows(molecules, n, settings=settings, start=start, window=window):
        yield from pieces


def generate_windows(
    molecules: Iterable[Molecule | EquidriftError],
    n: int,
    *,
    settings: Settings,
    start: tuple[int, int] = (0, 0),
    window: int | None = None,
    keep: Keep | None = None,
    kept: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[list[Piece]]:
    """`generate_many` by windows: after each list of pieces a run can be broken off and
    continued.

    Parameters are `generate_many`'s, and

    keep : called within a window with arrays that hold what is done of it.
    kept : the arrays that `keep` was given last, of the window that begins at `start`.
    """
    check_count("n", n)
    size = -(-(window or settings.window) // settings.block) * settings.block
    plan = _Plan(iter(molecules), n, settings, size, *start)
    while entries := plan.next_window():
        tasks = [entry for entry in entries if isinstance(entry, Task)]
        if tasks:
            _run_window(tasks, settings, keep, kept)
        kept = None
        pieces = [
            entry if isinstance(entry, Piece) else _piece(entry, n, settings) for entry in entries
        ]
        plan.close(pieces[-1])
        yield pieces


class _Plan:
    """Cuts molecules into windows; where one ends follows from where it starts, and
    from nothing else.
    """

    def __init__(
        self,
        source: Iterator[Molecule | EquidriftError],
        n: int,
        settings: Settings,
        window: int,
        index: int,
        begin: int,
    ) -> None:
        self.source, self.n, self.settings, self.window = source, n, settings, window
        self.index, self.begin = index, begin
        self.molecule: Molecule | None = None  # the one at `index`, once read

    def next_window(self) -> list[Task | Piece]:
        """Tasks, and pieces for molecules that are refused, in order; empty at the end."""
        entries: list[Task | Piece] = []
        room = self.window
        while room > 0 and len(entries) < WINDOW_MOLECULES:
            refused = self._read()
            if refused is not None:
                entries.append(Piece(self.index, self.begin, None, refused, True))
                self._advance()
                continue
            if self.molecule is None or (
                entries and self.n - self.begin > room
            ):  # the end, or it does not fit: the next window's
                break
            stop = min(self.n, self.begin + self.window)
            entries.append(
                Task(
                    self.index,
                    self.molecule,
                    self.begin,
                    stop,
                    known=self.settings.known(self.molecule),
                )
            )
            room -= stop - self.begin
            self.begin = stop
            if stop == self.n:
                self._advance()
        return entries

    def close(self, piece: Piece) -> None:
        """Give up a molecule that has failed in the middle."""
        if piece.error is not None and piece.index == self.index:
            self._advance()

    def _read(self) -> EquidriftError | None:
        """Fetch the molecule at `index`, None at the end; the error that refuses it."""
        if self.molecule is not None:
            return None
        came = next(self.source, None)
        if isinstance(came, EquidriftError):
            return came
        if came is None:
            return None
        try:
            check_molecule(came, self.settings)
        except (InputError, InputTypeError) as error:
            return error
        self.molecule = came
        return None

    def _advance(self) -> None:
        self.index, self.begin, self.molecule = self.index + 1, 0, None


def _piece(task: Task, n: int, settings: Settings) -> Piece:
    if task.error is not None:
        if isinstance(task.error, NoValidSamplesError) and task.valid.any():
            task.error.partial = _ensemble(task, settings)[task.valid]
        return Piece(task.index, task.start, None, task.error, True)
    return Piece(task.index, task.start, _ensemble(task, settings), None, task.stop == n)
