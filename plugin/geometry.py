"""Geometry on arrays: superposition, dihedrals and rotations."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def align(moving: Floats, fixed: Floats) -> Floats:
    """`moving` (n, 3) rotated and shifted onto `fixed` (Kabsch)."""
    a, b = moving - moving.mean(0), fixed - fixed.mean(0)
    u, _, v = np.linalg.svd(a.T @ b)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    aligned: Floats = a @ (u @ v) + fixed.mean(0)
    return aligned


def superposed(moving: Floats, onto_from: Floats, onto: Floats) -> Floats:
    """`moving` (n, 3) by the rotation and shift that brings `onto_from` (k, 3) onto
    `onto` (k, 3) (Kabsch).
    """
    a, b = onto_from.mean(0), onto.mean(0)
    u, _, v = np.linalg.svd((onto_from - a).T @ (onto - b))
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    turned: Floats = (moving - a) @ (u @ v) + b
    return turned


def wrap(phi: ArrayLike) -> Floats:
    """Angles brought to [-pi, pi)."""
    out: Floats = (np.asarray(phi, np.float64) + np.pi) % (2 * np.pi) - np.pi
    return out


def cross(a: Floats, b: Floats) -> Floats:
    """The cross product (..., 3) of vectors (..., 3) and (..., 3), to the last bit numpy's,
    which spends most of its time on a few vectors with their axes.
    """
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        out[..., i] = a[..., j] * b[..., k] - a[..., k] * b[..., j]
    return out


def dihedrals(positions_A: Floats, atoms: NDArray[np.int64]) -> Floats:
    """Torsion angles in radians, IUPAC sign: positions_A (..., n, 3), atoms (m, 4) ->
    (..., m) in [-pi, pi].
    """
    x = np.asarray(positions_A, np.float64)
    a, b, c, d = (x[..., column, :] for column in np.asarray(atoms, np.int64).reshape(-1, 4).T)
    axis = c - b
    left, right = cross(b - a, axis), cross(axis, d - c)
    sine = np.einsum("...i,...i->...", cross(left, right), axis) / np.maximum(
        np.linalg.norm(axis, axis=-1), 1e-300
    )
    out: Floats = np.arctan2(sine, np.einsum("...i,...i->...", left, right))
    return out


def rotated(arms: Floats, axis: Floats, angle: Floats) -> Floats:
    """Rodrigues' rotation of arms (..., k, 3) about unit axis (..., 3) by angle (...)."""
    cosine, sine, axis = (
        np.cos(angle)[..., None, None],
        np.sin(angle)[..., None, None],
        axis[..., None, :],
    )
    along = np.einsum("...i,...i->...", arms, np.broadcast_to(axis, arms.shape))[..., None]
    out: Floats = arms * cosine + cross(axis, arms) * sine + axis * (along * (1 - cosine))
    return out
