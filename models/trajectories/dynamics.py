"""Molecular dynamics of many molecules, in memory and in one file."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool

from equidrift.errors import EquidriftError, InputError
from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.records import Molecule
from equidrift.stored import checked, parsed
from equidrift.stored.kinds import Count, Number, Strict
from equidrift.text import MAX_NAME

Drawable = TypeVar("Drawable", bound=tuple[Any, ...])


@dataclass(frozen=True)
class Dynamics:
    """Molecular dynamics of one molecule: positions_A (bursts, frames, n, 3), frames
    `spacing_fs` apart, bursts at any distance.

    forces_eV_A : the forces of these frames, where they were kept; noise-free targets,
        and frames may then lie at any distance.
    """

    molecule: Molecule
    positions_A: NDArray[np.float32]
    spacing_fs: float
    level: str
    temperature_K: float
    friction_per_fs: float
    forces_eV_A: NDArray[np.float32] | None = None

    def part(self, start: float, stop: float) -> Dynamics:
        """The share `start` to `stop` of the time, for a time-ordered split."""
        bursts, frames = self.positions_A.shape[:2]
        many = bursts > 1
        some = (
            slice(round(start * bursts), round(stop * bursts))
            if many
            else slice(round(start * frames), round(stop * frames))
        )
        pick = some if many else (slice(None), some)
        forces = None if self.forces_eV_A is None else self.forces_eV_A[pick]
        return replace(self, positions_A=self.positions_A[pick], forces_eV_A=forces)


def drawn(runs: Sequence[Drawable], rng: np.random.Generator) -> Drawable:
    """One of the tuples whose first member is a run: each level of theory equally
    often, then each run of it.
    """
    levels = sorted({entry[0].level for entry in runs})
    level = levels[int(rng.integers(len(levels)))] if len(levels) > 1 else levels[0]
    among = [entry for entry in runs if entry[0].level == level]
    return among[int(rng.integers(len(among)))]


class StoredDynamics(Strict):
    """One run in the header of a file of dynamics; the arrays lie beside it."""

    molecule: dict[str, Any]
    shape: Annotated[list[Count], Field(min_length=4, max_length=4)]
    spacing_fs: Annotated[Number, Field(gt=0)]
    level: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    temperature_K: Annotated[Number, Field(gt=0)]
    friction_per_fs: Annotated[Number, Field(ge=0)]
    forces: StrictBool = False

    @property
    def size(self) -> int:
        """Numbers in its positions, and in its forces if it has any."""
        return math.prod(self.shape)


class StoredRuns(Strict):
    """The runs of a file, in the order of its arrays."""

    runs: list[StoredDynamics]


def save_dynamics(path: str | Path, runs: Sequence[Dynamics]) -> None:
    """Write runs as one npz: a JSON header and the positions, float32, one after the
    other.
    """
    header = [
        {
            "molecule": molecule_to_dict(r.molecule),
            "shape": r.positions_A.shape,
            "spacing_fs": r.spacing_fs,
            "level": r.level,
            "temperature_K": r.temperature_K,
            "friction_per_fs": r.friction_per_fs,
            "forces": r.forces_eV_A is not None,
        }
        for r in runs
    ]
    temporary = Path(f"{path}.tmp.npz")
    flat = np.concatenate([np.asarray(r.positions_A, np.float32).ravel() for r in runs])
    forces = [
        np.asarray(r.forces_eV_A, np.float32).ravel() for r in runs if r.forces_eV_A is not None
    ]
    np.savez_compressed(
        temporary,
        header=np.array(json.dumps(header)),
        positions_A=flat,
        forces_eV_A=np.concatenate(forces or [flat[:0]]),
    )
    temporary.replace(path)


def load_dynamics(path: str | Path) -> list[Dynamics]:
    """Read what `save_dynamics` wrote.

    Parameters
    ----------
    path : str or Path
        A .npz file.

    Returns
    -------
    list of Dynamics
        In the order of the file.

    Raises
    ------
    InputError
        For another file, or one whose header or arrays were changed: the message names
        the file and the field.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            text, flat = str(file["header"][()]), file["positions_A"]
            forces = file["forces_eV_A"] if "forces_eV_A" in file else flat[:0]
    # np.load gives a plain array, which is no context, for an .npy file
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"{str(path)!r} holds no molecular dynamics of equidrift's ({error}); "
            f"tools/make_md.py writes such files"
        ) from error
    try:
        return _runs(text, flat, forces)
    except InputError as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from error


def _runs(text: str, flat: NDArray[np.float32], forces: NDArray[np.float32]) -> list[Dynamics]:
    """The runs of a header and its flat arrays."""
    header = checked({"runs": parsed(text, "the field 'header'")}, StoredRuns, "header of runs")
    with_forces = [run.size for run in header.runs if run.forces]
    positions = _parts("positions_A", flat, [run.size for run in header.runs])
    of_forces = iter(_parts("forces_eV_A", forces, with_forces))
    made = []
    for k, (run, part) in enumerate(zip(header.runs, positions, strict=True)):
        try:
            molecule = molecule_from_dict(run.molecule)
        except EquidriftError as error:
            raise InputError(f"runs.{k}.molecule: {error}") from error
        if run.shape[2:] != [molecule.n_atoms, 3]:
            raise InputError(
                f"runs.{k}.shape: expected (bursts, frames, {molecule.n_atoms}, 3) for the "
                f"molecule, got {run.shape}"
            )
        made.append(
            Dynamics(
                molecule=molecule,
                positions_A=part.reshape(run.shape),
                spacing_fs=run.spacing_fs,
                level=run.level,
                temperature_K=run.temperature_K,
                friction_per_fs=run.friction_per_fs,
                forces_eV_A=next(of_forces).reshape(run.shape) if run.forces else None,
            )
        )
    return made


def _parts(name: str, flat: NDArray[np.float32], sizes: Sequence[int]) -> list[NDArray[np.float32]]:
    """A flat array in parts of these sizes.

    Raises
    ------
    InputError
        For an array of another type or length, or one that is not finite.
    """
    if flat.dtype != np.float32 or flat.shape != (sum(sizes),):
        raise InputError(
            f"{name}: expected float32 of shape ({sum(sizes)},), as the header says, got "
            f"{flat.dtype} of shape {flat.shape}"
        )
    if not np.isfinite(flat).all():
        raise InputError(f"{name}: holds NaN or infinity")
    return np.split(flat, np.cumsum(sizes[:-1])) if sizes else []


def load_gfn2_md(folder: str | Path) -> dict[str, Dynamics]:
    """The eight GFN2-MD17 trajectories (0.5 fs, 500 K) of a folder by the molecule's
    name. Raises `InputError` where there is none.
    """
    out = {}
    for path in sorted(Path(folder).glob("*_gfn2_*K.npz")):
        with np.load(path, allow_pickle=False) as file:
            molecule = Molecule.from_smiles(str(file["smiles"][()]), name=path.name.split("_")[0])
            if molecule.numbers.tolist() != file["z"].tolist():
                raise InputError(f"{path} holds atoms in another order than its SMILES")
            out[molecule.name] = Dynamics(
                molecule, file["R"][None], float(file["dt_fs"]), "GFN2-xTB", float(file["T"]), 0.01
            )
    if not out:
        raise InputError(
            f"there are no *_gfn2_*K.npz files in {str(folder)!r}; EQUIDRIFT_DATA/gfn2_md "
            f"should hold them"
        )
    return out
