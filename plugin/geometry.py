"""Geometry on arrays: superposition, dihedrals and rotations."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
PAIRED = 128  # structures whose pairs with all others are worked on at once


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


def rmsd_pairs(
    first_A: Floats, second_A: Floats, orders: NDArray[np.int64] | None = None
) -> Floats:
    """RMSD after superposition between all structures of two sets, the least over
    renumberings of the atoms.

    Parameters
    ----------
    first_A, second_A : (r, n, 3) and (g, n, 3)
        Positions.
    orders : (p, n) array of int, optional
        Atoms of `second_A` in the order in which they are laid on those of `first_A`;
        None for the order as it is.

    Returns
    -------
    (r, g) array
        In A, to 1e-6 A; to 1e-3 A for structures on a line, and of one on itself.
    """
    a = first_A - first_A.mean(axis=1, keepdims=True)
    b = second_A - second_A.mean(axis=1, keepdims=True)
    (r, n), g = a.shape[:2], len(b)
    overlap = np.full((r, g), -np.inf)
    for order in np.arange(n)[None] if orders is None else orders:
        rows = b[:, order].transpose(1, 0, 2).reshape(n, 3 * g)
        for part in (slice(k, k + PAIRED) for k in range(0, r, PAIRED)):
            columns = a[part].transpose(0, 2, 1).reshape(-1, n)
            found = _overlaps((columns @ rows).reshape(-1, 3, g, 3))
            overlap[part] = np.maximum(overlap[part], found)
    squares = np.square(a).sum(axis=(1, 2))[:, None] + np.square(b).sum(axis=(1, 2))
    out: Floats = np.sqrt(np.maximum(squares - 2 * overlap, 0.0) / n)
    return out


def _overlaps(h: Floats) -> Floats:
    """The trace (r, g) that the best rotation gives covariances (r, 3, g, 3): the sum of
    the singular values s1 > s2 > s3, the last one signed by the determinant.

    s1**2 is the largest root of a cubic, in closed form.
    """
    a, b, c, d, e, f, g, h_, i = (h[:, j, :, k] for j in range(3) for k in range(3))
    xx, yy, zz = a * a + d * d + g * g, b * b + e * e + h_ * h_, c * c + f * f + i * i
    xy, xz, yz = a * b + d * e + g * h_, a * c + d * f + g * i, b * c + e * f + h_ * i
    mean = (xx + yy + zz) / 3
    x, y, z = xx - mean, yy - mean, zz - mean
    size = np.sqrt((x * x + y * y + z * z + 2 * (xy * xy + xz * xz + yz * yz)) / 6) + 1e-300
    half = x * (y * z - yz * yz) - xy * (xy * z - yz * xz) + xz * (xy * yz - y * xz)
    angle = np.arccos(np.clip(half / size / size / size / 2, -1.0, 1.0)) / 3
    largest = mean + 2 * size * np.cos(angle)
    first = np.sqrt(largest)
    determinant = a * (e * i - f * h_) - b * (d * i - f * g) + c * (d * h_ - e * g)
    # (s2 + s3)**2 is s2**2 + s3**2 + 2 s2 s3, and s1 s2 s3 is the determinant
    product = np.divide(determinant, first, out=np.zeros_like(first), where=first > 0)
    out: Floats = first + np.sqrt(np.maximum(3 * mean - largest + 2 * product, 0.0))
    return out


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
