"""Molecular dynamics of many molecules, in memory and in one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.records import Molecule


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
        }
        | {
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
    """Read what `save_dynamics` wrote. Raises `InputError` for another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header, flat = json.loads(str(file["header"][()])), file["positions_A"]
            forces = file["forces_eV_A"] if "forces_eV_A" in file else flat[:0]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{str(path)!r} holds no molecular dynamics of equidrift's ({error}); "
            f"tools/make_md.py writes such files"
        ) from error
    runs, at, force_at = [], 0, 0
    for entry in header:
        shape, size = entry["shape"], int(np.prod(entry.pop("shape")))
        force = None
        if entry.pop("forces", False):
            force, force_at = forces[force_at : force_at + size].reshape(shape), force_at + size
        positions = flat[at : at + size].reshape(shape)
        runs.append(
            Dynamics(
                molecule_from_dict(entry.pop("molecule")), positions, **entry, forces_eV_A=force
            )
        )
        at += size
    return runs


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
