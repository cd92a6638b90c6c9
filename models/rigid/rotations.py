"""Rotations as matrices and as rotation vectors (axis times angle). numpy only.

A rotation R turns columns, x -> R x; rotations compose in the body's frame, R exp(v).
"""

from __future__ import annotations

import numpy as np

from equidrift.geometry import Floats

_TINY = 1e-12  # rad, below which the series of sin(w) / w is its first term
# E_j of d/dt exp(t e_j) at 0, (3, 3, 3): E_j x = e_j cross x
GENERATORS = np.array(
    [
        [[0.0, 0, 0], [0, 0, -1], [0, 1, 0]],
        [[0.0, 0, 1], [0, 0, 0], [-1, 0, 0]],
        [[0.0, -1, 0], [1, 0, 0], [0, 0, 0]],
    ]
)
_ROWS = GENERATORS.reshape(3, 9)


def exp(vectors: Floats) -> Floats:
    """Rotations (..., 3, 3) of rotation vectors (..., 3) in radians (Rodrigues)."""
    v = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    safe = np.maximum(angle, _TINY)
    skew = _skew(v)
    out: Floats = (
        np.eye(3) + np.sin(safe) / safe * skew + 2 * (np.sin(safe / 2) / safe) ** 2 * (skew @ skew)
    )
    return out


def log(rotations: Floats) -> Floats:
    """Rotation vectors (..., 3) of rotations (..., 3, 3), at most pi long.

    By way of the quaternion: the arc cosine of the trace loses all digits near 0 and pi.
    """
    q = quaternion(rotations)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    out: Floats = q[..., 1:] * np.where(sine > _TINY, angle / np.maximum(sine, _TINY), 2.0)
    return out


def quaternion(rotations: Floats) -> Floats:
    """Unit quaternions (..., 4), real part first and not negative, of rotations
    (..., 3, 3); the largest component is taken from the diagonal, so none is divided by
    a small number.
    """
    r = np.asarray(rotations, np.float64)
    xx, yy, zz = (r[..., k, k] for k in range(3))
    x, y, z = (r[..., i, j] - r[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    xy, xz, yz = (r[..., i, j] + r[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    # 4 q q^T: each row is the quaternion, times four times one of its components
    rows = [
        [1 + xx + yy + zz, x, y, z],
        [x, 1 + xx - yy - zz, xy, xz],
        [y, xy, 1 - xx + yy - zz, yz],
        [z, xz, yz, 1 - xx - yy + zz],
    ]
    table = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)  # (..., 4, 4)
    best = np.argmax(np.diagonal(table, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(table, best[..., None, None], axis=-2)[..., 0, :]
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    out: Floats = q * np.where(q[..., :1] < 0, -1.0, 1.0)
    return out


def angle(rotations: Floats) -> Floats:
    """Angles (...) in radians, 0 to pi, of rotations (..., 3, 3)."""
    q = quaternion(rotations)
    out: Floats = 2 * np.arctan2(np.linalg.norm(q[..., 1:], axis=-1), q[..., 0])
    return out


def haar(n: int, rng: np.random.Generator) -> Floats:
    """n rotations (n, 3, 3), uniform on SO(3)."""
    q = rng.standard_normal((n, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    w, v = q[:, 0, None, None], q[:, 1:]
    skew = _skew(v)
    out: Floats = np.eye(3) + 2 * w * skew + 2 * (skew @ skew)
    return out


def fitted(old: Floats, new: Floats) -> Floats:
    """The rotation (3, 3) that brings arms `old` (k, 3) onto `new` (k, 3) best (Kabsch)."""
    u, _, v = np.linalg.svd(new.T @ old)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return np.asarray(u @ v, np.float64)


def mean(rotations: Floats, weights: Floats) -> Floats:
    """The rotation (3, 3) nearest to the weighted mean of matrices (k, 3, 3)."""
    u, _, v = np.linalg.svd(np.einsum("k,kij->ij", weights, rotations))
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return np.asarray(u @ v, np.float64)


def left_jacobian(vectors: Floats) -> Floats:
    """(..., 3, 3) J of rotation vectors (..., 3): exp(v + d) = exp(J d) exp(v) for small d."""
    v = np.asarray(vectors, np.float64)
    angle = np.maximum(np.linalg.norm(v, axis=-1), _TINY)[..., None, None]
    # (w - sin w) / w^3 loses its digits below 1e-2 rad, where its series has them all
    third = np.where(
        angle < 1e-2, 1 / 6 - angle**2 / 120, (angle - np.sin(angle)) / np.maximum(angle, 1e-2) ** 3
    )
    skew = _skew(v)
    out: Floats = np.eye(3) + 2 * (np.sin(angle / 2) / angle) ** 2 * skew + third * (skew @ skew)
    return out


def _skew(v: Floats) -> Floats:
    """(..., 3, 3) of vectors (..., 3): the matrix of v x."""
    out: Floats = (v @ _ROWS).reshape(*v.shape, 3)
    return out


def small_vectors(rotations: Floats) -> Floats:
    """(..., 3) axis times sin w of rotations (..., 3, 3): the rotation vector to third
    order in w, for a fraction of the cost of `log`.
    """
    out: Floats = 0.5 * (rotations.reshape(*rotations.shape[:-2], 9) @ _ROWS.T)
    return out
