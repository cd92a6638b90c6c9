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

NOTHING, SANITISATION, FRAGMENT_LOST, REPEATED, UNCHANGED = (
    "no molecule",
    "sanitisation",
    "fragment lost",
    "repeated",
    "the molecule that was given",
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


@dataclass(frozen=True, eq=False)
class Held:
    """What a draw must keep: a fragment; with `sites`, some of its hydrogens, something
    new must be at each heavy atom that carries one of them, and nowhere else, and the
    molecule must not be that of the SMILES `start`.
    """

    fragment: Raw
    sites: NDArray[np.int64] | None = None
    start: str = ""


def judge(
    raw: Raw | None, seed: int = 0, *, held: Held | None = None, relax: Relax | None = None
) -> Draw:
    """Whether what a model made is a molecule, by its explicit bonds and its geometry,
    and keeps what it must; a sound one is given its stereo and its SMILES.
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
    if not reason and held is not None:
        tolerance_A = _MOVED_A if relax is None else _RELAXED_A
        if not holds(molecule, positions, held, tolerance_A):
            reason = FRAGMENT_LOST
        elif molecule.smiles == held.start:
            reason = UNCHANGED
    return Draw(seed, reason, molecule, positions, energy) if not reason else Draw(seed, reason)


def holds(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    held: Held,
    tolerance_A: float,
) -> bool:
    """Whether every heavy atom of a fragment is in the molecule, in its place, and
    bonded as it was; and something new is where it must be.

    Orders of bonds are not compared, since a ring has several Kekule structures, and
    the check of valences has seen them.
    """
    fragment, places_A = held.fragment
    heavy = np.flatnonzero(fragment.numbers != 1)
    distance = np.linalg.norm(positions_A[None] - places_A[heavy, None], axis=-1)
    nearest = distance.argmin(1)
    if distance.min(1).max() > tolerance_A or len(set(nearest.tolist())) != len(nearest):
        return False
    if (molecule.numbers[nearest] != fragment.numbers[heavy]).any():
        return False
    found = dict(zip(heavy.tolist(), nearest.tolist(), strict=True))
    pairs = {frozenset(pair) for pair in molecule.bonds.tolist()}
    kept = all(
        frozenset((found[i], found[j])) in pairs
        for i, j in fragment.bonds.tolist()
        if i in found and j in found
    )
    if not kept or held.sites is None:
        return kept
    old = set(nearest.tolist())
    ends = np.concatenate([molecule.bonds, molecule.bonds[:, ::-1]]).tolist()
    grown = {i for i, j in ends if i in old and j not in old and molecule.numbers[j] != 1}
    at_sites = fragment.bonds[np.isin(fragment.bonds, held.sites).any(1)]
    return grown == {found[i] for i in at_sites.ravel().tolist() if i in found}
