"""equidrift sample: conformers from SMILES or files, streamed to disk."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

MAX_PRUNED = 10_000
MAX_COUNTED = 20_000  # molecules counted beforehand, for the progress bar's total
RELAX_WINDOW = 64  # conformers between two writes to disk when each of them costs seconds
MAX_FAILURES_SHOWN = 20


def command(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="SMILES, or files: .smi .sdf .mol .pdb")],
    output: Annotated[Path, typer.Option("-o", "--output", help=".sdf .xyz .extxyz .traj .pdb .xtc .dcd .h5md or .npz")],
    n: Annotated[int, typer.Option("-n", help="Conformers of each molecule.")] = 1,
    model: Annotated[str, typer.Option(help="See `equidrift models`, or the path of weights you trained.")] = "default",
    seed: Annotated[int, typer.Option(help="Same seed, same conformers.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Solver steps; the model's own number if not given.")] = None,
    relax: Annotated[str, typer.Option(help="none, mmff, or gfn2 (needs the extra xtb).")] = "none",
    fix: Annotated[Path | None, typer.Option(metavar="CORE", help="Hold the atoms of this .sdf, .mol or .pdb where it has them.")] = None,
    restrain: Annotated[Path | None, typer.Option(help="Distances to keep: lines `i j lower upper`, indices from 0, A.")] = None,
    prune: Annotated[float | None, typer.Option(help="Drop conformers closer than this heavy-atom RMSD in A, after relaxation.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples in one call of the model.")] = None,
    max_attempts: Annotated[int, typer.Option(help="Draws a conformer before it is given up.")] = 20,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the model; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop what an unfinished run of another command left.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Conformers of molecules. Interrupted, the same command goes on where it stopped."""
    from equidrift.cli.inputs import count_molecules
    from equidrift.cli.progress import conformer_bar
    from equidrift.conditions import make_conditions
    from equidrift.engine import check_count, make_settings, provenance
    from equidrift.formats import StreamWriter, check_output
    from equidrift.relax import check_threshold, make_relax

    check_count("n", n)
    check_output(output)
    check_threshold(prune)
    _check_request(inputs, output, n, prune)
    own = model_options(set_ or [])
    settings = make_settings(
        model,
        conditions=make_conditions(fix, restrain, own.pop("restraint_tolerance_A", None)),
        seed=seed,
        steps=steps,
        batch_size=batch_size,
        max_attempts=max_attempts,
        relax=make_relax(relax),
        options={"relax": relax} if relax != "none" else None,
        **own,
    )
    run = _Run(inputs, output, n, settings, prune)
    identity = {**provenance(settings), "requested": model, "batch": settings.batch_size, "attempts": max_attempts, "prune": prune}
    writer = StreamWriter(output, {"inputs": run.described, "n": n, "suffix": output.suffix.lower(), **identity}, overwrite=overwrite)
    run.counts.update(writer.summary or {})
    shown = not as_json and sys.stderr.isatty()
    molecules = count_molecules(inputs, limit=MAX_COUNTED) if shown else MAX_COUNTED
    try:
        with conformer_bar(molecules * n if molecules < MAX_COUNTED else None, shown=shown, done=run.counts["conformers"]) as callback:
            run.stream(writer, callback)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"{run.counts['conformers']} conformers are kept, the same command goes on from there") from error
    return run.close(writer, as_json)


