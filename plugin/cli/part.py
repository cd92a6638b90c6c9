"""A job of an array (`--shard k/K`): its shards into the folder that all jobs share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from equidrift.cli import output
from equidrift.cli.options import RayRun, ShardedRun
from equidrift.cli.shared import Work, made
from equidrift.cli.signals import kept, telling_what_is_kept
from equidrift.cli.values import Part
from equidrift.errors import InputError
from equidrift.files.formats import STDOUT, check_output, suffix_of
from equidrift.files.journal import fingerprint
from equidrift.outputs import claim
from equidrift.registry import host_function
from equidrift.scale.folder import ShardFolder, shards_beside
from equidrift.scale.manifest import put_manifest, put_total
from equidrift.scale.pool import Pool
from equidrift.scale.shards import Shard
from equidrift.text import counted


class ContextManagedPool(Pool, Protocol):
    """A pool that is closed at the end of a `with` block."""

    def __enter__(self) -> Pool: ...

    def __exit__(self, *raised: object) -> None: ...


def check_part(request: ShardedRun) -> None:
    """Refuse what the jobs of an array cannot do."""
    check_ray(request)
    if request.ray is not None and request.shard is not None:
        raise InputError("--ray and --shard both say who makes the shards; give one of them")
    if request.ray is not None and str(request.output) == STDOUT:
        raise InputError("--ray needs a file as output, in a folder of all nodes; give -o FILE")
    if request.store is not None and request.ray is None:
        raise InputError(
            f"--store {request.store} is where the tasks of --ray put the shards; give --ray "
            "ADDRESS, or leave it out"
        )
    if request.shard is None:
        return
    if str(request.output) == STDOUT:
        raise InputError("--shard needs a file as output, which all jobs name; give -o FILE")
    if request.overwrite:
        raise InputError(
            "--overwrite would drop the shards of the other jobs; with --shard remove "
            f"{str(shards_beside(request.output))!r} yourself, before the first job starts"
        )


def check_ray(request: RayRun) -> None:
    """Refuse a cluster beside workers, and GPUs of tasks without a cluster."""
    if request.ray is not None and request.workers is not None:
        raise InputError("--ray and --workers both say who does the work; give one of them")
    if request.ray is None and request.gpus_per_task:
        raise InputError(
            f"--gpus-per-task {request.gpus_per_task:g} is of the tasks of --ray; give --ray "
            "ADDRESS, or --device cuda for this machine"
        )


def ray_pool(request: RayRun) -> ContextManagedPool | None:
    """The pool of a Ray cluster, if the request names one."""
    if request.ray is None:
        return None
    pool: ContextManagedPool = host_function("ray", "RayPool")(
        request.ray, request.threads, request.gpus_per_task
    )
    return pool


def open_part(
    output_path: Path, identity: Mapping[str, Any], inputs: list[str | Path] | list[Path]
) -> ShardFolder:
    """The folder of the shards; refuses that of another run, and an output that is there."""
    check_output(output_path)
    claim([output_path], inputs=inputs)
    path = shards_beside(output_path)
    folder = ShardFolder(path, suffix_of(output_path), fingerprint(identity))
    put_manifest(path, output_path, identity)
    return folder


class PartRun:
    """One job: what it has done, and what its summary says."""

    def __init__(self, request: ShardedRun, part: Part, folder: ShardFolder) -> None:
        self.request, self.part, self.folder = request, part, folder
        self.begun = time.monotonic()
        self.counts = {"shards": 0, "done_before": 0, "molecules": 0, "conformers": 0, "failed": 0}
        self.locked: list[str] = []

    def go(self, work: Work, shards: Iterator[Shard[Any]], pool: Pool) -> int:
        """Make the shards of this job; the exit code."""
        with telling_what_is_kept(lambda: kept(f"{self.counts['shards']} shards")):
            for shard, locked in made(work, self._own(shards), self.folder, pool):
                if locked:
                    self.locked.append(locked)
                else:
                    self._count(shard.index)
        output.print_summary(self._summary(), part_text, self.request)
        return 1 if self.locked or self.counts["failed"] else 0

    def _own(self, shards: Iterator[Shard[Any]]) -> Iterator[Shard[Any]]:
        """The shards that this job has to make."""
        molecules = count = 0
        for shard in shards:
            molecules, count = molecules + len(shard), count + 1
            if self.part.has(shard.index):
                if self.folder.look(shard.index).finished:
                    self.counts["done_before"] += 1
                    self._count(shard.index)
                else:
                    yield shard
        put_total(self.folder.folder, molecules, count)

    def _count(self, index: int) -> None:
        told = self.folder.look(index).summary
        self.counts["shards"] += 1
        for name in ("molecules", "conformers", "failed"):
            self.counts[name] += told.get(name, 0)

    def _summary(self) -> dict[str, Any]:
        return {
            "command": "shard",
            "shard": str(self.part),
            "output": str(self.folder.folder),
            **self.counts,
            "locked": self.locked,
            "seconds": round(time.monotonic() - self.begun, 3),
        }


def part_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a job."""
    before = summary["done_before"]
    shards = counted(summary["shards"], "shard")
    conformers = counted(summary["conformers"], "conformer")
    molecules = counted(summary["molecules"], "molecule")
    failed = summary["failed"]
    lines = [
        f"job {summary['shard']}: {shards}, {conformers} of {molecules} -> {summary['output']}",
        *([f"  {counted(before, 'shard')} were done before"] if before else []),
        *([f"  failed: {failed}; `equidrift status` tells why"] if failed else []),
        *(f"  {told}" for told in summary["locked"]),
        f"  {summary['seconds']:.1f} s; after all jobs: equidrift merge {summary['output']}",
    ]
    return "\n".join(lines)
