"""Force fields in the chain of models: raw conformers relaxed by MMFF94, by UFF if
that has no types, and not at all if neither has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.bond_lengths import references_A
from equidrift.checks.conditions import Known
from equidrift.checks.geometry import CUMULATED, DOUBLE_BOND, TETRAHEDRAL, GeometryCheck
from equidrift.engine.refining import better_of
from equidrift.records import Molecule
from equidrift.registry import host_function

Relaxed = tuple[NDArray[np.float64], NDArray[np.float64]]  # positions_A, energies_eV


def field_of(molecule: Molecule) -> str:
    """The force field of a molecule: "MMFF94", else "UFF", else the empty string."""
    return str(host_function("rdkit", "force_field_of")(molecule))


def relaxed(molecule: Molecule, positions_A: NDArray[np.float64], *, num_threads: int) -> Relaxed:
    """Conformers (k, n_atoms, 3) relaxed by the molecule's force field, and their
    energies_eV (k,), NaN if it has none.
    """
    if molecule.n_atoms == 2:  # two atoms have one number, which no force field gives as well
        return at_reference(molecule, positions_A), np.full(len(positions_A), np.nan)
    relax: Callable[..., Any] = host_function("rdkit", "field_relax")
    moved, energies = relax(molecule, positions_A, num_threads=num_threads)
    return keep_sound(molecule, positions_A, moved), energies


def relaxed_around(
    molecule: Molecule, positions_A: NDArray[np.float64], known: Known, *, refined: bool
) -> Relaxed:
    """Conformers relaxed around held atoms, without energies: these strain the bonds at
    their border.

    A held core has the geometry of another method, to which MMFF94 bends what is free.
    So every other conformer that is sound goes without it if it is `refined`
    afterwards: from there the refiner finds its own minima. Distances are kept by
    MMFF94's springs, and need it.
    """
    raw = (np.arange(len(positions_A)) % 2 == 1) & (
        known.reasons(positions_A, GeometryCheck(molecule)(positions_A)) == ""
    )
    raw &= refined and not len(known.pairs)
    held = positions_A.copy()
    held[~raw], _ = relaxed_holding(molecule, positions_A[~raw], known)
    return held, np.full(len(positions_A), np.nan)


def relaxed_holding(molecule: Molecule, positions_A: NDArray[np.float64], known: Known) -> Relaxed:
    """Conformers (k, n_atoms, 3) relaxed around held atoms, and their energies_eV (k,).

    The strain at the border of a held core is much the same in all of them, so that their
    energies may be compared; those of springs are left out.
    """
    relax: Callable[..., Relaxed] = host_function("rdkit", "relaxed_around")
    return relax(molecule, positions_A, known)


def near_references(molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformers (k, n_atoms, 3) that no network refines, with bonds within the GFN2-xTB
    references and flat boron; each stays as it is if that spoils it.
    """
    draw: Callable[..., NDArray[np.float64]] = host_function("rdkit", "near_references")
    return better_of(GeometryCheck(molecule), positions_A, draw(molecule, positions_A))[0]


def at_reference(molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformers (k, 2, 3) of a diatomic molecule with the GFN2-xTB bond length; as
    they are if none is known.
    """
    length = references_A(molecule).mean()
    step = positions_A[:, 1] - positions_A[:, 0]
    scale = length / np.linalg.norm(step, axis=-1, keepdims=True)
    if not np.isfinite(length):
        return positions_A
    out = positions_A.copy()
    out[:, 1] = positions_A[:, 0] + step * scale
    return out


def keep_sound(
    molecule: Molecule, before_A: NDArray[np.float64], after_A: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`after_A`, but for conformers whose stereo or cumulated bonds a force field has
    spoilt (MMFF94 flattens allenes).
    """
    check = GeometryCheck(molecule)
    spoilt = np.isin(check(after_A), (CUMULATED, DOUBLE_BOND, TETRAHEDRAL))
    if not spoilt.any():
        return after_A
    out = after_A.copy()
    back = np.flatnonzero(spoilt)
    back = back[~np.isin(check(before_A[back]), (CUMULATED, DOUBLE_BOND, TETRAHEDRAL))]
    out[back] = before_A[back]
    return out
