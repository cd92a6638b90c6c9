"""Seeds -> batches -> samples -> checks -> drawn again until n are valid -> Ensemble.

Work goes through windows: runs of (molecule, range of sample indices) in the caller's
order, each small enough to hold in memory. Inside a window the samples are put into
batches by molecule size; after it, pieces leave in the caller's order. A window
depends only on where it starts, so a run that is continued from the end of any window
makes what an uninterrupted run makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.arguments import check_count
from equidrift.checks.geometry import ELEMENTS, MAX_ATOMS, check_supported
from equidrift.engine.capabilities import ConfidentConformerModel, MarkingConformerModel
from equidrift.engine.conformer_settings import (
    BATCH_SIZE,
    ConformerSettings,
    make_settings,
    provenance,
)
from equidrift.engine.notes import notes_of, tell
from equidrift.engine.repeats import missing
from equidrift.engine.tasks import Task
from equidrift.engine.windows import Keep, run_window
from equidrift.errors import EquidriftError, InputError, InputTypeError, NoValidSamplesError
from equidrift.joining import joined, with_relative_energies
from equidrift.records import Ensemble, Molecule
from equidrift.units import KCAL_MOL_PER_EV

__all__ = [
    "BATCH_SIZE",
    "SHARD_MOLECULES",
    "ConformerSettings",
    "Piece",
    "check_molecule",
    "generate_chunks",
    "generate_windows",
    "make_settings",
    "provenance",
    "sample_molecule",
]

# a window holds as many molecules at most, and none on both sides of a multiple of it: whole
# shards, of as many molecules, can be made by different processes
SHARD_MOLECULES = 256


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


def _ensemble(task: Task, settings: ConformerSettings) -> Ensemble:
    rejected = {reason: task.reasons[reason] for reason in sorted(task.reasons)}
    scores = {} if task.known is None else task.known.scores(task.positions)
    notes = [*notes_of(task.molecule, settings), *missing(task, settings.distinct_A)]
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
            if isinstance(settings.model, ConfidentConformerModel):
                scores |= _expected(task, settings.model)
    if settings.relax is not None:
        by = settings.options.get("relax", "the relaxation")
        within = f" in {solvent}" if (solvent := settings.options.get("solvent")) else ""
        origin["energies"] = f"of the relaxed conformer by {by}{within}"
    has_energies = np.isfinite(task.energies).any() or settings.relax is not None
    return with_relative_energies(
        Ensemble(
            task.molecule,
            task.positions,
            seeds=task.seeds,
            valid=task.valid,
            energies_eV=task.energies if has_energies else None,
            scores=scores,
            provenance=origin | {"drawn": task.drawn, "rejected": rejected},
        )
    )


def _expected(task: Task, model: ConfidentConformerModel) -> dict[str, NDArray[np.float64]]:
    """The score of how far the refined conformers of a task are from their minima."""
    expected = model.expected_rmsd_A(task.molecule, task.positions)
    if expected is None:
        return {}
    return {"expected_rmsd_A": np.where(task.refined == 1, expected, np.nan)}


def check_molecule(molecule: Molecule, settings: ConformerSettings) -> None:
    """Refuse what the model of these settings cannot handle, or what cannot be held as
    asked.

    Raises `MoleculeError` or `InputError`, or `InputTypeError` for another object.
    """
    if not isinstance(molecule, Molecule):
        raise InputTypeError(
            f"molecule must be an equidrift Molecule, not {type(molecule).__name__}; try "
            "Molecule.from_smiles('CCO')"
        )
    model = settings.model
    check_supported(molecule, model.elements or ELEMENTS, model.max_atoms or MAX_ATOMS)
    settings.known(molecule)
    if settings.relax is not None:  # of nothing: it says at once that it has no parameters
        settings.relax(molecule, np.zeros((0, molecule.n_atoms, 3)))


def sample_molecule(
    molecule: Molecule,
    n: int,
    *,
    model: object = "default",
    settings: ConformerSettings | None = None,
    **options: Any,
) -> Ensemble:
    """Valid conformers of one molecule, n of them.

    Parameters
    ----------
    molecule : Molecule
        One fragment, closed shell.
    n : int
        Conformers wanted, 1 or more.
    model : str or object
        A name of `equidrift.list_models()`, or an object with `sample(molecule, seeds,
        *, steps, callback)`.
    settings : ConformerSettings, optional
        Of `make_settings`, in place of `model` and the options.
    **options
        Of `make_settings`.

    Returns
    -------
    Ensemble
        Its provenance counts the rejected draws by reason.

    Raises
    ------
    MoleculeError
        For a molecule that is not supported.
    NoValidSamplesError
        If n valid conformers cannot be found, with the reasons counted; its
        `partial` is the Ensemble of those that are valid.
    InputError, InputTypeError
        For an option out of its range.
    """
    chunks: list[Ensemble] = []
    try:
        chunks.extend(generate_chunks(molecule, n, model=model, settings=settings, **options))
    except NoValidSamplesError as error:
        partial = [*chunks, *([] if error.partial is None else [error.partial])]
        error.partial = joined(partial) if partial else None
        raise
    return joined(chunks)


def generate_chunks(
    molecule: Molecule,
    n: int,
    *,
    model: object = "default",
    settings: ConformerSettings | None = None,
    start: int = 0,
    **options: Any,
) -> Iterator[Ensemble]:
    """Conformers start..n-1 of one molecule as Ensembles of at most `ConformerSettings.window`,
    in order, in constant memory.

    Parameters and errors are `sample_molecule`'s; `start` must be where a chunk of an earlier
    run ended.
    """
    check_count("n", n)
    made = make_settings(model, **options) if settings is None else settings
    window = None if made.distinct_A is None else max(n, made.window)
    windows = generate_windows([molecule], n, settings=made, start=(0, start), window=window)
    for piece in chain.from_iterable(windows):
        if piece.error is not None:
            raise piece.error
        if piece.ensemble is not None:
            yield piece.ensemble


def generate_windows(
    molecules: Iterable[Molecule | EquidriftError],
    n: int,
    *,
    settings: ConformerSettings,
    start: tuple[int, int] = (0, 0),
    window: int | None = None,
    keep: Keep | None = None,
    kept: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[list[Piece]]:
    """Valid conformers, n of each molecule, batches mixing molecules of similar size;
    after each list of pieces a run can be broken off and continued.

    Parameters
    ----------
    molecules : iterable of Molecule or EquidriftError
        Molecules, or the error met in reading one, which comes out again in its place.
    n : int
        Conformers of each.
    settings : ConformerSettings
        Of `make_settings`.
    start : (int, int)
        (Molecules done, samples done of the next): where to go on. `molecules` must
        begin with the first of them not done.
    window : int, optional
        Samples held at a time, None for `ConformerSettings.window`.
    keep : callable, optional
        Called within a window with arrays that hold what is done of it.
    kept : mapping, optional
        The arrays that `keep` was given last, of the window that begins at `start`.

    Yields
    ------
    list of Piece
        Of one window, in the order of the molecules. A molecule that fails yields its
        error and costs only itself.
    """
    check_count("n", n)
    size = settings.in_blocks(window or settings.window)
    plan = _Plan(iter(molecules), n, settings, size, *start)
    while entries := plan.next_window():
        tasks = [entry for entry in entries if isinstance(entry, Task)]
        if tasks:
            run_window(tasks, settings, keep, kept)
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
        settings: ConformerSettings,
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
        end = (self.index // SHARD_MOLECULES + 1) * SHARD_MOLECULES
        while room > 0 and self.index < end:
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


def _piece(task: Task, n: int, settings: ConformerSettings) -> Piece:
    if task.error is not None:
        if isinstance(task.error, NoValidSamplesError) and task.valid.any():
            task.error.partial = _ensemble(task, settings)[task.valid]
        return Piece(task.index, task.start, None, task.error, True)
    ensemble = _ensemble(task, settings)
    if task.settled:  # fewer are distinct than were asked for
        ensemble = ensemble[task.valid]
    return Piece(task.index, task.start, ensemble, None, task.stop == n)
