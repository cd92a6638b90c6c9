"""Distinct conformers: what is too close to another one is drawn again, within a bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equidrift.engine.tasks import Task
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.text import counted

REPEAT = "repeat"  # the reason that counts a draw too close to another conformer
VAIN_ROUNDS = 2  # rounds of replacements without a new conformer after which a search ends


def distinct(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    energies_eV: NDArray[np.float64] | None,
    threshold_A: float,
) -> NDArray[np.bool_]:
    """Which conformers to keep so that no two are closer than the threshold (heavy
    atoms, all symmetries); of two close ones the lower in energy, else the earlier.

    Parameters
    ----------
    molecule : Molecule
        Whose conformers they are.
    positions_A : ndarray
        Shape (k, n_atoms, 3).
    energies_eV : ndarray or None
        Shape (k,); one without energy is considered last.
    threshold_A : float
        RMSD after the best alignment.
    """
    order = np.arange(len(positions_A))
    if energies_eV is not None:
        order = np.argsort(energies_eV, kind="stable")
    keep: NDArray[np.bool_] = host_function("rdkit", "distinct")(
        molecule, positions_A, threshold_A, order
    )
    return keep


def draw_repeats_again(task: Task, threshold_A: float | None) -> None:
    """Once all samples of a task are valid, leave open the places of those that are too
    close to another one, or end the search.

    Parameters
    ----------
    task : Task
        Of all samples of its molecule.
    threshold_A : float or None
        RMSD below which two conformers are one; None asks for no distinct ones.

    Notes
    -----
    The search ends when all are distinct, or when VAIN_ROUNDS rounds of replacements in
    a row have brought no further conformer: the molecule may have no more.
    """
    if threshold_A is None or task.error is not None or task.settled or not task.valid.all():
        return
    found = _drop_repeats(task, threshold_A)
    task.vain = task.vain + 1 if task.most and found <= task.most else 0
    task.most = max(task.most, found)
    task.settled = found == len(task.valid) or task.vain >= VAIN_ROUNDS


def end_search(task: Task, threshold_A: float | None) -> None:
    """Leave a task with the distinct conformers that it has."""
    if threshold_A is not None and not task.settled:
        _drop_repeats(task, threshold_A)
        task.settled = True


def _drop_repeats(task: Task, threshold_A: float) -> int:
    """Take back what is too close to another conformer; how many are left."""
    slots = np.flatnonzero(task.valid)
    keep = distinct(task.molecule, task.positions[slots], task.energies[slots], threshold_A)
    task.drop(slots[~keep], REPEAT)
    return int(keep.sum())


def missing(task: Task, threshold_A: float | None) -> list[str]:
    """The note that fewer distinct conformers were found than asked for, if so."""
    found, wanted = int(task.valid.sum()), len(task.valid)
    if threshold_A is None or not task.settled or found == wanted:
        return []
    return [
        f"{found} of {counted(wanted, 'conformer')} that differ by {threshold_A:g} A or "
        "more were found in "
        f"{counted(task.drawn, 'draw')}, {wanted - found} are missing: the molecule may "
        "have no more"
    ]
