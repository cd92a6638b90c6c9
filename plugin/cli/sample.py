"""equidrift sample: conformers from SMILES or files, streamed to disk."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.options import model_options

MAX_PRUNED = 10_000
MAX_COUNTED = 20_000  # molecules counted beforehand, for the progress bar's total
MAX_FAILURES_SHOWN = 20
INPUT_HELP = "SMILES, InChI, or files (.smi .csv .sdf .mol .mol2 .pdb, each also .gz). - reads standard input."
OUTPUT_HELP = (
    "File to write; its suffix chooses the format: .sdf .sdf.gz .xyz .extxyz .traj .pdb .xtc .dcd "
    ".h5md or .npz. - writes SDF to standard output."
)
CHARGE_HELP = "Total charge of the molecule in a .pdb file. Default: taken from its hydrogens."
SMILES_HELP = "The molecule of a .pdb as a SMILES, which tells bond orders and charges."
FINISHED_BEFORE = "  this command had finished before, and nothing was done (--overwrite redoes it)"


def command(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help=INPUT_HELP)],
    output: Annotated[Path, typer.Option("-o", "--output", help=OUTPUT_HELP)],
    n: Annotated[int, typer.Option("-n", help="Conformers of each molecule.")] = 1,
    model: Annotated[
        str,
        typer.Option(
            help="A name that `equidrift models` lists, or the path of weights you trained."
        ),
    ] = "default",
    seed: Annotated[
        int, typer.Option(help="Random seed: the same seed gives the same conformers.")
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Solver steps. Default: the model's own number.")
    ] = None,
    relax: Annotated[
        str,
        typer.Option(
            help="Relax each result: none, mmff (MMFF94) or gfn2 (GFN2-xTB, needs the extra xtb)."
        ),
    ] = "none",
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="CORE",
            help="Hold the atoms of this .sdf, .mol or .pdb file at its coordinates.",
        ),
    ] = None,
    restrain: Annotated[
        Path | None,
        typer.Option(
            help="File of distances to keep, one line `i j lower upper` each: atoms from 0, distances in A."
        ),
    ] = None,
    distinct: Annotated[
        bool,
        typer.Option(
            "--distinct", help="Leave out conformers within 0.25 A of another (heavy atoms)."
        ),
    ] = False,
    prune: Annotated[
        float | None,
        typer.Option(
            help="Drop conformers within this heavy-atom RMSD (A) of one that is kept; done after --relax."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="energy: sort by energy, the lowest first. Default: the order of sampling."
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="KCAL", help="Drop conformers more than this many kcal/mol above the lowest."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Conformers sampled in one call of the model. Default: the model's own number."
        ),
    ] = None,
    max_attempts: Annotated[
        int, typer.Option(help="Draws of a conformer before its molecule is given up.")
    ] = 20,
    timeout: Annotated[
        float | None, typer.Option(help="Time limit for each molecule, in seconds.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set an option of the model (`equidrift models NAME` lists them). May be repeated.",
        ),
    ] = None,
    largest_fragment: Annotated[
        bool,
        typer.Option(
            "--largest-fragment", help="Keep only the largest fragment of a salt or solvate."
        ),
    ] = False,
    stereo: Annotated[
        str,
        typer.Option(
            help="If the input leaves stereo open: any (mix the isomers), require (refuse the molecule) or enumerate (sample each isomer)."
        ),
    ] = "any",
    charge: Annotated[int | None, typer.Option(help=CHARGE_HELP)] = None,
    smiles: Annotated[str | None, typer.Option("--smiles", help=SMILES_HELP)] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Write all N conformers of a molecule or none. Default: write the valid ones.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace existing output files."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object.")
    ] = False,
) -> int:
    """Sample conformers of molecules.

    If the run is interrupted, give the same command again: it continues where it
    stopped.
    """
    from equidrift.arguments import check_count
    from equidrift.checks.conditions import make_conditions
    from equidrift.cli.signals import telling_what_is_kept
    from equidrift.engine.conformers import make_settings, provenance
    from equidrift.engine.relax import check_sort, check_window, distinct_threshold, make_relax
    from equidrift.files.formats import check_output, suffix_of
    from equidrift.files.inputs import Inputs
    from equidrift.files.stream import open_stream
    from equidrift.inputs import check_stereo
    from equidrift.outputs import refuse_inputs
    from equidrift.progress import conformer_bar

    check_count("n", n)
    files = [path for path in (*inputs, fix, restrain, *model_files(model)) if path is not None]
    check_output(output)
    refuse_inputs([output], files)
    prune = distinct_threshold(distinct, prune)
    check_sort(sort)
    check_window(window)
    check_stereo(stereo)
    needs_all = {
        "--prune": prune is not None and not distinct,
        "--distinct": distinct,
        "--sort": sort is not None,
    }
    needs_all |= {"--window": window is not None, "--strict": strict}
    read = Inputs(inputs, charge, smiles)
    whole = next((name for name in needs_all if needs_all[name]), "")
    _check_request(read, output, n, whole, stereo)
    own = model_options(set_ or [])
    settings = make_settings(
        model,
        conditions=make_conditions(fix, restrain, own.pop("restraint_tolerance_A", None)),
        seed=seed,
        steps=steps,
        batch_size=batch_size,
        max_attempts=max_attempts,
        timeout_s=timeout,
        relax=make_relax(relax),
        options={"relax": relax} if relax != "none" else None,
        **own,
    )
    wanted = (prune, sort, window)
    run = _Run(inputs, read, output, n, settings, wanted, strict, largest_fragment, stereo)
    identity = {
        **provenance(settings),
        "requested": model,
        "batch": settings.batch_size,
        "attempts": max_attempts,
        "prune": prune,
        "sort": sort,
        "window": window,
    }
    identity |= {"inputs": run.described, "n": n, "suffix": suffix_of(output), "strict": strict}
    identity |= {"largest_fragment": largest_fragment, "charge": charge, "stereo": stereo}
    identity |= {} if smiles is None else {"smiles": smiles}
    writer = open_stream(output, identity, inputs=files, overwrite=overwrite)
    run.counts.update(writer.summary or {})
    shown = not as_json and sys.stderr.isatty()
    molecules = read.count(MAX_COUNTED) if shown and stereo != "enumerate" else MAX_COUNTED
    run.take_up(writer)
    total = molecules * n if molecules < MAX_COUNTED else None
    with telling_what_is_kept(lambda: run.interrupted(writer)):
        if not writer.finished:
            with conformer_bar(total, shown=shown, done=run.resumed) as callback:
                run.stream(writer, callback)
    return run.close(writer, as_json)


def _check_request(read: Any, output: Path, n: int, whole: str, stereo: str) -> None:
    """Refuse, before any work, what the output cannot hold; `whole` is the option that
    needs all conformers of a molecule at a time.
    """
    from equidrift.errors import InputError
    from equidrift.files.formats import MANY_MOLECULES, suffix_of

    if whole and n > MAX_PRUNED:
        raise InputError(
            f"{whole} holds all conformers of a molecule at a time: -n may be {MAX_PRUNED} at most with it, not {n}"
        )
    suffix = suffix_of(output)
    if suffix == ".mol" and n > 1:
        raise InputError(f"a .mol file holds one conformer, and {n} are asked for; write .sdf")
    if stereo == "enumerate" and suffix not in MANY_MOLECULES:
        raise InputError(
            f"--stereo enumerate may make several molecules, and a {suffix} file holds one; "
            f"write {', '.join(MANY_MOLECULES)}"
        )
    if read.count(2) > 1 and suffix not in MANY_MOLECULES:
        raise InputError(
            f"a {suffix} file holds one molecule, and the input has several; "
            f"write {', '.join(MANY_MOLECULES)}"
        )


def model_files(model: str) -> list[Path]:
    """The files of a model given by its path: weights and card; none for a name."""
    path = Path(model)
    return (
        [path, path.with_suffix(".json"), path.with_suffix(".safetensors")] if path.suffix else []
    )


class _Run:
    """One run of the command: where it stands, and what its summary says."""

    def __init__(
        self,
        inputs: Sequence[str],
        read: Iterable[Any],
        output: Path,
        n: int,
        settings: Any,
        wanted: tuple[float | None, str | None, float | None],
        strict: bool,
        largest: bool,
        stereo: str,
    ) -> None:
        from equidrift.files.inputs import describe_inputs

        self.read, self.output, self.n, self.settings = read, output, n, settings
        self.wanted, self.strict, self.largest = wanted, strict, largest
        self.stereo = stereo
        self.cut: dict[int, str] = {}  # notes of molecules that are not taken as they came
        self.described = describe_inputs(inputs)
        self.counts: dict[str, Any] = {"molecules": 0, "conformers": 0, "drawn": 0, "rejected": {}}
        self.counts |= {"pruned": 0, "failures": [], "notes": []}
        self.begun, self.resumed, self.window = time.monotonic(), 0, 0
        self.held: Any = None
        self.first_error: Exception | None = None

    def take_up(self, writer: Any) -> None:
        """See what an earlier process has left."""
        self.held = writer.held()
        self.window = 0 if self.held is None else int(self.held["valid"].sum())
        self.resumed = self.kept

    @property
    def kept(self) -> int:
        """Conformers on disk or on their way there, those of the window that is made
        included.
        """
        return int(self.counts["conformers"]) + self.window

    def interrupted(self, writer: Any) -> str:
        """Bring to disk what is done; what is said of it."""
        from equidrift.cli.output import count
        from equidrift.cli.signals import kept

        writer.flush()
        if str(self.output) == "-":
            return f"{count(self.counts['conformers'], 'conformer')} written"
        return kept(count(self.kept, "conformer"))

    def stream(self, writer: Any, callback: Any) -> None:
        """Windows from the engine to the disk, from where the writer's journal stands."""
        import dataclasses

        from equidrift.engine.conformers import generate_windows

        def keep(arrays: dict[str, Any]) -> None:
            self.window = int(arrays["valid"].sum())
            writer.hold(arrays)

        titles: dict[int, str] = {}
        start = writer.position
        settings = dataclasses.replace(self.settings, callback=callback)
        source = self._molecules(iter(self.read), start[0], titles)
        whole = self.wanted != (None, None, None) or self.strict
        windows = generate_windows(
            source,
            self.n,
            settings=settings,
            start=start,
            window=max(self.n, settings.window) if whole else None,
            keep=keep,
            kept=self.held,
        )
        for pieces in windows:
            made = [(self._finished(piece), piece.start) for piece in pieces]
            ensembles = [(ensemble, first) for ensemble, first in made if ensemble is not None]
            for piece, (ensemble, _) in zip(pieces, made):
                self._count(piece, ensemble, titles)
            last = pieces[-1]
            if last.last or last.ensemble is None:
                position = (last.index + 1, 0)
            else:
                position = (last.index, last.start + len(last.ensemble))
            writer.write(ensembles, position, self.counts)
            self.window = 0

    def _molecules(
        self, entries: Iterator[Any], done: int, titles: dict[int, str]
    ) -> Iterator[Any]:
        chosen = islice(self._chosen(entries), done, None)
        for index, (title, molecule, note) in enumerate(chosen, start=done):
            titles[index] = title
            if note:
                self.cut[index] = note
            yield molecule

    def _chosen(self, entries: Iterator[Any]) -> Iterator[tuple[str, Any, str]]:
        """(title, molecule or what refuses it, note) of everything that is to be
        sampled.
        """
        from equidrift.errors import MoleculeError
        from equidrift.fragments import largest_fragment
        from equidrift.inputs import isomers_of
        from equidrift.records import Molecule

        for entry in entries:
            molecule, note = entry.molecule, ""
            if not isinstance(molecule, Molecule):
                yield entry.title, molecule, note
                continue
            if self.largest:
                whole, molecule = molecule, largest_fragment(molecule)
                if molecule is not whole:
                    taken = molecule.smiles or f"{molecule.n_atoms} atoms"
                    note = f"the largest fragment was taken: {taken}"
            try:
                isomers = isomers_of(molecule, self.stereo)
            except MoleculeError as error:
                yield entry.title, error, note
                continue
            for isomer in isomers:
                own = isomer.name or isomer.smiles
                yield own if len(isomers) > 1 else entry.title, isomer, note

    def _finished(self, piece: Any) -> Any:
        """What is written of a piece: all of it, or the valid ones where more cannot be
        found.
        """
        ensemble = piece.ensemble
        if ensemble is None and not self.strict:
            ensemble = getattr(piece.error, "partial", None)
        if ensemble is None:
            return None
        from equidrift.engine.relax import arranged

        kept = arranged(ensemble, *self.wanted)
        self.counts["pruned"] += len(ensemble) - len(kept)
        return kept

    def _count(self, piece: Any, ensemble: Any, titles: dict[int, str]) -> None:
        counts, title = self.counts, titles[piece.index]
        if piece.error is not None:
            self.first_error = self.first_error or piece.error
            message = " ".join(str(piece.error).split())
            failure = {"index": piece.index, "title": title, "error": message}
            counts["failures"].append(
                failure | ({} if ensemble is None else {"written": len(ensemble)})
            )
        if ensemble is not None:
            counts["conformers"] += len(ensemble)
            counts["drawn"] += ensemble.provenance["drawn"]
            told = [
                self.cut.pop(piece.index, None),
                *map(ensemble.provenance.get, ("fix_note", "note")),
                *ensemble.provenance.get("notes", ()),
            ]
            for note in told if piece.start == 0 else ():
                if note:
                    counts["notes"].append({"index": piece.index, "title": title, "note": note})
            rejected = Counter(counts["rejected"]) + Counter(ensemble.provenance["rejected"])
            counts["rejected"] = dict(sorted(rejected.items()))
        if piece.last:
            counts["molecules"] += ensemble is not None or piece.start > 0
            titles.pop(piece.index, None)

    def close(self, writer: Any, as_json: bool) -> int:
        """Move the file into place and print the summary; the exit code."""
        from equidrift.engine.conformers import provenance

        again = writer.finished
        if not self.counts["conformers"]:
            writer.discard()
            if len(self.counts["failures"]) == 1 and self.first_error is not None and not as_json:
                raise self.first_error
        else:
            writer.finish()
        seconds = time.monotonic() - self.begun
        made = self.counts["conformers"] - self.resumed
        origin = provenance(self.settings)
        summary = {
            "command": "sample",
            "output": str(self.output) if self.counts["conformers"] else None,
            "model": origin["model"],
            "weights_sha256": origin["weights_sha256"],
            "seed": origin["seed"],
            **self.counts,
            "resumed_from": self.resumed,
            "finished_before": again,
            "seconds": round(seconds, 3),
            "conformers_per_s": round(made / seconds, 3) if seconds else None,
        }
        text = json.dumps(summary) if as_json else summary_text(summary)
        typer.echo(text, err=str(self.output) == "-")  # there, stdout holds the records alone
        if not self.counts["conformers"]:
            return 2
        return 1 if self.counts["failures"] else 0


