"""A run of `equidrift refine`: checked, then from the file to the disk, batch by batch."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from equidrift._version import __version__
from equidrift.checks.geometry import check_supported
from equidrift.cli import output
from equidrift.cli.checked import check_smiles, check_topology, loaded, model_options
from equidrift.cli.part import PartRun, check_part, open_part, ray_pool
from equidrift.cli.refine import Request
from equidrift.cli.shared import Place, Work, check_workers, gather, workers_of
from equidrift.cli.signals import kept_so_far, telling_what_is_kept
from equidrift.cli.values import Part
from equidrift.engine.conformers import BATCH_SIZE
from equidrift.engine.refined import fresh_notes, refine_part
from equidrift.errors import InputError, MoleculeError
from equidrift.files.ensembles import load_all
from equidrift.files.failures import LISTED, Failures, add_counts, add_failures, no_failures
from equidrift.files.formats import MANY_MOLECULES, STDOUT, suffix_of
from equidrift.files.journal import Position, file_sha256
from equidrift.files.unpacked import STDIN, names_file, unpacked
from equidrift.fragments import largest_of
from equidrift.isolated import tell
from equidrift.outputs import refuse_inputs
from equidrift.progress import Report, conformer_bar
from equidrift.protocols import Refiner
from equidrift.records import Ensemble
from equidrift.registry import make_refiner
from equidrift.scale.folder import ShardFolder, ShardWriter
from equidrift.scale.pool import LocalPool
from equidrift.scale.shards import Shard, shards_of
from equidrift.scale.writers import Gatherer, open_gathering
from equidrift.text import brief, counted

MAX_SHOWN = 20  # notes in the summary


def refine(request: Request) -> int:
    """Refine what is requested, to disk; the exit code."""
    check_part(request)
    check(request)
    options = model_options(request.set_, request.device)
    refiner = loaded(make_refiner, request.model, options)
    identity = identity_of(request, refiner, options)
    if request.shard is not None:
        return _part(request, request.shard, identity)
    writer = open_gathering(
        request.output, identity, inputs=request.files, overwrite=request.overwrite
    )
    run = Run(request, refiner, writer)
    workers = 1 if request.ray else workers_of(request.workers, writer)
    run.go(run.each if workers is None else partial(_by_workers, run, writer, workers))
    return run.close()


def _by_workers(
    run: Run, writer: Gatherer, workers: int, left: Iterator[Ensemble], report: Report | None
) -> None:
    work = Work(run.request, refine_shard, try_shard, run.request.store)
    with ray_pool(run.request) or LocalPool(workers, run.request.threads, report) as pool:
        told = report if run.request.ray else None
        gather(work, shards_of(left, writer.position), writer, run.counts, pool, told)


def _part(request: Request, part: Part, identity: dict[str, Any]) -> int:
    """The job of an array; the exit code."""
    work = Work(request, refine_shard, try_shard, request.store)
    problems: list[str] = []
    read = load_all(request.file, problems=problems, **request.reading)
    with (
        open_part(request, identity, request.files, ShardFolder) as folder,
        LocalPool(request.workers or 1, request.threads) as pool,
    ):
        run = PartRun(request, part, folder)
        run.unread = lambda: unread(request, problems)
        return run.go(work, shards_of(read), pool)


def unread(request: Request, problems: Sequence[str]) -> list[dict[str, str]]:
    """What of the file could not be read, as failures."""
    return [{"title": str(request.file), "error": problem} for problem in problems]


# In a worker ----------------------------------------------------------------------------


def refine_shard(request: Request, shard: Shard[Ensemble], place: Place) -> None:
    """Refine one shard, from where its own journal stands."""
    refiner = _prepared(pickle.dumps(request))
    with place.writing(shard) as writer:
        if writer.finished:
            return
        run = Run(request, refiner, writer)
        first = shard.start[0]
        for index in range(writer.position[0], first + len(shard)):
            k = index - first
            run.one(index, shard.entries[k], tell, shard.refused.get(k))
        writer.finish()


def try_shard(request: Request, shard: Shard[Ensemble]) -> None:
    """Refine the molecules of a shard, and throw the conformers away."""
    refiner = _prepared(pickle.dumps(request))
    size = batch_of(request, refiner)
    for given in shard.entries:
        try:
            for part in parts_of(request, given, 0, size):
                refine_part(part, refiner, request.steps)
        except InputError:  # the run tells it
            continue


@lru_cache(maxsize=1)
def _prepared(request: bytes) -> Refiner:
    """The refiner of a request, loaded once in a worker."""
    asked: Request = pickle.loads(request)
    return loaded(make_refiner, asked.model, model_options(asked.set_, asked.device))


# In the process that writes, or in a worker ---------------------------------------------


def batch_of(request: Request, refiner: Refiner) -> int:
    """Conformers that are refined in one call."""
    return request.batch_size or refiner.batch_size or BATCH_SIZE


def parts_of(request: Request, given: Ensemble, first: int, size: int) -> Iterator[Ensemble]:
    """The batches of a molecule's conformers from `first` on; errors as `check_supported`."""
    ensemble = largest_of(given) if request.largest_fragment else given
    check_supported(ensemble.molecule)
    for begin in range(first, len(ensemble), size):
        yield ensemble[begin : begin + size]


