"""A run of `equidrift generate`: from the model, or from the draws of the jobs of an array,
to the disk, batch by batch.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from equidrift.checks.judges import achieved, achieved_text, pareto, pareto_text
from equidrift.checks.molecule import Draw
from equidrift.cli import output
from equidrift.cli.generate import Request
from equidrift.cli.generate_part import check_generate_part, draw_for_part, prepared, stored_request
from equidrift.cli.generate_request import check, identity_of, quiet_settings
from equidrift.cli.part import ray_pool
from equidrift.cli.signals import kept_so_far, telling_what_is_kept
from equidrift.engine.molecule_settings import MoleculeSettings
from equidrift.engine.molecules import Drawing, Tally, batches, draws, draws_for, provenance
from equidrift.engine.pockets import POSE_SCORES
from equidrift.engine.spectra import spectrum_fit
from equidrift.errors import InputError, NoValidSamplesError
from equidrift.files.formats import STDOUT
from equidrift.files.journal import fingerprint
from equidrift.files.stream import Writer, open_stream
from equidrift.files.whole import write_json
from equidrift.outputs import claim
from equidrift.progress import conformer_bar
from equidrift.records import Ensemble
from equidrift.scale.ahead import Ahead
from equidrift.scale.drawn import DRAWS, DrawFolder, drawn, stored
from equidrift.scale.folder import shards_beside
from equidrift.scale.manifest import MANIFEST, check_manifest
from equidrift.scale.merging import check_whole, counted_beside, home_of, standing
from equidrift.scale.pool import Call, LocalPool
from equidrift.scale.shards import Shard
from equidrift.text import counted


def generate(request: Request) -> int:
    """Make what is requested, to disk; the exit code."""
    check_generate_part(request)
    check(request)
    settings = quiet_settings(request)
    identity = identity_of(request, settings)
    if request.shard is not None:
        return draw_for_part(request, request.shard, settings, identity)
    run = _made(request, settings, identity, _own_folders(request, identity))
    output.print_summary(run.summary(settings.notes), summary_text, request)
    return 1 if run.short else 0


def merge(
    folders: Sequence[DrawFolder], out: Path | None, *, overwrite: bool, as_json: bool
) -> int:
    """Go through the draws of all jobs, to disk; the exit code."""
    out = out or home_of(folders[0])
    request = stored_request(folders[0].folder, out, overwrite=overwrite, as_json=as_json)
    check(request)
    settings = quiet_settings(request)
    identity = identity_of(request, settings)
    for folder in folders:
        check_manifest(folder.folder, identity)
    check_whole(standing(folders))
    counts = counted_beside(out)
    claim([counts], overwrite=overwrite)
    run = _made(request, settings, identity, folders)
    told = run.summary(settings.notes) | {"command": "merge"}
    names = ("molecules", "drawn", "rejected")
    write_json(counts, {"identity": identity, "counts": {name: told[name] for name in names}})
    output.print_summary(told, summary_text, request)
    return 1 if run.short else 0


def _own_folders(request: Request, identity: Mapping[str, Any]) -> list[DrawFolder]:
    """The folder of jobs that work for the same output; dropped, if it is another run's and
    may be.
    """
    path = shards_beside(request.output)
    if not (path / MANIFEST).exists():  # there is none, or it is not ours
        return []
    try:
        check_manifest(path, identity)
    except InputError:
        if not request.overwrite:
            raise
        shutil.rmtree(path)
        return []
    return [DrawFolder(path, DRAWS, fingerprint(identity))]


def _made(
    request: Request,
    settings: MoleculeSettings,
    identity: Mapping[str, Any],
    folders: Sequence[DrawFolder],
) -> Run:
    """A run from its begin, or where an earlier one stopped, to its end."""
    writer = open_stream(
        request.output, identity, inputs=request.files, overwrite=request.overwrite
    )
    run = Run(request, settings, writer)
    pool = ray_pool(request)
    if pool is None and request.workers is not None:
        pool = LocalPool(request.workers, request.threads)
    with pool or nullcontext() as workers:
        drawing: Drawing = partial(draws, settings)
        if workers is not None:
            expected = partial(run.expected, request.n)
            drawing = Ahead(workers, partial(_drawing, request), settings.batch_size, expected)
        run.go(stored(folders, settings.batch_size, drawing))
    writer.finish()
    own = shards_beside(request.output).resolve()
    if any(folder.folder.resolve() == own for folder in folders):
        shutil.rmtree(own)
    return run


def _drawing(request: Request, shard: Shard[int]) -> Call:
    return Call(draw_shard, (request, shard), shard.named)


def draw_shard(request: Request, shard: Shard[int]) -> list[Draw]:
    """In a worker: the draws of a batch."""
    return drawn(prepared(pickle.dumps(request)), shard)


class Run:
    """One run of the command: where it stands, and what its summary says.

    `short` says why there are fewer molecules than asked for, and is empty if there are
    not.
    """

    def __init__(self, request: Request, settings: MoleculeSettings, writer: Writer) -> None:
        self.request, self.settings, self.writer = request, settings, writer
        state = writer.summary
        self.engine = Tally.restored(state) if state else Tally()
        self.achieved: dict[str, list[float]] = state.get("achieved", {})
        self.short = str(state.get("short", ""))
        self.begun, self.resumed = time.monotonic(), self.engine.found
        self.finished_before = writer.finished
        self._refuse_more_draws(state)

    def _refuse_more_draws(self, state: Mapping[str, Any]) -> None:
        """A finished run that fell short is not gone on with by more attempts."""
        more = self.short and self.settings.max_attempts > state["attempts"]
        if self.finished_before and more:
            raise InputError(
                f"{str(self.request.output)!r} holds the "
                f"{counted(self.engine.found, 'molecule')} found in {self.engine.drawn} draws; "
                "draw anew with --overwrite, or give another name for the output"
            )

    def expected(self, n: int) -> int:
        """How many draws there will probably be until there are n molecules."""
        return draws_for(n - self.engine.found, self.engine)

    def go(self, drawing: Drawing) -> None:
        """Every batch from where the writer's journal stands, drawn by `drawing`."""
        if self.finished_before:
            return
        shown = not self.request.as_json and sys.stderr.isatty()
        n, found = self.request.n, self.resumed
        try:
            with (
                telling_what_is_kept(self.interrupted),
                conformer_bar(n, shown=shown, done=found, label="molecules") as callback,
            ):
                asked = dataclasses.replace(self.settings, callback=callback)
                for ensembles in batches(n, asked, self.engine, drawing):
                    self._write(ensembles)
        except NoValidSamplesError as error:
            if self.request.strict or not self.engine.found:
                raise
            told = " ".join(str(error).split())
            self.short = f"{told} These are written (--strict for all or none)."
            self._record([], short=self.short, attempts=self.settings.max_attempts)

    def interrupted(self) -> str:
        """What is said of an interrupted run."""
        done = self.writer.summary.get("molecules", 0)
        if str(self.request.output) == STDOUT:
            return f"{counted(done, 'molecule')} written"
        return kept_so_far(done, "molecule")

    def _write(self, ensembles: Sequence[Ensemble]) -> None:
        for ensemble in ensembles:
            for name, values in ensemble.scores.items():
                self.achieved.setdefault(name, []).append(float(values[0]))
        first = self.engine.found - len(ensembles)
        self._record([(ensemble, first + k) for k, ensemble in enumerate(ensembles)])

    def _record(self, numbered: Sequence[tuple[Ensemble, int]], **further: Any) -> None:
        told = self.engine.state() | {"achieved": self.achieved} | further
        self.writer.write(numbered, (self.engine.drawn, 0), told)

    def summary(self, notes: Sequence[str]) -> dict[str, Any]:
        """The counts of the whole run."""
        origin, seconds = provenance(self.settings), time.monotonic() - self.begun
        found = self.engine.found
        return {
            "command": "generate",
            "output": str(self.request.output),
            "model": origin["model"],
            "weights_sha256": origin["weights_sha256"],
            "seed": origin["seed"],
            "molecules": found,
            "drawn": self.engine.drawn,
            "rejected": dict(sorted(self.engine.rejected.items())),
            "resumed_from": self.resumed,
            "targets": achieved(self.settings.told, self.achieved, self.settings.judges),
            "pareto": pareto(self.settings.told, self.achieved, list(self.engine.seen)),
            **({} if self.settings.site is None else {"pocket": poses_told(self.achieved)}),
            **({} if self.settings.spectrum is None else {"spectrum": spectrum_fit(self.achieved)}),
            "seconds": round(seconds, 3),
            "molecules_per_s": output.rate(found - self.resumed, seconds),
            "finished_before": self.finished_before,
            "notes": [*notes, *([self.short] if self.short else [])],
        }


def poses_told(achieved: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Mean and least of each score of the poses, those that could be computed."""
    told = {}
    for name in POSE_SCORES:
        values = [value for value in achieved.get(name, ()) if math.isfinite(value)]
        if values:
            told[name] = {"mean": sum(values) / len(values), "least": min(values)}
    return told


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a run."""
    molecules = counted(summary["molecules"], "molecule")
    lines = [
        f"{molecules} by {summary['model']} -> {summary['output']}",
        *output.resumed_lines(summary, "molecule"),
        f"  drawn {summary['drawn']}, rejected: {output.reasons(summary['rejected'])}",
        *(f"  {achieved_text(row)}" for row in summary["targets"]),
        *(f"  {line}" for line in pareto_text(summary["pareto"])),
        *(
            f"  {name}: mean {told['mean']:.2f}, least {told['least']:.2f}"
            for name, told in summary.get("pocket", {}).items()
        ),
        *(
            f"  {name}: mean {told['mean']:.1f}, greatest {told['greatest']:.1f}"
            for name, told in summary.get("spectrum", {}).items()
        ),
        *(f"  note: {note}" for note in summary["notes"]),
        output.rate_line(summary, "molecules"),
    ]
    return "\n".join(lines)
