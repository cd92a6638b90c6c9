"""A run of `equidrift place`: from ligand and pocket to poses on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equidrift._version import __version__
from equidrift.api.poses import SHAPES, Placement, poses_of
from equidrift.cli import output
from equidrift.cli.place import Request
from equidrift.engine.conformers import sample_molecule
from equidrift.engine.pockets import receptor_of
from equidrift.errors import EquidriftError, InputError
from equidrift.files.ensembles import load_all
from equidrift.files.formats import suffix_of
from equidrift.files.journal import file_sha256
from equidrift.files.stream import open_stream
from equidrift.montecarlo.target import STRUCTURES
from equidrift.records import Ensemble, Molecule
from equidrift.text import counted


def place(request: Request) -> int:
    """Place the ligand, to disk; the exit code."""
    begun = time.monotonic()
    writer = open_stream(
        request.output,
        _identity(request),
        inputs=_files(request),
        overwrite=request.overwrite,
    )
    before, counts = writer.finished, dict(writer.summary)
    if not before:
        try:
            poses, counts = _made(request)
        except EquidriftError:
            writer.discard()
            raise
        writer.write([(poses, 0)], (1, 0), counts)
        writer.finish()
    summary = {"command": "place", "output": str(request.output), **counts}
    summary["finished_before"] = before
    summary["seconds"] = round(time.monotonic() - begun, 3)
    output.print_summary(summary, summary_text, request)
    return 0


def _files(request: Request) -> list[Path]:
    """Everything that is read."""
    ligand = Path(request.ligand)
    return [request.pocket, *([ligand] if _is_file(request.ligand) else [])]


def _is_file(text: str) -> bool:
    """Whether a ligand is a file; a long SMILES is none."""
    try:
        return Path(text).is_file()
    except OSError:
        return False


def _identity(request: Request) -> dict[str, Any]:
    """Everything that decides the result."""
    ligand = file_sha256(request.ligand) if _is_file(request.ligand) else request.ligand
    names = ("n", "centre", "radius", "starts", "conformers", "chain", "temperature", "seed")
    plain = {name: vars(request)[name] for name in names}
    return {
        "place": [ligand, file_sha256(request.pocket)],
        "suffix": suffix_of(request.output),
        "version": __version__,
        **plain,
    }


def _shapes(request: Request) -> Ensemble:
    """Conformers of the ligand."""
    if not _is_file(request.ligand):
        if Path(request.ligand).suffix.lower() in STRUCTURES:
            raise InputError(f"there is no file {request.ligand!r}; give conformers, or a SMILES")
        molecule = Molecule.from_smiles(request.ligand)
        return sample_molecule(molecule, request.conformers, model=SHAPES, seed=request.seed)
    problems: list[str] = []
    found = list(load_all(request.ligand, problems=problems))
    if len(found) != 1:
        raise InputError(
            f"{request.ligand!r} holds {counted(len(found), 'molecule')} with coordinates, "
            f"and one is wanted: {'; '.join(problems) or 'split the file'}"
        )
    return found[0]


def _made(request: Request) -> tuple[Ensemble, dict[str, Any]]:
    """Poses, or frames of a chain; and what is said of them."""
    r = request
    wanted = Placement(r.n, r.centre, r.radius, r.starts, r.chain, r.temperature, r.seed)
    return poses_of(_shapes(request), receptor_of(request.pocket), wanted)


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a run."""
    kcal = summary["interaction_kcal_mol"]
    lines = [f"{counted(len(kcal), 'pose')} -> {summary['output']}, {summary['seconds']:.1f} s"]
    lines += [f"  {k + 1}: {value:.2f} kcal/mol" for k, value in enumerate(kcal)]
    if "frames" in summary:
        lines[0] = (
            f"{counted(summary['frames'], 'frame')} of an exact chain -> {summary['output']}, "
            f"{summary['acceptance']:.0%} of the moves accepted, mean interaction "
            f"{summary['interaction_mean_kcal_mol']:.2f} kcal/mol, {summary['seconds']:.1f} s"
        )
    lines += [f"  note: {note}" for note in summary["notes"]]
    return "\n".join(lines)