def check(request: Request) -> None:
    """Refuse, before any work, what cannot be read or what the output cannot hold."""
    refuse_inputs([request.output], request.files)
    check_smiles(request.smiles)
    check_topology(request.top)
    file, suffix = request.file, suffix_of(request.output)
    if str(file) != STDIN and not file.is_file():
        raise InputError(
            f"there is no file {str(file)!r}; give conformers as .sdf, .xyz or another format "
            "(--help)"
        )
    if request.workers is not None:
        check_workers(request.workers, Conformers(request))
    if suffix in MANY_MOLECULES:
        return
    held = iter(load_all(file, problems=[], **request.reading))
    first = next(held, None)
    if next(held, None) is not None:
        raise InputError(
            f"a {suffix} file holds one molecule, and {str(file)!r} has several; "
            f"write {', '.join(MANY_MOLECULES)}"
        )
    if suffix == ".mol" and first is not None and len(first) > 1:
        raise InputError(
            f"a .mol file holds one conformer, and {str(file)!r} has {len(first)}; write .sdf"
        )


@dataclass(frozen=True)
class Conformers:
    """The molecules of the file, to be counted."""

    request: Request

    def count(self, limit: int) -> int:
        """How many there are, `limit` if they are as many or more."""
        read = load_all(self.request.file, problems=[], **self.request.reading)
        return sum(1 for _ in islice(read, limit))


