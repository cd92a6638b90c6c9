"""A run of `equidrift place`: from ligand and pocket to poses on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from equidrift._version import __version__
from equidrift.cli import output
from equidrift.cli.place import Request
from equidrift.engine.conformers import sample_molecule
from equidrift.errors import EquidriftError, InputError, NoValidSamplesError
from equidrift.files.ensembles import load_all
from equidrift.files.formats import suffix_of
from equidrift.files.journal import file_sha256
from equidrift.files.stream import open_stream
from equidrift.geometry import Floats
from equidrift.montecarlo.target import STRUCTURES
from equidrift.records import Ensemble, Molecule
from equidrift.registry import POSES, host_function, resolve
from equidrift.text import counted
from equidrift.units import KCAL_MOL_PER_EV

SHAPES = "etkdg-mmff"  # the model that shapes of a SMILES come from
# from the ball: an atom of the pocket further off counts for less than .01 kcal/mol per charge
REACH_A = 14.0


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


def _pocket(path: Path) -> tuple[Molecule, Floats]:
    """Graph and positions of the pocket."""
    records = list(host_function("rdkit", "read_molecules")(str(path)))
    if len(records) != 1 or records[0].molecule is None or records[0].positions_A is None:
        reason = records[0].error if records else "it is empty"
        raise InputError(
            f"{str(path)!r} holds {counted(len(records), 'entry')}, and one pocket with "
            f"coordinates is wanted: {reason or 'split the file'}"
        )
    return records[0].molecule, records[0].positions_A[0]


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


def _interaction(request: Request, shapes: Ensemble, pocket: Molecule, pocket_A: Floats) -> Any:
    """The energy of the ligand in the part of the pocket that it can feel."""
    tables = host_function("rdkit", "mmff_interaction")(shapes.molecule, pocket)
    centre_A = pocket_A.mean(axis=0) if request.centre is None else np.array(request.centre)
    x = shapes.positions_A - shapes.positions_A.mean(axis=1, keepdims=True)
    reach_A = request.radius + float(np.linalg.norm(x, axis=-1).max()) + REACH_A
    near = np.linalg.norm(pocket_A - centre_A, axis=1) < reach_A
    if not near.any():
        raise InputError(
            f"no atom of the pocket is within {reach_A:.0f} A of {centre_A.round(1).tolist()}; "
            "give --centre in the coordinates of the pocket's file"
        )
    cut = [table[:, near] for table in tables]
    return resolve(POSES["Interaction"])(pocket_A[near], *cut, centre_A, request.radius)


def _made(request: Request) -> tuple[Ensemble, dict[str, Any]]:
    """Poses, or frames of a chain; and what is said of them."""
    shapes = _shapes(request)
    pocket, pocket_A = _pocket(request.pocket)
    energy = _interaction(request, shapes, pocket, pocket_A)
    found = resolve(POSES["place"])(
        energy, shapes.positions_A, request.n, starts=request.starts, seed=request.seed
    )
    if not len(found.energies_eV):
        raise NoValidSamplesError(
            "no pose has a finite energy; give a larger --radius or another --centre",
            {"outside": request.starts},
        )
    kcal = (found.energies_eV * KCAL_MOL_PER_EV).tolist()
    counts: dict[str, Any] = {"poses": len(kcal), "interaction_kcal_mol": kcal}
    positions_A, energies_eV, conformers = found.positions_A, found.energies_eV, found.conformers
    if request.chain is not None:
        chain = resolve(POSES["chain"])(
            *(energy, positions_A[0], request.chain),
            temperature_K=request.temperature,
            seed=request.seed,
        )
        positions_A, energies_eV = chain.positions_A, chain.energies_eV
        conformers = np.full(len(energies_eV), found.conformers[0])
        counts |= {
            "frames": len(energies_eV),
            "acceptance": chain.acceptance,
            "interaction_mean_kcal_mol": float(energies_eV.mean()) * KCAL_MOL_PER_EV,
        }
    poses = shapes[conformers].replace(
        positions_A=positions_A,
        energies_eV=None,
        scores={"interaction_kcal_mol": energies_eV * KCAL_MOL_PER_EV},
    )
    return poses, counts


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
    return "\n".join(lines)
