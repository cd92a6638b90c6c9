"""Axial stereo: whether the dihedral about an axis has the sign it must have. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLAT_SINE = 0.1  # of a dihedral: within 6 degrees of a plane the chirality is unclear


def wrong_axes(positions_A: NDArray[np.float64], axial: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Axes that do not clearly have the right chirality.

    Parameters
    ----------
    positions_A : ndarray
        (k, n_atoms, 3) conformers in A.
    axial : ndarray
        (m, 5) rows ``(a, i, j, b, positive)`` as in `Molecule`.

    Returns
    -------
    ndarray
        (k, m) bool: the dihedral a-i...j-b has the other sign, or lies in a plane.
    """
    a, i, j, b = (positions_A[:, column] for column in axial[:, :4].T)
    axis = j - i
    left, right = np.cross(a - i, axis), np.cross(b - j, axis)
    lengths = [np.linalg.norm(part, axis=-1) for part in (left, right, axis)]
    scale = np.prod(lengths, axis=0)
    sine = np.einsum("kmi,kmi->km", np.cross(left, right), axis)
    sign = 2 * axial[:, 4] - 1
    wrong: NDArray[np.bool_] = sign * sine <= FLAT_SINE * scale
    return wrong
