"""Chirality of conformers made from distances, which cannot tell mirror images apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def signed_volumes(
    positions_A: NDArray[np.float64], tetrahedral: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(r_a - r_d) . ((r_b - r_d) x (r_c - r_d)) of each row `(centre, a, b, c, d)`, in
    A^3.

    Parameters
    ----------
    positions_A : float64, shape (B, n, 3)
    tetrahedral : int64, shape (k, 5)
        As in `Molecule`: positive is right.

    Returns
    -------
    (B, k)
    """
    a, b, c, d = (positions_A[:, tetrahedral[:, k]] for k in range(1, 5))
    volumes: NDArray[np.float64] = np.einsum("bki,bki->bk", a - d, np.cross(b - d, c - d))
    return volumes


def chirality_step(
    positions_A: NDArray[np.float64], tetrahedral: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Mirror the conformers in which every stereocentre is wrong; distances cannot tell
    the two; arXiv:2403.01430, reverse process.

    Returns ------- positions (B, n, 3), and whether every centre is now right, (B,).
    Where only some are wrong nothing is changed.
    """
    volumes = signed_volumes(positions_A, tetrahedral)
    mirror = np.asarray((volumes < 0).all(1)) & (len(tetrahedral) > 0)
    flipped = np.where(mirror[:, None, None], positions_A * np.array([-1.0, 1.0, 1.0]), positions_A)
    return flipped, np.asarray((volumes > 0).all(1)) | mirror
