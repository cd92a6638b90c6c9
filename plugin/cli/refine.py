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
    model: Annotated[str, typer.Option(help="A refiner; see `equidrift models`.")] = "refine",
    steps: Annotated[int | None, typer.Option(help="Network calls; the model's own number if not given.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Conformers in one call of the model.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the model; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop what an unfinished run of another command left.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Refine conformers from anywhere; graph and stereo are kept. Interrupted, the same command goes on where it stopped."""
    from equidrift._version import __version__
    from equidrift.api import refine
    from equidrift.cli.output import print_json
    from equidrift.cli.sample import model_options
    from equidrift.engine import check_count
    from equidrift.errors import InputError
    from equidrift.formats import StreamWriter, check_output, file_sha256, load_all
    from equidrift.registry import make_refiner

    check_output(output)
    for label, value in (("steps", steps), ("batch_size", batch_size)):
        if value is not None:
            check_count(label, value)
    if not file.is_file():
        raise InputError(f"there is no file {str(file)!r}; give conformers as .sdf, .mol, .pdb or .npz")
    options = model_options(set_ or [])
    refiner = make_refiner(model, **options)
    identity = {"refiner": model, "weights": getattr(refiner, "weights_sha256", None), "steps": steps, "batch": batch_size, "options": options}
    writer = StreamWriter(output, {"file": file_sha256(file), "version": __version__, **identity}, overwrite=overwrite)
    summary: dict[str, Any] = {"molecules": 0, "conformers": 0, "refined": 0, "kept_input": {}, "failures": []} | writer.summary
    begun, done = time.monotonic(), summary["conformers"]
    problems: list[str] = []
    shown = not as_json and sys.stderr.isatty()
    for index, ensemble in enumerate(load_all(file, problems=problems)):
        if index < writer.position[0]:
            continue
        pieces = []
        try:
            pieces.append((refine(ensemble, model=refiner, steps=steps, batch_size=batch_size, progress=shown), 0))
        except InputError as error:
            summary["failures"].append({"title": ensemble.molecule.name or ensemble.molecule.smiles, "error": " ".join(str(error).split())})
        for refined, _ in pieces:
            _add(summary, refined)
        writer.write(pieces, (index + 1, 0), summary)
    summary["failures"] += [{"title": str(file), "error": problem} for problem in problems]
    if summary["conformers"]:
        writer.finish()
    else:
        writer.discard()
    seconds = time.monotonic() - begun
    rate = round((summary["conformers"] - done) / seconds, 3) if seconds else None
    result = {"command": "refine", "output": str(output) if summary["conformers"] else None, "model": model, **summary}
    result |= {"seconds": round(seconds, 3), "conformers_per_s": rate}
    if as_json:
        print_json(result)
    else:
        typer.echo(_text(result))
    if not summary["conformers"]:
        return 2
    return 1 if summary["failures"] else 0


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
