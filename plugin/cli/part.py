"""A job of an array (`--shard k/K`): its shards into the folder that all jobs share."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from equidrift.cli import output
from equidrift.cli.checked import blamed_on
from equidrift.cli.options import RayRun, ShardedRun
from equidrift.cli.shared import Work, made
from equidrift.cli.signals import kept, telling_what_is_kept
from equidrift.cli.values import Part
from equidrift.errors import InputError
from equidrift.files.failures import Failures
from equidrift.files.formats import STDOUT, check_output, suffix_of
from equidrift.files.journal import fingerprint
from equidrift.outputs import claim
from equidrift.registry import host_function
from equidrift.scale.drawn import DRAWS, DrawFolder
from equidrift.scale.folder import Folder, shards_beside
from equidrift.scale.manifest import put_manifest
from equidrift.scale.pool import Pool
from equidrift.scale.shards import Shard
from equidrift.scale.stores import claim_store
from equidrift.text import counted

F = TypeVar("F", bound=Folder)


class ContextManagedPool(Pool, Protocol):
    """A pool that is closed at the end of a `with` block."""

    def __enter__(self) -> Pool: ...

    def __exit__(self, *raised: object) -> None: ...


def check_part(request: ShardedRun) -> None:
    """Refuse what neither the tasks of a cluster nor the jobs of an array can do."""
    check_jobs(request)
    if request.ray is not None and str(request.output) == STDOUT:
        raise InputError("--ray needs a file as output, in a folder of all nodes; give -o FILE")


def check_jobs(request: ShardedRun) -> None:
    """Refuse what the jobs of an array cannot do."""
    check_ray(request)
    if request.ray is not None and request.shard is not None:
        raise InputError("--ray and --shard both say who makes the shards; give one of them")
    if request.store is not None and request.ray is None and request.shard is None:
        raise InputError(
            f"--store {request.store} is where the tasks of --ray or the jobs of --shard put the "
            "shards; give --ray ADDRESS or --shard k/K, or leave it out"
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


@contextmanager
def open_part(
    request: ShardedRun,
    identity: Mapping[str, Any],
    inputs: list[str | Path] | list[Path],
    kind: type[F],
    told: Mapping[str, Any] | None = None,
) -> Iterator[F]:
    """The folder of the shards, as long as this is open; refuses that of another run, and
    an output that is there. With --store it is a copy of what the store has.
    """
    out = request.output
    check_output(out)
    claim([out], inputs=inputs)
    suffix = DRAWS if kind is DrawFolder else suffix_of(out)
    with ExitStack() as stack:
        path = shards_beside(out)
        if request.store is not None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="equidrift-")))
        folder = kind(path, suffix, fingerprint(identity))
        put_manifest(path, out, identity, told)
        if request.store is not None:
            with blamed_on("--store"):
                folder.store = claim_store(request.store, path, identity)
        folder.refresh()
        yield folder


class PartRun:
    """One job: what it has done, and what its summary says."""

    def __init__(self, request: ShardedRun, part: Part, folder: Folder) -> None:
        self.request, self.part, self.folder = request, part, folder
        self.begun = time.monotonic()
        self.counts = {"shards": 0, "done_before": 0, "molecules": 0, "failed": 0}
        self.counts |= {"drawn" if isinstance(folder, DrawFolder) else "conformers": 0}
        self.unread: Callable[[], Failures] = tuple
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
                if self.folder.counts(shard.index) is not None:
                    self.counts["done_before"] += 1
                    self._count(shard.index)
                else:
                    yield shard
        self.folder.put_total(molecules, count, self.unread())

    def _count(self, index: int) -> None:
        self.folder.bring(index)
        told = self.folder.counts(index) or {}
        self.counts["shards"] += 1
        for name in ("molecules", "conformers", "drawn", "failed"):
            if name in self.counts:
                self.counts[name] += told.get(name, 0)

    def _summary(self) -> dict[str, Any]:
        return {
            "command": "shard",
            "shard": str(self.part),
            "output": self.request.store or str(self.folder.folder),
            **self.counts,
            "locked": self.locked,
            "seconds": round(time.monotonic() - self.begun, 3),
        }


def made_text(counts: Mapping[str, Any]) -> str:
    """What shards hold: conformers of molecules, or draws."""
    molecules = counted(counts["molecules"], "molecule")
    if "drawn" in counts and not counts.get("conformers"):
        return f"{molecules} in {counted(counts['drawn'], 'draw')}"
    return f"{counted(counts['conformers'], 'conformer')} of {molecules}"


def part_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a job."""
    before = summary["done_before"]
    shards, failed = counted(summary["shards"], "shard"), summary["failed"]
    lines = [
        f"job {summary['shard']}: {shards}, {made_text(summary)} -> {summary['output']}",
        *([f"  {counted(before, 'shard')} were done before"] if before else []),
        *([f"  failed: {failed}; `equidrift status` tells why"] if failed else []),
        *(f"  {told}" for told in summary["locked"]),
        f"  {summary['seconds']:.1f} s; after all jobs: equidrift merge {summary['output']}",
    ]
    return "\n".join(lines)
