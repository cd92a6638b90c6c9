"""What `equidrift sample` does in one process: from the engine to the disk, and its summary."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

from equidrift.cli import output
from equidrift.cli.sample import Request
from equidrift.cli.sample_request import window_of
from equidrift.cli.signals import kept_so_far
from equidrift.engine.conformer_options import ConformerOptions
from equidrift.engine.conformers import ConformerSettings, Piece, generate_windows, provenance
from equidrift.engine.presets import preset_text
from equidrift.errors import EquidriftError, MoleculeError, NoValidSamplesError
from equidrift.files.failures import add_counts, add_failures, no_failures
from equidrift.files.formats import STDOUT
from equidrift.files.inputs import Entry, Inputs
from equidrift.files.stream import Writer
from equidrift.fragments import largest_fragment
from equidrift.progress import Report, conformer_bar
from equidrift.records import Ensemble, Molecule
from equidrift.scale.folder import ShardWriter
from equidrift.scale.writers import Gatherer
from equidrift.stereo import isomers_of
from equidrift.text import brief, counted

MAX_COUNTED = 20_000  # molecules counted beforehand, for the progress bar's total
MAX_FAILURES_SHOWN = 20


# title, molecule or what refuses it, note
Chosen = tuple[str, Molecule | EquidriftError, str]


class Run:
    """One run of the command: where it stands, and what its summary says."""

    def __init__(
        self,
        request: Request,
        asked: ConformerOptions,
        settings: ConformerSettings,
        read: Iterable[Entry],
    ) -> None:
        self.request, self.settings, self.read = request, settings, read
        self.cut: dict[int, str] = {}  # notes of molecules that are not taken as they came
        self.counts: dict[str, Any] = {"molecules": 0, "conformers": 0, "drawn": 0, "rejected": {}}
        self.counts |= {"repeats": 0, "pruned": 0, **no_failures(), "noted": 0, "notes": []}
        self.failed: list[dict[str, Any]] = []  # in the window that is written next
        self.options = asked
        self.begun, self.resumed, self.window = time.monotonic(), 0, 0
        self.held: dict[str, Any] | None = None
        self.first_error: Exception | None = None

    def take_up(self, writer: Gatherer | ShardWriter) -> None:
        """See what an earlier process has left."""
        self.held = writer.held()
        self.window = 0 if self.held is None else int(self.held["valid"].sum())
        self.resumed = self.kept + writer.waiting

    def bar(self) -> AbstractContextManager[Report | None]:
        """The progress bar, with a total if the molecules can be counted beforehand."""
        shown = not self.request.as_json and sys.stderr.isatty()
        molecules = MAX_COUNTED
        if shown and self.request.stereo != "enumerate" and isinstance(self.read, Inputs):
            molecules = self.read.count(MAX_COUNTED)
        total = molecules * self.request.n if molecules < MAX_COUNTED else None
        return conformer_bar(total, shown=shown, done=self.resumed)

    @property
    def kept(self) -> int:
        """Conformers on disk or on their way there, those of the window that is made
        included.
        """
        return int(self.counts["conformers"]) + self.window

    def interrupted(self, writer: Gatherer) -> str:
        """Bring to disk what is done; what is said of it."""
        writer.flush()
        if str(self.request.output) == STDOUT:
            return f"{counted(self.counts['conformers'], 'conformer')} written"
        return kept_so_far(self.kept + writer.waiting, "conformer")

    def stream(self, writer: Writer, callback: Callable[[dict[str, Any]], None] | None) -> None:
        """Windows from the engine to the disk, from where the writer's journal stands."""
        self.stream_chosen(islice(self.chosen(), writer.position[0], None), writer, callback)

    def stream_chosen(
        self,
        chosen: Iterable[Chosen],
        writer: Writer,
        callback: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        """`stream` of molecules that begin with the first that is not done."""

        def keep(arrays: dict[str, Any]) -> None:
            self.window = int(arrays["valid"].sum())
            writer.hold(arrays)

        titles: dict[int, str] = {}
        start = writer.position
        settings = dataclasses.replace(self.settings, callback=callback)
        source = self._molecules(chosen, start[0], titles)
        windows = generate_windows(
            source,
            self.request.n,
            settings=settings,
            start=start,
            window=window_of(self.request, self.options, settings),
            keep=keep,
            kept=self.held,
        )
        for pieces in windows:
            made = [(self._finished(piece), piece.start) for piece in pieces]
            ensembles = [(ensemble, first) for ensemble, first in made if ensemble is not None]
            for piece, (ensemble, _) in zip(pieces, made, strict=True):
                self._count(piece, ensemble, titles)
            last = pieces[-1]
            if last.last or last.ensemble is None:
                position = (last.index + 1, 0)
            else:
                position = (last.index, last.start + len(last.ensemble))
            add_failures(self.counts, self.failed)
            writer.write(ensembles, position, self.counts, self.failed)
            self.failed, self.window = [], 0

    def _molecules(
        self, chosen: Iterable[Chosen], done: int, titles: dict[int, str]
    ) -> Iterator[Molecule | EquidriftError]:
        for index, (title, molecule, note) in enumerate(chosen, start=done):
            titles[index] = title
            if note:
                self.cut[index] = note
            yield molecule

    def chosen(self) -> Iterator[Chosen]:
        """Everything that is to be sampled."""
        for entry in self.read:
            molecule, note = entry.molecule, ""
            if not isinstance(molecule, Molecule):
                yield entry.title, molecule, note
                continue
            if self.request.largest_fragment:
                whole, molecule = molecule, largest_fragment(molecule)
                if molecule is not whole:
                    taken = molecule.smiles or f"{counted(molecule.n_atoms, 'atom')}"
                    note = f"the largest fragment was taken: {taken}"
            try:
                isomers = isomers_of(molecule, self.request.stereo)
            except MoleculeError as error:
                yield entry.title, error, note
                continue
            for isomer in isomers:
                own = isomer.name or isomer.smiles
                yield own if len(isomers) > 1 else entry.title, isomer, note

    def _finished(self, piece: Piece) -> Ensemble | None:
        """What is written of a piece: all of it, or the valid ones if more cannot be
        found.
        """
        ensemble, error = piece.ensemble, piece.error
        if isinstance(error, NoValidSamplesError) and not self.request.strict:
            ensemble = error.partial
        if ensemble is None:
            return None
        left = self.options.arranged(ensemble)
        self.counts["pruned"] += len(ensemble) - len(left)
        return left

    def _count(self, piece: Piece, ensemble: Ensemble | None, titles: dict[int, str]) -> None:
        counts, title = self.counts, titles[piece.index]
        if piece.error is not None:
            self.first_error = self.first_error or piece.error
            message = " ".join(str(piece.error).split())
            failure = {"index": piece.index, "title": title, "error": message}
            self.failed.append(failure | ({} if ensemble is None else {"written": len(ensemble)}))
        if ensemble is not None:
            counts["conformers"] += len(ensemble)
            counts["drawn"] += ensemble.provenance["drawn"]
            counts["repeats"] += ensemble.provenance["repeats"]
            told = [
                self.cut.pop(piece.index, None),
                *map(ensemble.provenance.get, ("fix_note", "note")),
                *ensemble.provenance.get("notes", ()),
            ]
            notes = [
                {"index": piece.index, "title": title, "note": note}
                for note in (told if piece.start == 0 else ())
                if note
            ]
            add_counts(counts, {"noted": len(notes), "notes": notes})
            rejected = Counter(counts["rejected"]) + Counter(ensemble.provenance["rejected"])
            counts["rejected"] = dict(sorted(rejected.items()))
        if piece.last:
            counts["molecules"] += ensemble is not None or piece.start > 0
            titles.pop(piece.index, None)
            self.cut.pop(piece.index, None)

    def close(self, writer: Writer) -> int:
        """Move the file into place and print the summary; the exit code."""
        again = writer.finished
        failed = self.counts["failed"]
        table = writer.list_failures()
        if self.counts["conformers"]:
            writer.finish()
        else:
            writer.discard()
            if failed == 1 and self.first_error is not None and not self.request.as_json:
                raise self.first_error
        output.print_summary(self._summary(again, table), summary_text, self.request)
        if not self.counts["conformers"]:
            return 2
        return 1 if failed else 0

    def _summary(self, again: bool, table: Path | None) -> dict[str, Any]:
        seconds = time.monotonic() - self.begun
        origin = provenance(self.settings)
        written = bool(self.counts["conformers"])
        return {
            "command": "sample",
            "output": str(self.request.output) if written else None,
            "topology": output.topology_of(self.request.output) if written else None,
            "model": origin["model"],
            "weights_sha256": origin["weights_sha256"],
            "seed": origin["seed"],
            "preset": self.options.preset,
            "effort": self.options.effort,
            **self.counts,
            "failures_file": None if table is None else str(table),
            "resumed_from": self.resumed,
            "finished_before": again,
            "seconds": round(seconds, 3),
            "conformers_per_s": output.rate(self.counts["conformers"] - self.resumed, seconds),
        }


def failure_line(failure: dict[str, Any]) -> str:
    """A molecule that failed, or of which fewer conformers than asked for were written."""
    if "written" in failure:
        note = "these are written (--strict for all or none)"
        return f"  short: {brief(failure['title'])}: {failure['error']} {note}"
    return f"  failed: {brief(failure['title'])}: {failure['error']}"


def price_text(summary: Mapping[str, Any]) -> str:
    """The time for a conformer, and the effort that was asked for, if any."""
    per_s = summary["conformers_per_s"]
    each = f", {1000 / per_s:.0f} ms each" if per_s else ""
    return each + (f" at effort {summary['effort']}" if summary["effort"] else "")


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a run."""
    conformers = counted(summary["conformers"], "conformer")
    made = f"{conformers} of {counted(summary['molecules'], 'molecule')}"
    repeats = f"; {summary['repeats']} repeat another one" if summary["repeats"] else ""
    pruned = f"; pruned {summary['pruned']}" if summary["pruned"] else ""
    preset = summary["preset"]
    notes, failures = summary["notes"], summary["failures"]
    lines = [
        f"{made} by {summary['model']} -> {summary['output'] or 'nothing written'}",
        *([f"  preset {preset}: {preset_text(preset)}"] if preset else []),
        *output.topology_line(summary["topology"]),
        *output.resumed_lines(summary, "conformer"),
        f"  drawn {summary['drawn']}, rejected and drawn again: "
        f"{output.reasons(summary['rejected'])}{repeats}{pruned}",
        output.rate_line(summary, "conformers") + price_text(summary),
        *(f"  note: {brief(note['title'])}: {note['note']}" for note in notes[:MAX_FAILURES_SHOWN]),
        *map(failure_line, failures[:MAX_FAILURES_SHOWN]),
        *output.more_failures(summary, MAX_FAILURES_SHOWN),
    ]
    return "\n".join(lines)
