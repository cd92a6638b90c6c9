"""A run of `equidrift align`: from the files to the disk, and its summary."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from equidrift._version import __version__
from equidrift.api.poses import counted_atoms, laid
from equidrift.cli import output
from equidrift.cli.align import POINTS, Request
from equidrift.errors import EquidriftError, InputError
from equidrift.files.ensembles import load_all
from equidrift.files.formats import suffix_of
from equidrift.files.journal import file_sha256
from equidrift.files.stream import open_stream
from equidrift.geometry import Floats
from equidrift.outputs import claim
from equidrift.records import Ensemble
from equidrift.registry import POSES, resolve
from equidrift.text import counted


def align(request: Request) -> int:
    """Lay A onto B, to disk; the exit code."""
    kinds = {path.suffix.lower() in POINTS for path in (request.moved, request.fixed)}
    if len(kinds) > 1 or (request.output.suffix.lower() in POINTS) not in kinds:
        raise InputError(
            f"points ({', '.join(POINTS)}) are laid onto points, and molecules onto molecules; "
            f"got {request.moved}, {request.fixed} and the output {request.output}"
        )
    begun = time.monotonic()
    summary = _points(request) if kinds == {True} else _molecules(request)
    summary = {"command": "align", "output": str(request.output), **summary}
    summary["seconds"] = round(time.monotonic() - begun, 3)
    output.print_summary(summary, summary_text, request)
    return 1 if summary["failures"] else 0


def _points(request: Request) -> dict[str, Any]:
    """Points onto points."""
    claim([request.output], inputs=[request.moved, request.fixed], overwrite=request.overwrite)
    a, b = (_read_points(path) for path in (request.moved, request.fixed))
    found = resolve(POSES["register"])(a, b, starts=request.starts, seed=request.seed)
    part = request.output.with_name(request.output.name + ".part")
    with open(part, "wb") as handle:
        if request.output.suffix.lower() == ".npy":
            np.save(handle, found.placed(a))
        else:
            np.savetxt(handle, found.placed(a), delimiter=",")
    os.replace(part, request.output)
    row = {"title": request.moved.name, "conformers": 1} | _pose(found)
    return {"aligned": [row], "failures": []}


def _read_points(path: Path) -> Floats:
    """(n, 3) points of a file."""
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float64)
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{str(path)!r} holds no points: {error}; give three columns of numbers"
        ) from error


def _pose(found: Any) -> dict[str, Any]:
    """A registration in plain values."""
    return {
        "similarity": found.similarity,
        "distance": found.distance,
        "rotation": found.rotation.tolist(),
        "shift": found.shift.tolist(),
    }


def _molecules(request: Request) -> dict[str, Any]:
    """Conformers onto the first conformer of a file."""
    fixed = _first(request.fixed)
    identity = {
        "align": [file_sha256(path) for path in (request.moved, request.fixed)],
        "starts": request.starts,
        "seed": request.seed,
        "suffix": suffix_of(request.output),
        "version": __version__,
    }
    files = [request.moved, request.fixed]
    writer = open_stream(request.output, identity, inputs=files, overwrite=request.overwrite)
    counts: dict[str, Any] = {"aligned": [], "failures": []} | writer.summary
    if writer.finished:
        return counts
    problems: list[str] = []
    try:
        for index, ensemble in enumerate(_ensembles(request.moved, problems)):
            if index >= writer.position[0]:
                moved = laid(ensemble, fixed, starts=request.starts, seed=request.seed)
                counts["aligned"].append(_row(moved))
                writer.write([(moved, 0)], (index + 1, 0), counts)
    except EquidriftError:
        writer.discard()
        raise
    counts["failures"] = [{"title": str(request.moved), "error": text} for text in problems]
    writer.finish()
    return counts


def _row(moved: Ensemble) -> dict[str, Any]:
    """What the summary says of a molecule: its best conformer."""
    best = int(moved.scores["similarity"].argmax())
    return {
        "title": moved.molecule.name or moved.molecule.smiles,
        "conformers": len(moved),
        "similarity": float(moved.scores["similarity"][best]),
        "distance": float(moved.scores["distance_A"][best]),
    }


def _ensembles(path: Path, problems: list[str]) -> Any:
    """The ensembles of a file, of which there must be one."""
    found = iter(load_all(path, problems=problems))
    first = next(found, None)
    if first is None:
        raise InputError(f"{str(path)!r} holds no molecule with coordinates: {'; '.join(problems)}")
    yield first
    yield from found


def _first(path: Path) -> tuple[Floats, Any]:
    """Positions and elements of the atoms that count, of the first conformer of a file."""
    conformer = next(iter(_ensembles(path, [])))
    rows = counted_atoms(conformer.molecule)
    return conformer.positions_A[0][rows], conformer.molecule.numbers[rows]


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a run."""
    lines = [f"aligned -> {summary['output']}, {summary['seconds']:.1f} s"]
    lines += [
        f"  {row['title']}: {counted(row['conformers'], 'conformer')}, similarity "
        f"{row['similarity']:.3f}, {row['distance']:.2f} to the nearest atoms or points"
        for row in summary["aligned"]
    ]
    lines += [
        f"  failed: {failure['title']}: {failure['error']}" for failure in summary["failures"]
    ]
    return "\n".join(lines)