def model_options(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs, values read as YAML scalars. Raises `InputError` for anything else."""
    import yaml

    from equidrift.errors import InputError

    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--set takes KEY=VALUE, say --set num_threads=2; got {pair!r}")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {pair!r} has a value that is no number, word or list") from error
    return options


def _check_request(inputs: Sequence[str], output: Path, n: int, prune: float | None) -> None:
    """Refuse, before any work, what the output cannot hold."""
    from equidrift.cli.inputs import count_molecules
    from equidrift.errors import InputError
    from equidrift.formats import MANY_MOLECULES

    if prune is not None and n > MAX_PRUNED:
        raise InputError(f"--prune compares all conformers of a molecule: -n may be {MAX_PRUNED} at most with it, not {n}")
    if count_molecules(inputs, limit=2) > 1 and output.suffix.lower() not in MANY_MOLECULES:
        raise InputError(f"a {output.suffix} file holds one molecule, and the input has several; write {', '.join(MANY_MOLECULES)}")


class _Run:
    """One run of the command: where it stands, and what its summary says."""

    def __init__(self, inputs: Sequence[str], output: Path, n: int, settings: Any, prune: float | None) -> None:
        from equidrift.cli.inputs import describe_inputs

        self.inputs, self.output, self.n, self.settings, self.prune = inputs, output, n, settings, prune
        self.described = describe_inputs(inputs)
        self.counts: dict[str, Any] = {"molecules": 0, "conformers": 0, "drawn": 0, "rejected": {}, "pruned": 0}
        self.counts |= {"failures": [], "notes": []}
        self.begun, self.resumed = time.monotonic(), 0
        self.first_error: Exception | None = None

    def stream(self, writer: Any, callback: Any) -> None:
        """Windows from the engine to the disk, from where the writer's journal stands."""
        import dataclasses

        from equidrift.cli.inputs import read_inputs
        from equidrift.engine import generate_windows

        self.resumed = self.counts["conformers"]
        titles: dict[int, str] = {}
        start = writer.position
        settings = dataclasses.replace(self.settings, callback=callback)
        window = self.n if self.prune is not None else RELAX_WINDOW if settings.relax is not None else None
        source = self._molecules(read_inputs(self.inputs), start[0], titles)
        for pieces in generate_windows(source, self.n, settings=settings, start=start, window=window):
            ensembles = [(self._finished(piece.ensemble), piece.start) for piece in pieces if piece.ensemble is not None]
            for piece in pieces:
                self._count(piece, titles)
            self.counts["conformers"] += sum(len(ensemble) for ensemble, _ in ensembles)
            last = pieces[-1]
            position = (last.index + 1, 0) if last.last or last.ensemble is None else (last.index, last.start + len(last.ensemble))
            writer.write(ensembles, position, self.counts)

    def _molecules(self, entries: Iterator[Any], done: int, titles: dict[int, str]) -> Iterator[Any]:
        for index, entry in enumerate(islice(entries, done, None), start=done):
            titles[index] = entry.title
            yield entry.molecule

    def _finished(self, ensemble: Any) -> Any:
        if self.prune is None:
            return ensemble
        from equidrift.relax import prune

        kept = prune(ensemble, self.prune)
        self.counts["pruned"] += len(ensemble) - len(kept)
        return kept

    def _count(self, piece: Any, titles: dict[int, str]) -> None:
        counts = self.counts
        if piece.error is not None:
            self.first_error = self.first_error or piece.error
            message = " ".join(str(piece.error).split())
            counts["failures"].append({"index": piece.index, "title": titles[piece.index], "error": message})
        if piece.ensemble is not None:
            counts["drawn"] += piece.ensemble.provenance["drawn"]
            note = piece.ensemble.provenance.get("fix_note")
            if note and piece.start == 0:
                counts["notes"].append({"index": piece.index, "title": titles[piece.index], "note": note})
            counts["rejected"] = dict(sorted((Counter(counts["rejected"]) + Counter(piece.ensemble.provenance["rejected"])).items()))
        if piece.last:
            counts["molecules"] += piece.error is None
            titles.pop(piece.index, None)

    def close(self, writer: Any, as_json: bool) -> int:
        """Move the file into place and print the summary; the exit code."""
        from equidrift.engine import provenance

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
            "seconds": round(seconds, 3),
            "conformers_per_s": round(made / seconds, 3) if seconds else None,
        }
        typer.echo(json.dumps(summary) if as_json else summary_text(summary))
        if not self.counts["conformers"]:
            return 2
        return 1 if self.counts["failures"] else 0


def summary_text(summary: dict[str, Any]) -> str:
    """What a person reads at the end of a run."""
    from equidrift.cli.output import count

    made = f"{count(summary['conformers'], 'conformer')} of {count(summary['molecules'], 'molecule')}"
    lines = [f"{made} by {summary['model']} -> {summary['output'] or 'nothing written'}"]
    if summary["resumed_from"]:
        lines.append(f"  continued from conformer {summary['resumed_from']}")
    rejected = ", ".join(f"{reason} {count}" for reason, count in summary["rejected"].items()) or "none"
    pruned = f"; pruned {summary['pruned']}" if summary["pruned"] else ""
    lines.append(f"  drawn {summary['drawn']}, rejected and drawn again: {rejected}{pruned}")
    lines.append(f"  {summary['seconds']:.1f} s, {summary['conformers_per_s'] or 0:.1f} conformers/s")
    notes, failures = summary["notes"], summary["failures"]
    lines += [f"  note: {note['title']}: {note['note']}" for note in notes[:MAX_FAILURES_SHOWN]]
    lines += [f"  failed: {failure['title']}: {failure['error']}" for failure in failures[:MAX_FAILURES_SHOWN]]
    if len(failures) > MAX_FAILURES_SHOWN:
        lines.append(f"  and {len(failures) - MAX_FAILURES_SHOWN} more; --json lists them all")
    return "\n".join(lines)