def identity_of(request: Request, refiner: Refiner, options: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides the result: a run continues one with the same."""
    top, smiles = request.top, request.smiles
    told = {} if smiles is None else {"smiles": smiles}
    if top is not None:
        told["top"] = file_sha256(top) if names_file(top) else top
    return {
        "file": file_sha256(unpacked(request.file)),
        "suffix": suffix_of(request.output),
        "version": __version__,
        "largest_fragment": request.largest_fragment,
        "charge": request.charge,
        "refiner": request.model,
        "options": options,
        "weights": refiner.weights_sha256,
        "steps": request.steps,
        "batch": request.batch_size,
    } | told


def _done(writer: Gatherer | ShardWriter) -> int:
    """Conformers that are done, those in shards included."""
    return int(writer.summary.get("conformers", 0)) + writer.waiting


class Run:
    """One run of the command: where it stands, and what its summary says."""

    def __init__(self, request: Request, refiner: Refiner, writer: Gatherer | ShardWriter) -> None:
        self.request, self.refiner, self.writer = request, refiner, writer
        self.finished_before = writer.finished
        self.begun, self.resumed = time.monotonic(), _done(writer)
        nothing = {"molecules": 0, "conformers": 0, "refined": 0, "kept_input": {}}
        told: dict[str, Any] = {"noted": 0, "notes": [], **no_failures()}
        self.counts: dict[str, Any] = nothing | told | writer.summary

    def go(self, each: Callable[[Iterator[Ensemble], Report | None], None]) -> None:
        """Every molecule of the file, from where the writer's journal stands.

        Parameters
        ----------
        each : callable
            Refines what is left, such as `each`.
        """
        if self.finished_before:
            return
        shown = not self.request.as_json and sys.stderr.isatty()
        problems: list[str] = []
        with (
            telling_what_is_kept(self.interrupted),
            conformer_bar(None, shown=shown, done=self.resumed) as report,
        ):
            read = load_all(self.request.file, problems=problems, **self.request.reading)
            each(islice(read, self.writer.position[0], None), report)
        told = self.counts.get("unread", 0)  # a run may end between this and its last step
        failures = unread(self.request, problems[told:])
        if failures:
            self.counts["unread"] = len(problems)
            self._fail(failures, self.writer.position)

    def each(self, given: Iterable[Ensemble], report: Report | None) -> None:
        """Molecules from the writer's position on."""
        for index, ensemble in enumerate(given, start=self.writer.position[0]):
            self.one(index, ensemble, report)

    def interrupted(self) -> str:
        """What is said of an interrupted run."""
        done = _done(self.writer)
        if str(self.request.output) == STDOUT:
            return f"{counted(done, 'conformer')} written"
        return kept_so_far(done, "conformer")

    def one(
        self, index: int, given: Ensemble, report: Report | None, refused: str | None = None
    ) -> None:
        """One molecule, batch by batch; one that cannot be refined, or is refused, is noted."""
        _, begin = self.writer.position
        size = batch_of(self.request, self.refiner)
        try:
            if refused is not None:
                raise MoleculeError(refused)
            for some in parts_of(self.request, given, begin, size):
                if begin == 0:
                    self._note(some)
                part = refine_part(some, self.refiner, self.request.steps)
                end = begin + len(part)
                self._add(part, begin)
                position = (index, end) if end < len(given) else (index + 1, 0)
                self.writer.write([(part, begin)], position, self.counts)
                begin = end
                if report is not None:
                    report({"accepted": len(part), "drawn": len(part)})
        except InputError as error:
            title = given.molecule.name or given.molecule.smiles
            message = " ".join(str(error).split())
            failure = {"index": index, "title": title, "error": message}
            self._fail([failure], (index + 1, 0))

    def _fail(self, failures: Failures, position: Position) -> None:
        add_failures(self.counts, failures)
        self.writer.write([], position, self.counts, failures)

    def _note(self, ensemble: Ensemble) -> None:
        molecule = ensemble.molecule
        title = molecule.name or molecule.smiles
        notes = [{"title": title, "note": note} for note in fresh_notes(ensemble)]
        add_counts(self.counts, {"noted": len(notes), "notes": notes})

    def _add(self, part: Ensemble, begin: int) -> None:
        counts = self.counts
        counts["molecules"] += begin == 0
        counts["conformers"] += len(part)
        counts["refined"] += part.provenance["refined"]
        for reason, number in part.provenance["kept_input"].items():
            counts["kept_input"][reason] = counts["kept_input"].get(reason, 0) + number

    def close(self) -> int:
        """Move the file into place and print the summary; the exit code."""
        table = self.writer.list_failures()
        if self.counts["conformers"]:
            self.writer.finish()
        else:
            self.writer.discard()
        output.print_summary(self._summary(table), summary_text, self.request)
        if not self.counts["conformers"]:
            return 2
        return 1 if self.counts["failed"] else 0

    def _summary(self, table: Path | None) -> dict[str, Any]:
        seconds = time.monotonic() - self.begun
        written = self.request.output if self.counts["conformers"] else None
        return {
            "command": "refine",
            "output": None if written is None else str(written),
            "topology": None if written is None else output.topology_of(written),
            "model": self.request.model,
            **self.counts,
            "failures_file": None if table is None else str(table),
            "resumed_from": self.resumed,
            "finished_before": self.finished_before,
            "seconds": round(seconds, 3),
            "conformers_per_s": output.rate(self.counts["conformers"] - self.resumed, seconds),
        }


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a run."""
    conformers = counted(summary["conformers"], "conformer")
    made = f"{conformers} of {counted(summary['molecules'], 'molecule')}"
    where = summary["output"] or "nothing written"
    notes, more = summary["notes"], summary["noted"] - MAX_SHOWN
    lines = [
        f"{made} refined by {summary['model']} -> {where}",
        *output.topology_line(summary["topology"]),
        f"  {summary['refined']} moved; left as they came because the refined geometry failed "
        f"a check: {output.reasons(summary['kept_input'])}",
        output.rate_line(summary, "conformers"),
        *output.resumed_lines(summary, "conformer"),
        *(f"  note: {brief(note['title'])}: {note['note']}" for note in notes[:MAX_SHOWN]),
        *([f"  and {more} more; --json lists the first {LISTED}"] if more > 0 else []),
        *(
            f"  failed: {brief(failure['title'])}: {failure['error']}"
            for failure in summary["failures"][:MAX_SHOWN]
        ),
        *output.more_failures(summary, MAX_SHOWN),
    ]
    return "\n".join(lines)
