"""equidrift refine: conformers from a file, moved into the basin of the refiner's level
of theory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.options import LargestFragment, ModelOptions, Overwrite, SummaryAsJson
from equidrift.cli.sample import CHARGE_HELP, OUTPUT_HELP, SMILES_HELP

FILE_HELP = (
    "Conformers: .sdf .mol .mol2 .pdb .xyz .extxyz .traj (each also .gz) or .npz. "
    "A trajectory needs --top. - reads standard input."
)
_NOTHING = {"molecules": 0, "conformers": 0, "refined": 0}


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=FILE_HELP)],
    output: Annotated[Path, typer.Option("-o", "--output", help=OUTPUT_HELP)],
    model: Annotated[
        str,
        typer.Option(
            help="A refiner that `equidrift models` lists, or the path of weights you trained."
        ),
    ] = "refine",
    steps: Annotated[
        int | None, typer.Option(help="Network calls. Default: the model's own number.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Conformers in one call of the model. Default: the model's own number."),
    ] = None,
    top: Annotated[
        str | None,
        typer.Option(help="The bonds of a trajectory: a .pdb, .sdf or .mol file, or a SMILES."),
    ] = None,
    set_: ModelOptions = None,
    largest_fragment: LargestFragment = False,
    charge: Annotated[int | None, typer.Option(help=CHARGE_HELP)] = None,
    smiles: Annotated[str | None, typer.Option("--smiles", help=SMILES_HELP)] = None,
    overwrite: Overwrite = False,
    as_json: SummaryAsJson = False,
) -> int:
    """Refine the conformers in a file; atoms, bonds and stereo do not change.

    If the run is interrupted, give the same command again: it continues where it
    stopped.
    """
    from equidrift._version import __version__
    from equidrift.cli.options import model_files, model_options
    from equidrift.cli.output import count, topology_of
    from equidrift.cli.signals import kept, telling_what_is_kept
    from equidrift.engine.conformers import BATCH_SIZE
    from equidrift.files.formats import check_output, suffix_of
    from equidrift.files.journal import file_sha256
    from equidrift.files.plain import plain
    from equidrift.files.stream import open_stream
    from equidrift.files.unpacked import unpacked
    from equidrift.outputs import refuse_inputs
    from equidrift.registry import make_refiner

    check_output(output)
    refuse_inputs([output], [file, *model_files(model)])
    reading = {"top": top, "charge": charge, "smiles": smiles}
    _check_request(file, output, steps, batch_size, reading)
    options = model_options(set_ or [])
    refiner = make_refiner(model, **options)
    identity: dict[str, Any] = {
        "file": file_sha256(unpacked(file)),
        "suffix": suffix_of(output),
        "version": __version__,
    }
    identity |= {"largest_fragment": largest_fragment, "charge": charge}
    identity |= {} if smiles is None else {"smiles": smiles}
    identity |= {
        "refiner": model,
        "options": options,
        "weights": refiner.weights_sha256,
    }
    identity |= {"steps": steps, "batch": batch_size}
    identity |= {} if top is None else {"top": file_sha256(top) if Path(top).is_file() else top}
    topology = [top] if top is not None and Path(top).is_file() else []
    writer = open_stream(
        output, identity, inputs=[file, *topology, *model_files(model)], overwrite=overwrite
    )
    begun, done = time.monotonic(), writer.summary.get("conformers", 0)
    again = writer.finished
    summary = {**_NOTHING, "kept_input": {}, "failures": []} | writer.summary
    if not again:
        size = batch_size or (refiner.batch_size or BATCH_SIZE)
        shown = not as_json and sys.stderr.isatty()
        with telling_what_is_kept(
            lambda: kept(count(writer.summary.get("conformers", 0), "conformer"))
        ):
            _refine_all(
                file, writer, summary, refiner, steps, size, shown, largest_fragment, reading
            )
    if summary["conformers"]:
        writer.finish()
    else:
        writer.discard()
    seconds = time.monotonic() - begun
    result = {
        "command": "refine",
        "output": str(output) if summary["conformers"] else None,
        "topology": topology_of(output) if summary["conformers"] else None,
        "model": model,
        **summary,
    }
    result |= {"resumed_from": done, "finished_before": again}
    result |= {
        "seconds": round(seconds, 3),
        "conformers_per_s": round((summary["conformers"] - done) / seconds, 3),
    }
    text = json.dumps(plain(result)) if as_json else _text(result)
    typer.echo(text, err=str(output) == "-")  # there, stdout holds the records alone
    if not summary["conformers"]:
        return 2
    return 1 if summary["failures"] else 0


def _check_request(
    file: Path,
    output: Path,
    steps: int | None,
    batch_size: int | None,
    reading: Mapping[str, Any],
) -> None:
    """Refuse, before any work, what cannot be read or what the output cannot hold."""
    from equidrift.arguments import check_count
    from equidrift.errors import InputError
    from equidrift.files.ensembles import load_all
    from equidrift.files.formats import MANY_MOLECULES, suffix_of
    from equidrift.files.unpacked import STDIN

    for label, value in (("steps", steps), ("batch_size", batch_size)):
        if value is not None:
            check_count(label, value)
    if str(file) != STDIN and not file.is_file():
        raise InputError(
            f"there is no file {str(file)!r}; give conformers as .sdf, .xyz or another format (--help)"
        )
    suffix = suffix_of(output)
    if suffix in MANY_MOLECULES:
        return
    held = iter(load_all(file, problems=[], **reading))
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


def _refine_all(
    file: Path,
    writer: Any,
    summary: dict[str, Any],
    refiner: Any,
    steps: int | None,
    size: int,
    shown: bool,
    largest: bool,
    reading: Mapping[str, Any],
) -> None:
    """Every molecule of the file, batch by batch, from where the writer's journal
    stands.
    """
    from equidrift.api import refine_part
    from equidrift.checks.geometry import check_supported
    from equidrift.errors import InputError
    from equidrift.files.ensembles import load_all
    from equidrift.fragments import largest_of
    from equidrift.progress import conformer_bar

    problems: list[str] = []
    with conformer_bar(None, shown=shown, done=summary["conformers"]) as report:
        for index, ensemble in enumerate(load_all(file, problems=problems, **reading)):
            done, first = writer.position
            if index < done:
                continue
            try:
                ensemble = largest_of(ensemble) if largest else ensemble
                check_supported(ensemble.molecule)
                for begin in range(first, len(ensemble), size):
                    part = refine_part(ensemble[begin : begin + size], refiner, steps)
                    end = begin + len(part)
                    _add(summary, part, begin)
                    position = (index, end) if end < len(ensemble) else (index + 1, 0)
                    writer.write([(part, begin)], position, summary)
                    if report is not None:
                        report({"accepted": len(part), "drawn": len(part)})
            except InputError as error:
                title = ensemble.molecule.name or ensemble.molecule.smiles
                summary["failures"].append({"title": title, "error": " ".join(str(error).split())})
                writer.write([], (index + 1, 0), summary)
    summary["failures"] += [{"title": str(file), "error": problem} for problem in problems]


def _add(summary: dict[str, Any], part: Any, begin: int) -> None:
    summary["molecules"] += begin == 0
    summary["conformers"] += len(part)
    summary["refined"] += part.provenance["refined"]
    for reason, number in part.provenance["kept_input"].items():
        summary["kept_input"][reason] = summary["kept_input"].get(reason, 0) + number


def _text(result: dict[str, Any]) -> str:
    """What a person reads at the end of a run."""
    from equidrift.cli.output import FINISHED_BEFORE, count, topology_line

    kept = (
        ", ".join(f"{reason} {number}" for reason, number in result["kept_input"].items()) or "none"
    )
    where = result["output"] or "nothing written"
    lines = [
        f"{count(result['conformers'], 'conformer')} of {count(result['molecules'], 'molecule')} refined by {result['model']} -> {where}",
        f"  {result['refined']} moved; left as they came because the refined geometry failed a check: {kept}",
        f"  {result['seconds']:.1f} s, {result['conformers_per_s'] or 0:.1f} conformers/s",
    ]
    lines[1:1] = topology_line(result["topology"])
    if result["finished_before"]:
        lines.append(FINISHED_BEFORE)
    elif result["resumed_from"]:
        lines.append(f"  continued from conformer {result['resumed_from']}")
    return "\n".join(
        lines
        + [f"  failed: {failure['title']}: {failure['error']}" for failure in result["failures"]]
    )
