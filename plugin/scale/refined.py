"""Batches of one ensemble through a refiner, by workers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from equidrift.engine.refined import refine_part
from equidrift.errors import WorkerDiedError
from equidrift.protocols import Refiner, as_refiner
from equidrift.records import Ensemble
from equidrift.registry import make_refiner
from equidrift.scale.driver import Driver
from equidrift.scale.pool import Call, Pool
from equidrift.scale.shards import Shard, shards_of

Asked = tuple[object, Mapping[str, Any], int | None]  # model, its options, steps


def refined_by(pool: Pool, parts: Iterator[Ensemble], asked: Asked) -> Iterator[Ensemble]:
    """What `refine_part` makes of each, in order, by the workers of a pool.

    Raises
    ------
    WorkerDiedError
        If a batch ends its worker twice.
    """

    def call(shard: Shard[Ensemble]) -> Call:
        return Call(refine_batch, (asked, shard), f"the work on batch {shard.index}")

    for shard, part in Driver(pool, call, call).run(shards_of(parts, size=1)):
        for reason in shard.refused.values():
            raise WorkerDiedError(f"the refinement of a batch of conformers is given up: {reason}")
        yield part


def refine_batch(asked: Asked, shard: Shard[Ensemble]) -> Ensemble | None:
    """In a worker: one batch; None if it is refused."""
    (part,) = shard.entries
    if shard.refused:
        return None
    model, options, steps = asked
    return refine_part(part, _prepared(pickle.dumps((model, dict(options)))), steps)


@lru_cache(maxsize=1)
def _prepared(asked: bytes) -> Refiner:
    """The refiner, loaded once in a worker."""
    model, options = pickle.loads(asked)
    return make_refiner(model, **options) if isinstance(model, str) else as_refiner(model)
