"""Numbers behind the figures: RMSD, clusters, radii, free energies of torsions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equidrift.geometry import align, rmsd_pairs, superposed
from equidrift.graph import heavy_atoms
from equidrift.montecarlo.basins import standard_error
from equidrift.montecarlo.torsion_names import named_tree, torsion_names
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV

Floats = NDArray[np.float64]

CLUSTER_A = 0.5  # RMSD; the threshold of the preset `docking`
MAX_SYMMETRIES = 500  # above: RMSD of the atoms as they are numbered
PROFILE_BINS = 36  # of 10 degrees
MAP_BINS = 24  # of 15 degrees


def torsions_of(molecule: Molecule, positions_A: Floats) -> tuple[Floats, list[str]]:
    """Angles (n, m) in rad of the rotatable bonds, and their names (m,)."""
    tree = named_tree(molecule)
    return tree.torsions(positions_A), torsion_names(molecule, tree.atoms)


def rmsd_matrix(molecule: Molecule, positions_A: Floats) -> Floats:
    """Heavy-atom RMSD (n, n) in A after superposition; over all symmetries unless there
    are more than `MAX_SYMMETRIES`.
    """
    found = host_function("rdkit", "heavy_symmetries")(molecule, limit=MAX_SYMMETRIES + 1)
    if len(found) <= MAX_SYMMETRIES:
        whole: Floats = host_function("rdkit", "rmsd_matrix")(molecule, positions_A, positions_A)
        return whole
    heavy_A = positions_A[:, heavy_atoms(molecule)]
    return rmsd_pairs(heavy_A, heavy_A)


def rmsd_to(molecule: Molecule, positions_A: Floats, reference_A: Floats) -> Floats:
    """RMSD (n,) in A of the heavy atoms, as they are numbered, to one geometry (n_atoms,
    3) after superposition.
    """
    heavy = heavy_atoms(molecule)
    reference = reference_A[heavy]
    moved = np.array([align(frame, reference) for frame in positions_A[:, heavy]])
    return np.asarray(np.sqrt(np.square(moved - reference).sum(axis=-1).mean(axis=-1)))


def aligned(molecule: Molecule, positions_A: Floats, reference_A: Floats) -> Floats:
    """All atoms of frames (n, n_atoms, 3), laid on the reference's heavy atoms."""
    heavy = heavy_atoms(molecule)
    return np.array([superposed(x, x[heavy], reference_A[heavy]) for x in positions_A])


def clusters(rmsd_A: Floats, threshold_A: float = CLUSTER_A) -> list[list[int]]:
    """Conformers within the threshold of the first one of their cluster, in the order
    given, so that the lowest leads if the order is that of the energies.
    """
    found: list[list[int]] = []
    for k in range(len(rmsd_A)):
        home = next((group for group in found if rmsd_A[group[0], k] < threshold_A), None)
        if home is None:
            found.append([k])
        else:
            home.append(k)
    return found


def radius_of_gyration(molecule: Molecule, positions_A: Floats) -> Floats:
    """Radius of gyration (n,) in A of the heavy atoms, each of the same weight."""
    x = positions_A[:, heavy_atoms(molecule)]
    x = x - x.mean(axis=1, keepdims=True)
    return np.asarray(np.sqrt(np.square(x).sum(axis=-1).mean(axis=-1)))


def _free(
    inside: NDArray[np.bool_], temperature_K: float, lengths: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """F and its standard error (b,) in kJ/mol of bins, from who is in which (n, b)."""
    kT = BOLTZMANN_EV_PER_K * temperature_K * KJ_MOL_PER_EV
    population = inside.mean(axis=0)
    free, error = np.full((2, inside.shape[1]), np.nan)
    for k in np.flatnonzero(population):
        free[k] = -kT * np.log(population[k])
        column = inside[:, k].astype(np.float64)
        if not column.all():
            error[k] = kT * standard_error(column, lengths) / population[k]
    return free - np.nanmin(free), error


def torsion_profile(
    angles_rad: Floats, temperature_K: float, lengths: tuple[int, ...] = ()
) -> tuple[Floats, Floats, Floats]:
    """(centres in degrees, F, standard error), each (PROFILE_BINS,), of one torsion (n,)."""
    bins = _bins(angles_rad, PROFILE_BINS)
    inside = bins[:, None] == np.arange(PROFILE_BINS)
    free, error = _free(inside, temperature_K, lengths)
    return (np.arange(PROFILE_BINS) + 0.5) * 360 / PROFILE_BINS - 180, free, error


def torsion_map(
    first_rad: Floats, second_rad: Floats, temperature_K: float, lengths: tuple[int, ...] = ()
) -> tuple[Floats, Floats]:
    """(F, standard error), each (MAP_BINS, MAP_BINS), of two torsions (n,)."""
    bins = _bins(first_rad, MAP_BINS) * MAP_BINS + _bins(second_rad, MAP_BINS)
    free, error = np.full((2, MAP_BINS * MAP_BINS), np.nan)
    seen = np.unique(bins)
    free[seen], error[seen] = _free(bins[:, None] == seen, temperature_K, lengths)
    return free.reshape(MAP_BINS, MAP_BINS), error.reshape(MAP_BINS, MAP_BINS)


def _bins(angles_rad: Floats, count: int) -> NDArray[np.int64]:
    share = np.mod(angles_rad + np.pi, 2 * np.pi) / (2 * np.pi)
    return np.minimum((share * count).astype(np.int64), count - 1)


def atoms_told(names: Sequence[str], molecule: Molecule | None = None) -> str:
    """What the numbers in the names of torsions are, for a caption: nothing if the
    atoms have names of their own.
    """
    unnamed = molecule is not None and molecule.atom_names is None
    if names and (unnamed or any(re.fullmatch(r"\d+(-\d+){3}", name) for name in names)):
        return "; the numbers are those of its atoms, counted from 0"
    return ""


def map_pair(names: list[str]) -> tuple[int, int] | None:
    """The two torsions of a map: phi and psi of the first residue that has both, else
    the first two; None if there are fewer.
    """
    for k, name in enumerate(names):
        psi = f"{name.removesuffix(' phi')} psi"
        if name.endswith(" phi") and psi in names:
            return k, names.index(psi)
    return (0, 1) if len(names) > 1 else None
