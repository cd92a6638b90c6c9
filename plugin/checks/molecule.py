"""What a generated molecule must be: one fragment, sane valences, stereo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.geometry import NO_COORDINATES, GeometryCheck
from equidrift.checks.valency import graph_problem
from equidrift.errors import MoleculeError
from equidrift.protocols import Relax
from equidrift.records import Molecule
from equidrift.registry import host_function

NOTHING, SANITISATION, FRAGMENT_LOST, REPEATED = (
    "no molecule",
    "sanitisation",
    "fragment lost",
    "repeated",
)


_MOVED_A, _RELAXED_A = (
    0.1,
    1.0,
)  # how far an atom of a fragment may be from its place, and after a relaxation


Raw = tuple[Molecule, NDArray[np.float64]]


@dataclass(frozen=True)
class Draw:
    """What became of one draw: the molecule and its geometry, or why it was rejected."""

    seed: int
    reason: str
    molecule: Molecule | None = None
    positions_A: NDArray[np.float64] | None = None
    energy_eV: float = math.nan


def judge(
    raw: Raw | None, seed: int = 0, *, fragment: Raw | None = None, relax: Relax | None = None
) -> Draw:
    """Whether what a model made is a molecule, by its explicit bonds and its geometry;
    a sound one is given its stereo and its SMILES.
    """
    if raw is None or not raw[0].n_atoms:
        return Draw(seed, NOTHING)
    positions = np.asarray(raw[1], np.float64)
    if positions.shape != (raw[0].n_atoms, 3) or not np.isfinite(positions).all():
        return Draw(seed, NO_COORDINATES)
    try:
        molecule = host_function("rdkit", "kekulised")(raw[0])
        if problem := graph_problem(molecule):
            return Draw(seed, problem)
        molecule = host_function("rdkit", "perceived")(molecule, positions)
    except MoleculeError:
        return Draw(seed, SANITISATION)
    reason = str(GeometryCheck(molecule)(positions[None])[0])
    energy = math.nan
    if not reason and relax is not None:
        try:
            moved, energies = relax(molecule, positions[None])
        except MoleculeError:  # a force field without parameters for it
            return Draw(seed, SANITISATION)
        positions, energy = moved[0], float(energies[0])
        reason = str(GeometryCheck(molecule)(positions[None])[0])
    if (
        not reason
        and fragment is not None
        and not holds(molecule, positions, *fragment, _MOVED_A if relax is None else _RELAXED_A)
    ):
        reason = FRAGMENT_LOST
    return Draw(seed, reason, molecule, positions, energy) if not reason else Draw(seed, reason)


def holds(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    fragment: Molecule,
    places_A: NDArray[np.float64],
    tolerance_A: float,
) -> bool:
    """Whether every heavy atom of a fragment is in the molecule, in its place, and
    bonded as it was.

    Orders of bonds are not compared, since a ring has several Kekule structures, and
    the check of valences has seen them.
    """
    heavy = np.flatnonzero(fragment.numbers != 1)
    distance = np.linalg.norm(positions_A[None] - places_A[heavy, None], axis=-1)
    nearest = distance.argmin(1)
    if distance.min(1).max() > tolerance_A or len(set(nearest.tolist())) != len(nearest):
        return False
    if (molecule.numbers[nearest] != fragment.numbers[heavy]).any():
        return False
    found = dict(zip(heavy.tolist(), nearest.tolist(), strict=True))
    pairs = {frozenset(pair) for pair in molecule.bonds.tolist()}
    return all(
        frozenset((found[i], found[j])) in pairs
        for i, j in fragment.bonds.tolist()
        if i in found and j in found
    )
