"""Seeds -> batches -> samples -> checks -> drawn again until n are valid -> Ensemble.

Work goes through windows: runs of (molecule, range of sample indices) in the caller's order, each small enough to hold in memory. Inside a
window the samples are put into batches by molecule size; behind it, pieces leave in the caller's order. A window depends only on where it
starts, so a run that is continued from the end of any window makes what an uninterrupted run makes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift._version import __version__
from equidrift.checks import ELEMENTS, MAX_ATOMS, NO_COORDINATES, GeometryCheck, check_supported
from equidrift.conditions import Conditions, Known
from equidrift.errors import EquidriftError, InputError, InputTypeError, ModelError, NoValidSamplesError
from equidrift.protocols import Callback
from equidrift.records import Ensemble, Molecule
from equidrift.registry import make_model
from equidrift.seeds import check_seed, sample_seeds

BATCH_SIZE = 128
WINDOW = 512  # samples held at a time when many molecules, or many samples, are streamed
WINDOW_MOLECULES = 256
MAX_ATTEMPTS = 20
HOPELESS_DRAWS = 100  # a molecule of which nothing is valid after as many draws is given up
SIZE_SPREAD = 1.3  # largest over smallest molecule of a batch, in atoms

Relax = Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]  # (molecule, positions_A), and known=Known where atoms are held


@dataclass(frozen=True)
class Settings:
    """What every draw of a run has in common; `generate` explains the fields."""

    model: Any
    seed: int = 0
    steps: int | None = None
    batch_size: int = BATCH_SIZE
    max_attempts: int = MAX_ATTEMPTS
    relax: Relax | None = None
    options: dict[str, Any] = field(default_factory=dict)
    callback: Callback | None = None
    conditions: Conditions | None = None

    def known(self, molecule: Molecule) -> Known | None:
        """What is known of a molecule beforehand; raises `InputError` where that does not fit it."""
        return None if self.conditions is None else self.conditions.of(molecule)

    @property
    def block(self) -> int:
        """Samples the model couples: every range it is given starts at a multiple of this."""
        return int(getattr(self.model, "block", 1))

    @property
    def window(self) -> int:
        """Samples in a window: WINDOW, rounded up to whole blocks."""
        return -(-WINDOW // self.block) * self.block


def made_by(make: Callable[..., Any], name: str, options: dict[str, Any]) -> Any:
    """`make(name, **options)`; an option that the model lacks is the caller's mistake, and told as such."""
    try:
        return make(name, **options)
    except TypeError as error:
        option = next((key for key in options if f"unexpected keyword argument '{key}'" in str(error)), None)
        if option is None:
            raise
        raise InputTypeError(f"the model {name!r} has no option {option!r}; check its spelling, or leave it out") from error


