"""A run of `equidrift generate`: checked, then from the model to the disk, batch by
batch.
"""

from __future__ import annotations

import dataclasses
import pickle
import re
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from equidrift.checks.goals import GRAPH_PROPERTIES, LIMITS, Goal
from equidrift.checks.judges import achieved, achieved_text, pareto, pareto_text
from equidrift.checks.molecule import Draw
from equidrift.checks.replacing import check_replace
from equidrift.checks.targets import check_fragment, check_wishes, fragment_of
from equidrift.cli import output
from equidrift.cli.checked import blamed_on, loaded, model_options
from equidrift.cli.generate import Request
from equidrift.cli.part import check_ray, ray_pool
from equidrift.cli.signals import kept_so_far, telling_what_is_kept
from equidrift.engine.molecule_settings import (
    MoleculeSettings,
    check_candidates,
    make_settings,
)
from equidrift.engine.molecules import Drawing, Tally, batches, draws, draws_for, provenance
from equidrift.engine.relax import make_relax
from equidrift.errors import InputError, NoValidSamplesError
from equidrift.files.formats import MANY_MOLECULES, STDOUT, suffix_of
from equidrift.files.stream import Writer, open_stream
from equidrift.outputs import refuse_inputs
from equidrift.progress import conformer_bar
from equidrift.protocols import MoleculeModel
from equidrift.records import Ensemble
from equidrift.registry import make_molecule_model
from equidrift.scale.ahead import Ahead
from equidrift.scale.pool import Call, LocalPool
from equidrift.scale.shards import Shard
from equidrift.text import counted

TARGET = re.compile(r"(?P<name>[^=<>\s]+)\s*(?P<wanted>(=|(?=[<>])).+)")  # NAME=VALUE, NAME<VALUE


def generate(request: Request) -> int:
    """Make what is requested, to disk; the exit code."""
    check_ray(request)
    check(request)
    settings = quiet_settings(request)
    identity = identity_of(request, settings)
    writer = open_stream(
        request.output, identity, inputs=request.files, overwrite=request.overwrite
    )
    run = Run(request, settings, writer)
    if request.workers is None and request.ray is None:
        run.go()
    else:
        with ray_pool(request) or LocalPool(request.workers or 1, request.threads) as pool:
            expected = partial(run.expected, request.n)
            run.go(Ahead(pool, partial(_drawing, request), settings.batch_size, expected))
    writer.finish()
    output.print_summary(run.summary(settings.notes), summary_text, request)
    return 1 if run.short else 0


def _drawing(request: Request, shard: Shard[int]) -> Call:
    return Call(draw_shard, (request, shard), f"the work on draws from {shard.start[0]} on")


def draw_shard(request: Request, shard: Shard[int]) -> list[Draw]:
    """In a worker: the draws of a batch."""
    return draws(_prepared(pickle.dumps(request)), shard.start[0], len(shard), shard.refused)


@lru_cache(maxsize=1)
def _prepared(request: bytes) -> MoleculeSettings:
    """The settings of a request, with the model loaded, once in a worker."""
    return quiet_settings(pickle.loads(request))


def check(request: Request) -> None:
    """Refuse, before any work, what the output cannot hold or must not replace, and
    options that do not go together.
    """
    if request.workers is not None and request.workers > request.n:
        raise InputError(
            f"--workers {request.workers} is more than the molecules asked for; "
            f"give {request.n} at most"
        )
    refuse_inputs([request.output], request.files)
    suffix = suffix_of(request.output)
    if request.n > 1 and suffix not in MANY_MOLECULES:
        raise InputError(
            f"a {suffix} file holds one molecule, and {request.n} are asked for; "
            f"write {', '.join(MANY_MOLECULES)}"
        )
    if request.guidance is not None and not request.target:
        raise InputError(
            f"--guidance {request.guidance:g} has nothing to guide to; give a --target, "
            "say --target gap_eV=7.0"
        )


