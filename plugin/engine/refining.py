"""Which conformers keep what a refiner made of them: it is right for what it was
trained on, and only there. numpy only.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.bond_lengths import is_known, references_A
from equidrift.checks.conditions import Known
from equidrift.checks.geometry import GeometryCheck
from equidrift.geometry import Floats
from equidrift.protocols import EnergyRefiner, Refiner
from equidrift.records import Molecule

NOT_TRAINED = "element outside the training data"
UNFAMILIAR = "unfamiliar bond"
# A refiner that predicts displacements moves a bond by 0.01 to 0.03 A if it knows it; by more than
# this it is asked for a reason. One that goes down an energy has its reason: where the learned
# energies had moved such a bond of 26 validation molecules, GFN2-xTB released less in 23 (median
# 11.6 -> 2.2 kcal/mol), and at most 1.2 kcal/mol more in the others.
MOVED_A = 0.06
BESIDE_A = 0.035  # how far outside the GFN2-xTB references of its environment a moved bond may be
UNKNOWN_A = 0.10  # how far a bond of an environment without reference may move
# Farther than this not even they: P-S of thiophosphates, which none of their training molecules
# has, came out at 2.26 to 2.29 A, where GFN2-xTB has 2.10 and MMFF94 2.08.
ENERGY_MOVED_A = 0.15


@dataclass(frozen=True)
class Marked:
    """Conformers and what is known of each.

    Parameters
    ----------
    positions_A : (k, n_atoms, 3)
        The conformers.
    refined : (k,)
        Whether each is refined.
    energies_eV : (k,)
        By the energy that refined them; without one, by the force field, of the
        conformer before its refinement.
    """

    positions_A: NDArray[np.float64]
    refined: NDArray[np.bool_]
    energies_eV: NDArray[np.float64]


def knows_elements(molecule: Molecule, elements: Collection[int] | None) -> bool:
    """Whether every element of a molecule is among those a model was trained on; None
    is any.
    """
    return elements is None or set(molecule.numbers.tolist()) <= set(elements)


def unfamiliar_bonds(
    molecule: Molecule,
    before_A: NDArray[np.float64],
    after_A: NDArray[np.float64],
    free_A: float = 0.0,
) -> NDArray[np.bool_]:
    """Which conformers (k,) have a bond that the refiner has spoilt.

    A bond is spoilt if it was moved by more than MOVED_A, and is farther from the
    references of its environment than it was; in an environment without references, if
    it was moved by more than UNKNOWN_A; never, if by at most `free_A`.
    """
    i, j = molecule.bonds.T
    before = np.linalg.norm(before_A[:, i] - before_A[:, j], axis=-1)  # (k, m)
    after = np.linalg.norm(after_A[:, i] - after_A[:, j], axis=-1)
    references = references_A(molecule)
    shortest, longest = references[:, 0], references[:, 1]
    known = is_known(molecule)

    def beside(length: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(np.maximum(shortest - length, length - longest), 0.0)

    off = beside(after)
    moved = np.abs(after - before)
    spoilt = known & (moved > MOVED_A) & (off > BESIDE_A) & (off > beside(before))
    lost = ~known & (moved > UNKNOWN_A)
    wrong: NDArray[np.bool_] = ((spoilt | lost) & (moved > free_A)).any(axis=1)
    return wrong


def refusals(
    check: GeometryCheck, before_A: Floats, after_A: Floats, way: Refiner | None = None
) -> NDArray[np.str_]:
    """Why the refined geometry of each conformer is not to be used; the empty string
    if it is.

    Parameters
    ----------
    check : GeometryCheck
        Of the molecule.
    before_A, after_A : (k, n_atoms, 3) array
        Unrefined and refined geometries.
    way : Refiner or None
        What refined them: one with an energy may change bonds by more than is known of
        them, up to ENERGY_MOVED_A, and those of unsound geometries by any length.
    """
    reasons = check(after_A).astype("U40")
    by_energy = isinstance(way, EnergyRefiner)
    comparable = np.isfinite(before_A).all((1, 2))
    if by_energy:  # what was wrong before may be moved as far as it takes
        comparable &= check(before_A) == ""
    rows = np.flatnonzero((reasons == "") & comparable)
    free_A = ENERGY_MOVED_A if by_energy else 0.0
    spoilt = unfamiliar_bonds(check.molecule, before_A[rows], after_A[rows], free_A)
    reasons[rows[spoilt]] = UNFAMILIAR
    return reasons


def better_of(
    check: GeometryCheck,
    before_A: Floats,
    after_A: Floats,
    known: Known | None = None,
    way: Refiner | None = None,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Of each conformer the refined geometry, or the one before if only that is sound.

    Parameters
    ----------
    check, before_A, after_A
        As for `refusals`.
    known : Known or None
        What is held.
    way : Refiner or None
        As for `refusals`.

    Returns
    -------
    positions_A : (k, n_atoms, 3)
        The better ones.
    refined : (k,) bool
        Which of them are refined.
    """
    reasons, unrefined = refusals(check, before_A, after_A, way), check(before_A)
    if known is not None:
        reasons = known.reasons(after_A, reasons)
        unrefined = known.reasons(before_A, unrefined)
        reasons[reasons == UNFAMILIAR] = ""  # around a held core bonds are what the core makes them
    refined = (reasons == "") | (unrefined != "")
    positions = np.where(refined[:, None, None], after_A, before_A)
    return positions, refined & np.isfinite(positions).all((1, 2))