def make_settings(
    model: Any = "default",
    *,
    seed: int = 0,
    steps: int | None = None,
    batch_size: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    relax: Relax | None = None,
    callback: Callback | None = None,
    options: dict[str, Any] | None = None,
    conditions: Conditions | None = None,
    **model_options: Any,
) -> Settings:
    """Check the options of a run and load its model.

    Raises
    ------
    UnknownNameError
        for an unknown model, InputError or InputTypeError for an option out of its range.
    """
    seed = check_seed(seed)
    for label, value in (("steps", steps), ("batch_size", batch_size), ("max_attempts", max_attempts)):
        if value is not None:
            check_count(label, value)
    made = made_by(make_model, model, model_options) if isinstance(model, str) else model
    if not callable(getattr(made, "sample", None)):
        raise InputTypeError(f"model must be a name (see equidrift.list_models()) or an object with sample(molecule, seeds), not {model!r}")
    if conditions is not None:
        if not hasattr(made, "conditioned"):
            raise InputError(
                f"the model {getattr(made, 'name', model)!r} cannot hold atoms or distances (fix, restrain); 'default', 'etkdg-mmff' and "
                "'conformer-refine' can"
            )
        made = made.conditioned(conditions)
    block = int(getattr(made, "block", 1))
    size = batch_size or int(getattr(made, "batch_size", BATCH_SIZE))
    size = -(-size // block) * block
    return Settings(made, seed, steps, size, max_attempts, relax, {**model_options, **(options or {})}, callback, conditions)


def check_count(label: str, value: int) -> int:
    """Return a number that must be 1 or more, or say why it cannot be used."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"{label} must be an integer, not {value!r}; give for example {label}=10")
    if value < 1:
        raise InputError(f"{label} must be 1 or more, not {value}")
    return int(value)


@dataclass(eq=False)
class Task:
    """Samples start..stop-1 of one molecule, being made."""

    index: int
    molecule: Molecule
    start: int
    stop: int
    error: EquidriftError | None = None
    known: Known | None = None

    def __post_init__(self) -> None:
        n = self.stop - self.start
        self.positions = np.full((n, self.molecule.n_atoms, 3), np.nan)
        self.energies = np.full(n, np.nan)
        self.seeds = np.zeros(n, np.int64)
        self.valid = np.zeros(n, bool)
        self.reasons: Counter[str] = Counter()
        self.drawn = 0
        self.geometry = GeometryCheck(self.molecule)

    def check(self, positions_A: NDArray[np.float64]) -> NDArray[np.str_]:
        """What is wrong with each sample: its geometry, or what was to be held."""
        reasons = self.geometry(positions_A)
        return reasons if self.known is None else self.known.reasons(positions_A, reasons)

    @property
    def pending(self) -> NDArray[np.int64]:
        """Indices, within the task, still without a valid sample."""
        return np.flatnonzero(~self.valid) if self.error is None else np.zeros(0, np.int64)


@dataclass(frozen=True)
class Piece:
    """What leaves the engine: samples start.. of the molecule with that index, or the error that it met. `last` closes the molecule."""

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


def positions_of(jobs: Sequence[Job], settings: Settings) -> list[NDArray[np.float64]]:
    """The one place where a batch of jobs becomes positions_A, one block (len(seeds), n_atoms, 3) a job."""
    model = settings.model
    if len(jobs) > 1 and hasattr(model, "sample_many"):
        made = model.sample_many([(job.task.molecule, job.seeds) for job in jobs], steps=settings.steps)
    else:
        made = [model.sample(job.task.molecule, job.seeds, steps=settings.steps) for job in jobs]
    return [np.asarray(block, np.float64) for block in made]


def _positions_safely(jobs: Sequence[Job], settings: Settings) -> list[NDArray[np.float64]]:
    """`positions_of`, in halves when the device runs out of memory; a molecule the model refuses costs only itself."""
    try:
        return positions_of(jobs, settings)
    except (EquidriftError, RuntimeError, ValueError, MemoryError) as error:
        if len(jobs) > 1:
            half = len(jobs) // 2
            return _positions_safely(jobs[:half], settings) + _positions_safely(jobs[half:], settings)
        job = jobs[0]
        if _out_of_memory(error) and len(job.seeds) > settings.block:
            half = -(-len(job.seeds) // 2 // settings.block) * settings.block
            parts = [Job(job.task, job.slots[part], job.seeds[part]) for part in (slice(half), slice(half, None))]
            return [np.concatenate([_positions_safely([part], settings)[0] for part in parts])]
        job.task.error = error if isinstance(error, EquidriftError) else _model_error(job.task, error)
        return [np.full((len(job.seeds), job.task.molecule.n_atoms, 3), np.nan)]


def _model_error(task: Task, error: Exception) -> ModelError:
    wrapped = ModelError(f"the model failed on {task.molecule!r}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _batches(tasks: Sequence[Task], settings: Settings, attempt: int) -> Iterator[list[Job]]:
    """Pending samples as batches of molecules of similar size, at most `batch_size` samples in each."""
    batch: list[Job] = []
    room = settings.batch_size
    for task in sorted(tasks, key=lambda task: task.molecule.n_atoms):
        slots = task.pending
        seeds = sample_seeds(settings.seed, task.start, task.stop, attempt)[slots]
        while len(slots):
            if batch and (room < 1 or task.molecule.n_atoms > SIZE_SPREAD * batch[0].task.molecule.n_atoms):
                yield batch
                batch, room = [], settings.batch_size
            size = min(len(slots), room)
            batch.append(Job(task, slots[:size], seeds[:size]))
            slots, seeds, room = slots[size:], seeds[size:], room - size
    if batch:
        yield batch


def _judge(job: Job, positions: NDArray[np.float64], settings: Settings) -> None:
    """Keep what is valid, before relaxation and behind it; count the rest by reason."""
    task = job.task
    if task.error is not None:
        return
    reasons = task.check(positions)
    energies = np.full(len(positions), np.nan)
    if settings.relax is not None and (good := np.flatnonzero(reasons == "")).size:
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
    task.positions[slots], task.energies[slots], task.seeds[slots] = positions[keep], energies[keep], job.seeds[keep]
    task.valid[slots] = True
    task.drawn += len(positions)
    task.reasons.update(reasons[~keep].tolist())


def _run_window(tasks: Sequence[Task], settings: Settings) -> None:
    """Fill every task of a window with valid samples, or its `error`."""
    begun = time.monotonic()
    for attempt in range(settings.max_attempts):
        for batch in _batches(tasks, settings, attempt):
            for job, positions in zip(batch, _positions_safely(batch, settings)):
                _judge(job, positions, settings)
            _report(batch, settings, begun)
        for task in tasks:
            if task.drawn >= HOPELESS_DRAWS and attempt > 0 and not task.valid.any():
                task.error = task.error or _no_valid(task)
        if not any(task.pending.size for task in tasks):
            return
    for task in tasks:
        if task.pending.size:
            task.error = _no_valid(task)


def _report(batch: Sequence[Job], settings: Settings, begun: float) -> None:
    if settings.callback is not None:
        accepted = sum(int(job.task.valid[job.slots].sum()) for job in batch)
        drawn = sum(len(job.seeds) for job in batch)
        settings.callback({"accepted": accepted, "drawn": drawn, "seconds": time.monotonic() - begun})


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
        "model": str(getattr(model, "name", type(model).__name__)),
        "weights_sha256": getattr(model, "weights_sha256", None),
        "seed": settings.seed,
        "options": {key: value for key, value in options.items() if value is not None},
        "equidrift": __version__,
    }


def _ensemble(task: Task, settings: Settings) -> Ensemble:
    rejected = {reason: task.reasons[reason] for reason in sorted(task.reasons)}
    return Ensemble(
        task.molecule,
        task.positions,
        seeds=task.seeds,
        valid=task.valid,
        energies_eV=task.energies if settings.relax is not None else None,
        scores={} if task.known is None else task.known.scores(task.positions),
        provenance=provenance(settings)
        | ({} if task.known is None else task.known.describe())
        | {"drawn": task.drawn, "rejected": rejected},
    )


def check_molecule(molecule: Molecule, settings: Settings) -> None:
    """Refuse what the model of these settings cannot handle, or what cannot be held as asked.

    Raises `MoleculeError` or `InputError`, or `InputTypeError` for another object.
    """
    if not isinstance(molecule, Molecule):
        raise InputTypeError(f"molecule must be an equidrift Molecule, not {type(molecule).__name__}; try Molecule.from_smiles('CCO')")
    elements = getattr(settings.model, "elements", ELEMENTS)
    check_supported(molecule, elements, getattr(settings.model, "max_atoms", MAX_ATOMS))
    settings.known(molecule)


def generate(molecule: Molecule, n: int, *, model: Any = "default", **options: Any) -> Ensemble:
    """n valid conformers of one molecule.

    Parameters
    ----------
    molecule : one fragment, closed shell.
    n : conformers wanted, 1 or more.
    model : a name of `equidrift.list_models()`, or an object with `sample(molecule, seeds, *, steps, callback)`.
    seed : of the run. Conformer k depends on it and on k alone, not on the batch size.
    steps : of the model's solver, None for its own default.
    batch_size : samples in one call of the model, None for its own default.
    max_attempts : draws a conformer before it is given up.
    relax : function (molecule, positions_A) -> (positions_A, energies_eV) applied to valid samples, which are then checked again.
    callback : called with {"accepted", "drawn", "seconds"} behind every batch.
    conditions : of `equidrift.conditions.make_conditions`: atoms to hold and distances to keep.

    Returns
    -------
    Ensemble of n conformers; its provenance counts the rejected draws by reason.

    Raises
    ------
    MoleculeError
        for a molecule that is not supported.
    NoValidSamplesError
        where n valid conformers cannot be found, with the reasons counted.
    InputError, InputTypeError
        for an option out of its range.
    """
    return joined(list(generate_chunks(molecule, n, model=model, **options)))


def joined(parts: Sequence[Ensemble]) -> Ensemble:
    """Ensembles of one molecule, one behind the other; counts of draws and rejections add up."""
    if len(parts) == 1:
        return parts[0]
    rejected: Counter[str] = Counter()
    for part in parts:
        rejected.update(part.provenance.get("rejected", {}))
    drawn = sum(part.provenance.get("drawn", len(part)) for part in parts)
    arrays: dict[str, Any] = {"positions_A": np.concatenate([part.positions_A for part in parts])}
    for name in ("seeds", "valid", "log_prob", "energies_eV"):
        columns = [getattr(part, name) for part in parts]
        arrays[name] = None if any(column is None for column in columns) else np.concatenate(columns)
    arrays["scores"] = {key: np.concatenate([part.scores[key] for part in parts]) for key in parts[0].scores}
    arrays["properties"] = joined_properties(parts)
    counts = {"drawn": drawn, "rejected": {reason: rejected[reason] for reason in sorted(rejected)}}
    return parts[0].replace(**arrays, provenance={**parts[0].provenance, **counts})


def joined_properties(parts: Sequence[Ensemble]) -> dict[str, list[str]]:
    """The properties of the samples of all parts; empty text where a part has none of a name."""
    names = list(dict.fromkeys(name for part in parts for name in part.properties))
    return {name: [text for part in parts for text in part.properties.get(name, ("",) * len(part))] for name in names}


def generate_chunks(molecule: Molecule, n: int, *, model: Any = "default", start: int = 0, **options: Any) -> Iterator[Ensemble]:
    """Conformers start..n-1 of one molecule as Ensembles of at most `Settings.window`, in order, in constant memory.

    Parameters and errors are `generate`'s; `start` must be where a chunk of an earlier run ended.
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
    molecules : molecules, or the error met in reading one, which comes out again in its place.
    n : conformers of each.
    settings : of `make_settings`.
    start : (molecules done, samples done of the next): where to go on. `molecules` must begin with the first of them not done.
    window : samples held at a time, None for `Settings.window`.

    Yields
    ------
    Pieces in the order of the molecules. A molecule that fails yields its error and costs only itself.
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
) -> Iterator[list[Piece]]:
    """`generate_many` by windows: behind each list of pieces a run can be broken off and continued."""
    check_count("n", n)
    size = -(-(window or settings.window) // settings.block) * settings.block
    plan = _Plan(iter(molecules), n, settings, size, *start)
    while entries := plan.next_window():
        _run_window([entry for entry in entries if isinstance(entry, Task)], settings)
        pieces = [entry if isinstance(entry, Piece) else _piece(entry, n, settings) for entry in entries]
        plan.close(pieces[-1])
        yield pieces


class _Plan:
    """Cuts molecules into windows; where one ends follows from where it starts, and from nothing else."""

    def __init__(
        self, source: Iterator[Molecule | EquidriftError], n: int, settings: Settings, window: int, index: int, begin: int
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
            if self.molecule is None or (entries and self.n - self.begin > room):  # the end, or it does not fit: the next window's
                break
            stop = min(self.n, self.begin + self.window)
            entries.append(Task(self.index, self.molecule, self.begin, stop, known=self.settings.known(self.molecule)))
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
        return Piece(task.index, task.start, None, task.error, True)
    return Piece(task.index, task.start, _ensemble(task, settings), None, task.stop == n)
