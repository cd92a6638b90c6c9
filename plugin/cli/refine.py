"""equidrift refine: conformers from a file, moved into the basin of the refiner's level of theory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Conformers: .sdf .mol .pdb or .npz")],
    output: Annotated[Path, typer.Option("-o", "--output", help=".sdf .xyz .extxyz .traj .pdb .xtc .dcd .h5md or .npz")],
    model: Annotated[str, typer.Option(help="A refiner; see `equidrift models`, or the path of weights you trained.")] = "refine",
    steps: Annotated[int | None, typer.Option(help="Network calls; the model's own number if not given.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Conformers in one call of the model.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the model; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop what an unfinished run of another command left.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Refine conformers from anywhere; graph and stereo are kept. Interrupted, the same command goes on where it stopped."""
    from equidrift._version import __version__
    from equidrift.cli.output import print_json
    from equidrift.cli.sample import model_options
    from equidrift.formats import StreamWriter, check_output, file_sha256
    from equidrift.registry import make_refiner

    check_output(output)
    _check_request(file, steps, batch_size)
    options = model_options(set_ or [])
    refiner = make_refiner(model, **options)
    identity: dict[str, Any] = {"file": file_sha256(file), "suffix": output.suffix.lower(), "version": __version__}
    identity |= {"refiner": model, "options": options, "weights": getattr(refiner, "weights_sha256", None)}
    identity |= {"steps": steps, "batch": batch_size}
    writer = StreamWriter(output, identity, overwrite=overwrite)
    begun, done = time.monotonic(), writer.summary.get("conformers", 0)
    calls = {"model": refiner, "steps": steps, "batch_size": batch_size, "progress": not as_json and sys.stderr.isatty()}
    summary = _refine_all(file, writer, calls)
    if summary["conformers"]:
        writer.finish()
    else:
        writer.discard()
    seconds = time.monotonic() - begun
    result = {"command": "refine", "output": str(output) if summary["conformers"] else None, "model": model, **summary}
    result |= {"seconds": round(seconds, 3), "conformers_per_s": round((summary["conformers"] - done) / seconds, 3)}
    if as_json:
        print_json(result)
    else:
        typer.echo(_text(result))
    if not summary["conformers"]:
        return 2
    return 1 if summary["failures"] else 0


def _check_request(file: Path, steps: int | None, batch_size: int | None) -> None:
    from equidrift.engine import check_count
    from equidrift.errors import InputError

    for label, value in (("steps", steps), ("batch_size", batch_size)):
        if value is not None:
            check_count(label, value)
    if not file.is_file():
        raise InputError(f"there is no file {str(file)!r}; give conformers as .sdf, .mol, .pdb or .npz")


def _refine_all(file: Path, writer: Any, calls: dict[str, Any]) -> dict[str, Any]:
    """Every molecule of the file, from where the writer's journal stands; the counts."""
    from equidrift.api import refine
    from equidrift.errors import InputError
    from equidrift.formats import load_all

    summary: dict[str, Any] = {"molecules": 0, "conformers": 0, "refined": 0, "kept_input": {}, "failures": []} | writer.summary
    problems: list[str] = []
    for index, ensemble in enumerate(load_all(file, problems=problems)):
        if index < writer.position[0]:
            continue
        refined = []
        try:
            refined.append((refine(ensemble, **calls), 0))
            _add(summary, refined[0][0])
        except InputError as error:
            title = ensemble.molecule.name or ensemble.molecule.smiles
            summary["failures"].append({"title": title, "error": " ".join(str(error).split())})
        writer.write(refined, (index + 1, 0), summary)
    summary["failures"] += [{"title": str(file), "error": problem} for problem in problems]
    return summary


def _add(summary: dict[str, Any], refined: Any) -> None:
    summary["molecules"] += 1
    summary["conformers"] += len(refined)
    summary["refined"] += refined.provenance["refined"]
    for reason, number in refined.provenance["kept_input"].items():
        summary["kept_input"][reason] = summary["kept_input"].get(reason, 0) + number


def _text(result: dict[str, Any]) -> str:
    """What a person reads at the end of a run."""
    from equidrift.cli.output import count

    kept = ", ".join(f"{reason} {number}" for reason, number in result["kept_input"].items()) or "none"
    where = result["output"] or "nothing written"
    lines = [
        f"{count(result['conformers'], 'conformer')} of {count(result['molecules'], 'molecule')} refined by {result['model']} -> {where}",
        f"  {result['refined']} moved; left as they came because the refined geometry failed a check: {kept}",
        f"  {result['seconds']:.1f} s, {result['conformers_per_s'] or 0:.1f} conformers/s",
    ]
    return "\n".join(lines + [f"  failed: {failure['title']}: {failure['error']}" for failure in result["failures"]])
