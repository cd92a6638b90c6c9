"""A run of `equidrift sample`: in this process, or by workers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any

from equidrift.cli.part import PartRun, check_part, open_part, ray_pool
from equidrift.cli.sample import Request
from equidrift.cli.sample_request import check, identity_of, options_of, settings_of, window_of
from equidrift.cli.sample_stream import Chosen, Run
from equidrift.cli.shared import Place, Work, check_workers, gather, workers_of
from equidrift.cli.signals import telling_what_is_kept
from equidrift.cli.values import Part
from equidrift.engine.conformer_options import ConformerOptions
from equidrift.engine.conformers import ConformerSettings, generate_windows
from equidrift.errors import MoleculeError
from equidrift.isolated import tell
from equidrift.scale.folder import ShardFolder
from equidrift.scale.pool import LocalPool
from equidrift.scale.shards import Shard, shards_of
from equidrift.scale.writers import Gatherer, open_gathering


def sample(request: Request) -> int:
    """Sample what is requested, to disk; the exit code."""
    check_part(request)
    asked, read = check(request)
    check_workers(request.workers, read)
    settings = settings_of(request, asked)
    run = Run(request, asked, settings, read)
    identity = identity_of(request, asked, settings)
    if request.shard is not None:
        return _part(run, request.shard, identity)
    writer = open_gathering(
        request.output, identity, inputs=request.files, overwrite=request.overwrite
    )
    run.counts.update(writer.summary or {})
    run.take_up(writer)
    workers = 1 if request.ray else workers_of(request.workers, writer)
    with telling_what_is_kept(lambda: run.interrupted(writer)):
        if not writer.finished:
            with run.bar() as callback:
                if workers is None:
                    run.stream(writer, callback)
                else:
                    _by_workers(run, writer, workers, callback)
    return run.close(writer)


def _by_workers(
    run: Run, writer: Gatherer, workers: int, callback: Callable[[dict[str, Any]], None] | None
) -> None:
    start = writer.position
    shards = shards_of(islice(run.chosen(), start[0], None), start)
    work = Work(run.request, sample_shard, try_shard, run.request.store)
    with ray_pool(run.request) or LocalPool(workers, run.request.threads, callback) as pool:
        gather(work, shards, writer, run.counts, pool, callback if run.request.ray else None)


def _part(run: Run, part: Part, identity: dict[str, Any]) -> int:
    """The job of an array; the exit code."""
    request = run.request
    work = Work(request, sample_shard, try_shard, request.store)
    with (
        open_part(request, identity, request.files, ShardFolder) as folder,
        LocalPool(request.workers or 1, request.threads) as pool,
    ):
        return PartRun(request, part, folder).go(work, shards_of(run.chosen()), pool)


# In a worker ----------------------------------------------------------------------------


def sample_shard(request: Request, shard: Shard[Chosen], place: Place) -> None:
    """Make one shard, from where its own journal stands."""
    asked, settings = _prepared(pickle.dumps(request))
    with place.writing(shard) as writer:
        if writer.finished:
            return
        run = Run(request, asked, settings, [])
        run.counts.update(writer.summary)
        run.take_up(writer)
        left = islice(_entries(shard), writer.position[0] - shard.start[0], None)
        run.stream_chosen(left, writer, tell)
        writer.finish()


def try_shard(request: Request, shard: Shard[Chosen]) -> None:
    """Make the molecules of a shard, and throw the conformers away."""
    asked, settings = _prepared(pickle.dumps(request))
    molecules = (molecule for _, molecule, _ in _entries(shard))
    window = window_of(request, asked, settings)
    for _ in generate_windows(molecules, request.n, settings=settings, window=window):
        pass


@lru_cache(maxsize=1)
def _prepared(request: bytes) -> tuple[ConformerOptions, ConformerSettings]:
    """The options and settings of a request, with the model loaded, once in a worker."""
    asked: Request = pickle.loads(request)
    chosen = options_of(asked)
    return chosen, settings_of(asked, chosen)


def _entries(shard: Shard[Chosen]) -> list[Chosen]:
    """The entries of a shard, those that end their process with the error that says so."""
    return [
        (title, MoleculeError(shard.refused[k]) if k in shard.refused else molecule, note)
        for k, (title, molecule, note) in enumerate(shard.entries)
    ]