def quiet_settings(request: Request) -> MoleculeSettings:
    """The engine's settings; the summary tells their notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return settings_of(request)


def settings_of(request: Request) -> MoleculeSettings:
    """The engine's settings, with the model loaded."""
    own = model_options(request.set_, request.device)
    with blamed_on("--relax"):
        make_relax(request.relax)
    model = loaded(make_molecule_model, request.model, own)
    targets = parse_targets(request.target or [])
    _check_wishes(request, targets, model)
    return make_settings(
        model,
        targets=targets,
        candidates=request.candidates,
        guidance=request.guidance,
        fragment=request.fragment,
        replace=request.replace,
        seed=request.seed,
        steps=request.steps,
        batch_size=request.batch_size,
        max_attempts=request.max_attempts,
        relax=request.relax,
        judge=request.judge,
        force=request.force,
        options=own,
    )


def _check_wishes(request: Request, targets: dict[str, float | str], model: MoleculeModel) -> None:
    """Refuse what the model cannot aim at or keep, by the option's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # told when the settings are made
        with blamed_on("--target"):
            wishes = check_wishes(targets, model, force=request.force)
        with blamed_on("--candidates"):
            check_candidates(request.candidates, wishes.goals)
        if request.fragment is not None:
            with blamed_on("--fragment"):
                read = fragment_of(request.fragment)
                if request.replace is None:
                    check_fragment(read, model)
        if request.replace is not None:
            with blamed_on("--replace"):
                check_replace(request.replace, request.fragment, model)


def identity_of(request: Request, settings: MoleculeSettings) -> dict[str, Any]:
    """Everything that decides the result: a run continues one with the same."""
    return {
        **provenance(settings),
        "requested": request.model,
        "n": request.n,
        "batch": settings.batch_size,
        "command": "generate",
        "suffix": suffix_of(request.output),
    }


def parse_targets(pairs: Sequence[str]) -> dict[str, float | str]:
    """PROPERTY=VALUE pairs; for properties of the graph also PROPERTY=max, PROPERTY=min
    and limits such as PROPERTY<90.

    Raises `InputError` for anything else, and for a property given twice.
    """
    targets: dict[str, float | str] = {}
    for pair in pairs:
        found = TARGET.fullmatch(pair.strip())
        if found is None:
            raise InputError(
                f"--target takes PROPERTY=VALUE, say --target gap_eV=7.0; got {pair!r}"
            )
        name, text = found["name"], found["wanted"].lstrip("= ")
        if name in targets:
            raise InputError(
                f"--target {name} is given twice, {_told(targets[name])} and {text}; give it once"
            )
        if name in GRAPH_PROPERTIES:
            with blamed_on("--target"):
                targets[name] = Goal.of(name, text).told
            continue
        if text[:1] in LIMITS:  # refused with the names or the numbers that there are
            targets[name] = text
            continue
        try:
            value = float(text)
        except ValueError as error:
            raise InputError(
                f"--target {pair!r} has a value that is no number; say --target {name}=7.0"
            ) from error
        targets[name] = value
    return targets


def _told(target: float | str) -> str:
    """A target as text."""
    return target if isinstance(target, str) else f"{target:g}"


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

    def go(self, drawing: Drawing | None = None) -> None:
        """Every batch from where the writer's journal stands, drawn here or by `drawing`."""
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
            "seconds": round(seconds, 3),
            "molecules_per_s": output.rate(found - self.resumed, seconds),
            "finished_before": self.finished_before,
            "notes": [*notes, *([self.short] if self.short else [])],
        }


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a run."""
    molecules = counted(summary["molecules"], "molecule")
    lines = [
        f"{molecules} by {summary['model']} -> {summary['output']}",
        *output.resumed_lines(summary, "molecule"),
        f"  drawn {summary['drawn']}, rejected: {output.reasons(summary['rejected'])}",
        *(f"  {achieved_text(row)}" for row in summary["targets"]),
        *(f"  {line}" for line in pareto_text(summary["pareto"])),
        *(f"  note: {note}" for note in summary["notes"]),
        output.rate_line(summary, "molecules"),
    ]
    return "\n".join(lines)
