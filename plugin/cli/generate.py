"""equidrift generate: new molecules with bonds, charges and conformers, streamed to
disk.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.options import ModelOptions, Overwrite, SummaryAsJson

OUTPUT_HELP = (
    "File to write: .sdf .sdf.gz .xyz .extxyz or .traj; for one molecule also .npz .pdb or .mol. "
    "- writes SDF to standard output."
)


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help=OUTPUT_HELP)],
    n: Annotated[int, typer.Option("-n", help="Valid and unique molecules to make.")] = 1,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="PROPERTY=VALUE",
            help="A property to aim at, such as gap_eV=7.0 or dipole_D=2.5. May be repeated.",
        ),
    ] = None,
    fragment: Annotated[
        Path | None,
        typer.Option(metavar="CORE", help="Keep the heavy atoms of this .sdf, .mol or .pdb file."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="default (joint) or latent, or the path of weights you trained.")
    ] = "default",
    steps: Annotated[
        int | None,
        typer.Option(help="Network calls for each sample. Default: the model's own number."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="How strongly --target acts: 1 is plain conditioning, larger values guide harder."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Random seed: the same seed gives the same molecules.")
    ] = 0,
    relax: Annotated[
        str,
        typer.Option(
            help="Relax each result: none, mmff (MMFF94) or gfn2 (GFN2-xTB, needs the extra xtb)."
        ),
    ] = "none",
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="What measures the properties achieved: network or gfn2 (needs the extra xtb). May be repeated."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Accept targets outside the range of the training data.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Samples made in one call of the model. Default: the model's own number."
        ),
    ] = None,
    max_attempts: Annotated[
        int, typer.Option(help="Draws per molecule, on average, before the run is given up.")
    ] = 20,
    set_: ModelOptions = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Write all N molecules or none. Default: write those found."),
    ] = False,
    overwrite: Overwrite = False,
    as_json: SummaryAsJson = False,
) -> int:
    """Generate new molecules with conformers.

    If the run is interrupted, give the same command again: it continues where it
    stopped.
    """
    from equidrift.arguments import check_count
    from equidrift.cli.options import model_files, model_options
    from equidrift.engine.molecules import make_settings, provenance
    from equidrift.files.formats import check_output, suffix_of
    from equidrift.files.plain import plain
    from equidrift.files.stream import open_stream
    from equidrift.outputs import refuse_inputs

    check_count("n", n)
    check_output(output)
    files = [path for path in (fragment, *model_files(model)) if path is not None]
    refuse_inputs([output], files)
    _check_suffix(output, n)
    own = model_options(set_ or [])
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        settings = make_settings(
            model,
            targets=parse_targets(target or []),
            guidance=guidance,
            fragment=fragment,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            max_attempts=max_attempts,
            relax=relax,
            judge=judge,
            force=force,
            **own,
        )
    identity = {**provenance(settings), "requested": model, "n": n, "batch": settings.batch_size}
    identity |= {"command": "generate", "suffix": suffix_of(output)}
    writer = open_stream(output, identity, inputs=files, overwrite=overwrite)
    again = writer.finished
    summary = _run(n, settings, writer, strict, shown=not as_json and sys.stderr.isatty())
    short = summary.pop("short")
    summary = {"command": "generate", "output": str(output), **summary, "finished_before": again}
    summary["notes"] = [str(note.message) for note in notes] + ([short] if short else [])
    text = json.dumps(plain(summary)) if as_json else summary_text(summary)
    typer.echo(text, err=str(output) == "-")  # there, stdout holds the records alone
    return 1 if short else 0


def _check_suffix(output: Path, n: int) -> None:
    from equidrift.errors import InputError
    from equidrift.files.formats import MANY_MOLECULES, suffix_of

    suffix = suffix_of(output)
    if n > 1 and suffix not in MANY_MOLECULES:
        raise InputError(
            f"a {suffix} file holds one molecule, and {n} are asked for; write {', '.join(MANY_MOLECULES)}"
        )


def parse_targets(pairs: Sequence[str]) -> dict[str, float]:
    """PROPERTY=VALUE pairs.

    Raises `InputError` for anything else, and for a property given twice.
    """
    from equidrift.errors import InputError

    targets: dict[str, float] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise InputError(
                f"--target takes PROPERTY=VALUE, say --target gap_eV=7.0; got {pair!r}"
            )
        try:
            value = float(text)
        except ValueError as error:
            raise InputError(
                f"--target {pair!r} has a value that is no number; say --target {name}=7.0"
            ) from error
        if name in targets:
            raise InputError(
                f"--target {name} is given twice, {targets[name]:g} and {value:g}; give it once"
            )
        targets[name] = value
    return targets


def _run(n: int, settings: Any, writer: Any, strict: bool, *, shown: bool) -> dict[str, Any]:
    """Every batch from where the writer's journal stands; the counts of the whole run.

    "short" says why there are fewer than n, and is empty if there are not.
    """
    import dataclasses

    from equidrift.checks.judges import achieved as judged
    from equidrift.cli.output import count
    from equidrift.cli.signals import kept, telling_what_is_kept
    from equidrift.engine.molecules import Run, batches, provenance
    from equidrift.errors import InputError, NoValidSamplesError
    from equidrift.progress import conformer_bar

    state = writer.summary
    run = Run.restored(state) if state else Run()
    achieved: dict[str, list[float]] = state.get("achieved", {})
    begun, resumed = time.monotonic(), run.found
    short = str(state.get("short", ""))
    if writer.finished and short and settings.max_attempts > state["attempts"]:
        raise InputError(
            f"{str(writer.path)!r} holds the {run.found} molecules that were found in {run.drawn} "
            "draws; draw anew with --overwrite, or give another name for the output"
        )
    try:
        with (
            telling_what_is_kept(
                lambda: kept(count(writer.summary.get("molecules", 0), "molecule"))
            ),
            conformer_bar(n, shown=shown, done=resumed, label="molecules") as callback,
        ):
            asked = dataclasses.replace(settings, callback=callback)
            for ensembles in () if writer.finished else batches(n, asked, run):
                for ensemble in ensembles:
                    for name, values in ensemble.scores.items():
                        achieved.setdefault(name, []).append(float(values[0]))
                first = run.found - len(ensembles)
                numbered = [(ensemble, first + k) for k, ensemble in enumerate(ensembles)]
                writer.write(numbered, (run.drawn, 0), run.state() | {"achieved": achieved})
    except NoValidSamplesError as error:
        if strict or not run.found:
            raise
        short = f"{' '.join(str(error).split())} These are written (--strict for all or none)."
        told = run.state() | {
            "achieved": achieved,
            "short": short,
            "attempts": settings.max_attempts,
        }
        writer.write([], (run.drawn, 0), told)
    writer.finish()
    origin, seconds = provenance(settings), time.monotonic() - begun
    return {
        "model": origin["model"],
        "weights_sha256": origin["weights_sha256"],
        "seed": origin["seed"],
        "molecules": run.found,
        "drawn": run.drawn,
        "rejected": dict(sorted(run.rejected.items())),
        "short": short,
        "resumed_from": resumed,
        "targets": judged(settings.targets, achieved, settings.judges),
        "seconds": round(seconds, 3),
        "molecules_per_s": round((run.found - resumed) / seconds, 3) if seconds else None,
    }


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a run."""
    from equidrift.checks.judges import achieved_text
    from equidrift.cli.output import FINISHED_BEFORE, count

    lines = [
        f"{count(summary['molecules'], 'molecule')} by {summary['model']} -> {summary['output']}"
    ]
    if summary["finished_before"]:
        lines.append(FINISHED_BEFORE)
    elif summary["resumed_from"]:
        lines.append(f"  continued from molecule {summary['resumed_from']}")
    rejected = (
        ", ".join(f"{reason} {number}" for reason, number in summary["rejected"].items()) or "none"
    )
    lines.append(f"  drawn {summary['drawn']}, rejected: {rejected}")
    lines += [f"  {achieved_text(row)}" for row in summary["targets"]]
    lines += [f"  note: {note}" for note in summary["notes"]]
    lines.append(f"  {summary['seconds']:.1f} s, {summary['molecules_per_s'] or 0:.1f} molecules/s")
    return "\n".join(lines)
