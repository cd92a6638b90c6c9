"""Geometry on arrays: superposition, dihedrals and rotations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def align(moving: NDArray, fixed: NDArray) -> NDArray:
    """`moving` (n, 3) rotated and shifted onto `fixed` (Kabsch)."""
    a, b = moving - moving.mean(0), fixed - fixed.mean(0)
    u, _, v = np.linalg.svd(a.T @ b)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return a @ (u @ v) + fixed.mean(0)
