"""Conformers of many molecules from Python: one after the other, in constant memory, by
this process or by workers.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from equidrift.arguments import check_count
from equidrift.engine.conformer_options import ConformerOptions
from equidrift.engine.conformers import ConformerSettings, Piece, generate_windows
from equidrift.engine.run import MAX_ATTEMPTS
from equidrift.errors import EquidriftError, InputError, InputTypeError, NoValidSamplesError
from equidrift.files.inputs import read_inputs
from equidrift.fragments import largest_fragment as largest
from equidrift.inputs import as_molecule
from equidrift.isolated import tell
from equidrift.progress import conformer_bar
from equidrift.records import Ensemble, Frozen, Molecule
from equidrift.scale.driver import Driver
from equidrift.scale.pool import Call, LocalPool, pool_for
from equidrift.scale.shards import Shard, shards_of
from equidrift.stereo import check_stereo, isomers_of


@dataclass(frozen=True, eq=False)
class Sampled(Frozen):
    """What became of one molecule of `sample_many`.

    Parameters
    ----------
    index : int
        Its place in the input, from 0.
    name : str
        Its name, else its SMILES.
    ensemble : Ensemble or None
        Its conformers, None if there are none.
    error : EquidriftError or None
        What is wrong, None if nothing is. With fewer valid conformers than asked for
        there are both: `ensemble` holds the valid ones.
    """

    index: int
    name: str
    ensemble: Ensemble | None
    error: EquidriftError | None = None


def sample_many(  # noqa: PLR0913 - public, as `equidrift.sample`
    whats: Iterable[Any] | str | os.PathLike[str],
    n: int = 1,
    *,
    model: object = "default",
    seed: int = 0,
    steps: int | None = None,
    effort: int | None = None,
    select: str | None = None,
    preset: str | None = None,
    relax: str = "none",
    solvent: str | None = None,
    prune_rms_A: float | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    max_attempts: int = MAX_ATTEMPTS,
    timeout_s: float | None = None,
    sort: str | None = None,
    window_kcal_mol: float | None = None,
    fix: object = None,
    restrain: object = None,
    restraint_tolerance_A: float | None = None,
    distinct: bool = False,
    charge: int | None = None,
    largest_fragment: bool = False,
    stereo: str = "any",
    workers: int | None = None,
    threads: int | None = None,
    **model_options: Any,
) -> Iterator[Sampled]:
    """Valid conformers, n of each of many molecules, as `equidrift sample` makes them.

    Parameters
    ----------
    whats : iterable or path
        Of what `equidrift.sample` takes, or of (what, name) pairs; or a file such as
        library.smi. It is read as it is needed, so a generator may be endless.
    n, model, seed, steps, effort, select, preset, relax, solvent, prune_rms_A
        As for `equidrift.sample`.
    batch_size, progress, max_attempts, timeout_s, sort, window_kcal_mol, fix, restrain
        As for `equidrift.sample`.
    restraint_tolerance_A, distinct, charge, largest_fragment
        As for `equidrift.sample`.
    stereo : {"any", "require", "enumerate"}, optional
        As for `equidrift.sample`; "enumerate" yields an entry for each isomer.
    workers : int, optional
        Processes that share the work, by shards of 256 molecules; what is yielded is
        the same for any number. None is this process.
    threads : int, optional
        CPU threads of all workers together; None is all cores.
    **model_options
        Passed to the model.

    Yields
    ------
    Sampled
        One for each molecule, in the order of the input. A molecule that cannot be read
        or sampled costs only itself: its `error` says why. So does one that ends its
        worker, twice alone.

    Raises
    ------
    InputError, InputTypeError, UnknownNameError, MissingDependencyError
        At once, before anything is drawn, for an option that cannot be used.
    WorkerDiedError
        If workers keep dying, and no molecule is to blame.

    Examples
    --------
    >>> import equidrift
    >>> results = equidrift.sample_many(["CCO", "CCN"], 2, model="etkdg")
    >>> [len(result.ensemble) for result in results]
    [2, 2]
    """
    check_count("n", n)
    options = ConformerOptions.of_call(locals())
    names: dict[int, str] = {}
    source = _molecules(_items(whats), names, largest_fragment, check_stereo(stereo), charge)
    settings = options.settings()  # refused here if they cannot be used
    pool = pool_for(options.model, workers, threads)
    if pool is None:
        return _sampled(source, n, settings, options, names, progress)
    return _shared(source, n, options, names, pool, progress)


def _sampled(
    source: Iterator[Molecule | EquidriftError],
    n: int,
    settings: ConformerSettings,
    options: ConformerOptions,
    names: dict[int, str],
    progress: bool,
) -> Iterator[Sampled]:
    window = max(n, settings.window)  # each molecule is whole in one
    with conformer_bar(None, shown=progress) as callback:
        shown = replace(settings, callback=callback)
        windows = generate_windows(source, n, settings=shown, window=window)
        for piece in chain.from_iterable(windows):
            yield _result(piece, options, names.pop(piece.index))


# By workers ------------------------------------------------------------------------------


def _shared(
    source: Iterator[Molecule | EquidriftError],
    n: int,
    options: ConformerOptions,
    names: dict[int, str],
    pool: LocalPool,
    progress: bool,
) -> Iterator[Sampled]:
    """What `_sampled` yields, made by the workers of a pool, which is closed at the end."""

    def call(shard: Shard[Entry]) -> Call:
        return Call(sample_shard, (options, n, shard), shard.named)

    def trial(shard: Shard[Entry]) -> Call:
        return Call(try_shard, (options, n, shard), shard.named)

    with pool, conformer_bar(None, shown=progress) as pool.on_event:
        for _, made in Driver(pool, call, trial).run(shards_of(source)):
            for index, ensemble, error in made:
                yield Sampled(index, names.pop(index), ensemble, error)


Entry = Molecule | EquidriftError


def sample_shard(
    options: ConformerOptions, n: int, shard: Shard[Entry]
) -> list[tuple[int, Ensemble | None, EquidriftError | None]]:
    """In a worker: (index, ensemble, error) of each molecule of a shard."""
    settings = replace(_prepared(pickle.dumps(options)), callback=tell)
    window = max(n, settings.window)
    windows = generate_windows(
        shard.with_errors(), n, settings=settings, start=shard.start, window=window
    )
    made = (_result(piece, options, "") for piece in chain.from_iterable(windows))
    return [(one.index, one.ensemble, one.error) for one in made]


def try_shard(options: ConformerOptions, n: int, shard: Shard[Entry]) -> None:
    """In a worker: the same, for a trial whose result is thrown away."""
    sample_shard(options, n, shard)


@lru_cache(maxsize=1)
def _prepared(options: bytes) -> ConformerSettings:
    """The settings of these options, with the model loaded, once in a worker."""
    made: ConformerOptions = pickle.loads(options)
    return made.settings()


def _result(piece: Piece, options: ConformerOptions, name: str) -> Sampled:
    ensemble = piece.ensemble
    if ensemble is None and isinstance(piece.error, NoValidSamplesError):
        ensemble = piece.error.partial
    if ensemble is not None:
        ensemble = options.arranged(ensemble)
    return Sampled(piece.index, name, ensemble, piece.error)


def _items(whats: object) -> Iterator[tuple[Any, str]]:
    """(what, name) of each; the name is empty if none was given."""
    if isinstance(whats, str | os.PathLike):
        if not Path(whats).is_file():
            raise InputError(
                f"there is no file {os.fspath(whats)!r}; give a file of molecules, or a list: "
                "sample_many(['CCO', 'CCN'])"
            )
        entries = read_inputs([os.fspath(whats)])
        return ((entry.molecule, entry.title) for entry in entries)
    if not isinstance(whats, Iterable):
        raise InputTypeError(
            f"whats must be an iterable of molecules or a file, not {type(whats).__name__}; "
            "for one molecule use equidrift.sample"
        )
    pairs = (
        item
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str)
        else (item, "")
        for item in whats
    )
    return iter(pairs)


def _molecules(
    items: Iterator[tuple[Any, str]],
    names: dict[int, str],
    largest_only: bool,
    stereo: str,
    charge: int | None,
) -> Iterator[Molecule | EquidriftError]:
    index = 0
    for what, name in items:
        try:
            if isinstance(what, EquidriftError):
                raise what
            molecule = as_molecule(what, charge=charge)
            molecule = largest(molecule) if largest_only else molecule
            molecule = molecule.replace(name=name) if name and name != molecule.smiles else molecule
            isomers = isomers_of(molecule, stereo)
        except (InputError, InputTypeError) as error:
            names[index] = name or (what if isinstance(what, str) else "")
            index += 1
            yield error
            continue
        for isomer in isomers:
            names[index] = isomer.name or isomer.smiles
            index += 1
            yield isomer
