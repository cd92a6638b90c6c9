"""A job of `equidrift generate --shard k/K`: batches of draws into the folder that all jobs
share, until they will probably do.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from equidrift.cli.generate import Request
from equidrift.cli.generate_request import quiet_settings
from equidrift.cli.part import PartRun, check_jobs, open_part
from equidrift.cli.place import Point
from equidrift.cli.shared import Place, Work
from equidrift.cli.values import Part
from equidrift.engine.molecule_settings import MoleculeSettings
from equidrift.errors import InputError
from equidrift.scale.drawn import DrawFolder, Supply, drawn
from equidrift.scale.manifest import MANIFEST, read_manifest
from equidrift.scale.pool import LocalPool
from equidrift.scale.shards import Shard
from equidrift.text import counted

FILES = ("fragment", "pocket", "ligand", "spectrum")  # options that name one


def check_generate_part(request: Request) -> None:
    """Refuse what neither the tasks of a cluster nor the jobs of an array can do."""
    check_jobs(request)
    if request.ray is not None and request.store is not None:
        raise InputError(
            f"--store {request.store} is not needed by generate --ray, whose molecules come back "
            "by Ray itself; leave it out"
        )


def draw_for_part(
    request: Request, part: Part, settings: MoleculeSettings, identity: Mapping[str, Any]
) -> int:
    """The job of an array; the exit code."""
    told = request_told(request)
    work = Work(request, draw_batch, try_draws, request.store)
    with (
        open_part(request, identity, request.files, DrawFolder, told) as folder,
        LocalPool(request.workers or 1, request.threads) as pool,
    ):
        supply = Supply(folder, request.n, settings)
        _check_jobs_needed(part, supply, settings.batch_size)
        return PartRun(request, part, folder).go(work, supply.shards(part.has), pool)


def _check_jobs_needed(part: Part, supply: Supply, size: int) -> None:
    """Refuse more jobs than there are batches."""
    batches = supply.needed()
    if part.jobs > max(batches, len(supply.folder.begun())):
        raise InputError(
            f"--shard {part} is of more jobs than the {batches} batches of "
            f"{counted(size, 'draw')} that {counted(supply.n, 'molecule')} will take; give fewer "
            "jobs, a smaller --batch-size, or no --shard"
        )


# What a merge has to know ----------------------------------------------------------------


def request_told(request: Request) -> dict[str, Any]:
    """What decides the draws, as JSON values; `stored_request` makes a request of it."""
    from equidrift.stored import StoredGenerate

    told = {name: getattr(request, name) for name in StoredGenerate.model_fields}
    centre = None if request.centre is None else list(request.centre)
    paths = {name: str(told[name].absolute()) for name in FILES if told[name] is not None}
    return {**told, **paths, "centre": centre}


def stored_request(folder: Path, out: Path, *, overwrite: bool, as_json: bool) -> Request:
    """The request of the jobs that work in a folder, for one process and another output.

    Raises
    ------
    InputError
        If the folder's manifest is damaged.
    """
    from equidrift.stored import StoredGenerate, checked

    try:
        told = checked(read_manifest(folder)["request"], StoredGenerate, "request").model_dump()
    except InputError as error:
        raise InputError(f"{str(folder / MANIFEST)!r} is damaged: {error}") from error
    told |= {name: Path(told[name]) for name in FILES if told[name] is not None}
    if told["centre"] is not None:
        told["centre"] = Point(told["centre"])
    return Request(**told, output=out, overwrite=overwrite, as_json=as_json)


# In a worker ----------------------------------------------------------------------------


def draw_batch(request: Request, shard: Shard[int], place: Place) -> None:
    """Make one batch, if it is not there."""
    settings = prepared(pickle.dumps(request))
    with place.held(shard, DrawFolder) as folder:
        if folder.draws(shard.index) is None:
            folder.put(shard.index, drawn(settings, shard))


def try_draws(request: Request, shard: Shard[int]) -> None:
    """Make draws, and throw them away."""
    drawn(prepared(pickle.dumps(request)), shard)


@lru_cache(maxsize=1)
def prepared(request: bytes) -> MoleculeSettings:
    """The settings of a request, with the model loaded, once in a worker."""
    return quiet_settings(pickle.loads(request))