def failure_line(failure: dict[str, Any]) -> str:
    """A molecule that failed, or of which fewer conformers than asked for were written."""
    if "written" in failure:
        note = "these are written (--strict for all or none)"
        return f"  short: {failure['title']}: {failure['error']} {note}"
    return f"  failed: {failure['title']}: {failure['error']}"


def summary_text(summary: dict[str, Any]) -> str:
    """What a person reads at the end of a run."""
    from equidrift.cli.output import count

    made = (
        f"{count(summary['conformers'], 'conformer')} of {count(summary['molecules'], 'molecule')}"
    )
    lines = [f"{made} by {summary['model']} -> {summary['output'] or 'nothing written'}"]
    if summary["finished_before"]:
        lines.append(FINISHED_BEFORE)
    elif summary["resumed_from"]:
        lines.append(f"  continued from conformer {summary['resumed_from']}")
    rejected = (
        ", ".join(f"{reason} {count}" for reason, count in summary["rejected"].items()) or "none"
    )
    pruned = f"; pruned {summary['pruned']}" if summary["pruned"] else ""
    lines.append(f"  drawn {summary['drawn']}, rejected and drawn again: {rejected}{pruned}")
    lines.append(
        f"  {summary['seconds']:.1f} s, {summary['conformers_per_s'] or 0:.1f} conformers/s"
    )
    notes, failures = summary["notes"], summary["failures"]
    lines += [f"  note: {note['title']}: {note['note']}" for note in notes[:MAX_FAILURES_SHOWN]]
    lines += [failure_line(failure) for failure in failures[:MAX_FAILURES_SHOWN]]
    if len(failures) > MAX_FAILURES_SHOWN:
        lines.append(f"  and {len(failures) - MAX_FAILURES_SHOWN} more; --json lists them all")
    return "\n".join(lines)
