"""The baseline of `PointModel`: a table of joint angles, each drawn by itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError

Array = NDArray[np.float64]
STRAIGHT = 0.02  # sine of an angle that is too small, or too near to 180 degrees, to turn about


class AngleTable:
    """Sets of points in internal coordinates along a tree; each point's length, angle
    and dihedral is drawn together from one training set, but independently of the other
    points'.

    Parameters
    ----------
    points : array, shape (N, K, 3)
        Training sets.
    parents : sequence of int
        Of each point, -1 for the first; a parent stands before its children.

    Raises
    ------
    InputError
        For parents that are no tree in that order, or fewer than three points.
    """

    def __init__(self, points: Array, parents: Sequence[int]):
        if points.shape[1] < 3 or len(parents) != points.shape[1]:
            raise InputError(f"parents: {len(parents)} for {points.shape[1]} points, 3 at least")
        if parents[0] != -1 or any(not 0 <= p < k for k, p in enumerate(parents) if k):
            raise InputError("parents: the first is -1, each other one stands before its point")
        self.frames = _frames(points, parents)
        self.table = np.stack(
            [_internal(points, k, *self.frames[k]) for k in range(points.shape[1])], 1
        )

    def sample(self, n: int, seed: int = 0) -> Array:
        """n sets, (n, K, 3)."""
        rng = np.random.default_rng(seed)
        count, size, _ = self.table.shape
        rows = rng.integers(count, size=(n, size))
        drawn = self.table[rows, np.arange(size)]
        found = np.zeros((n, size, 3))
        for k in range(1, size):
            found[:, k] = _placed(found, *self.frames[k], drawn[:, k])
        return found


def _frames(points: Array, parents: Sequence[int]) -> list[tuple[int, int, int]]:
    """(parent, angle's, dihedral's reference) of each point; -1 where there is none.

    References are earlier points, the nearest along the tree first; three of them that
    lie on a line in any set are passed over.
    """
    out = [(-1, -1, -1)]
    for k in range(1, len(parents)):
        near = [parents[k]]
        for ring in near:
            linked = [parents[ring], *(j for j in range(k) if parents[j] == ring)]
            near += [j for j in linked if 0 <= j < k and j not in near]
        chosen = next(
            (
                (b, c)
                for b, c in itertools.combinations(near[1:], 2)
                if _bent(points, near[0], b, c)
            ),
            (near[1] if len(near) > 1 else -1, -1),
        )
        out.append((near[0], *chosen))
    return out


def _bent(x: Array, a: int, b: int, c: int) -> bool:
    """Whether three points lie on a line in no set."""
    one, two = x[:, b] - x[:, a], x[:, c] - x[:, a]
    area = np.linalg.norm(np.cross(one, two), axis=-1)
    return bool(
        (area > STRAIGHT * np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)).all()
    )


def _internal(x: Array, k: int, a: int, b: int, c: int) -> Array:
    """(N, 3): length, angle and dihedral of point k; 0 where there is no reference."""
    out = np.zeros((len(x), 3))
    if a < 0:
        return out
    arm = x[:, k] - x[:, a]
    out[:, 0] = np.linalg.norm(arm, axis=-1)
    if b >= 0:
        back = x[:, b] - x[:, a]
        cosine = (arm * back).sum(-1) / (out[:, 0] * np.linalg.norm(back, axis=-1))
        out[:, 1] = np.arccos(np.clip(cosine, -1, 1))
    if c >= 0:
        axes = _axes(x[:, a], x[:, b], x[:, c])
        out[:, 2] = np.arctan2((arm * axes[2]).sum(-1), (arm * axes[1]).sum(-1))
    return out


def _placed(x: Array, a: int, b: int, c: int, values: Array) -> Array:
    """A point (n, 3) of the sets x from its internal coordinates (n, 3)."""
    length, angle, turn = values.T[:, :, None]
    if b < 0:
        return x[:, a] + length * np.array([1.0, 0, 0])
    third = x[:, c] if c >= 0 else x[:, a] + np.array([0.0, 1.0, 0])
    along, across, normal = _axes(x[:, a], x[:, b], third)
    placed: Array = x[:, a] + length * (
        np.cos(angle) * along + np.sin(angle) * (np.cos(turn) * across + np.sin(turn) * normal)
    )
    return placed


def _axes(a: Array, b: Array, c: Array) -> tuple[Array, Array, Array]:
    """Unit vectors at a: towards b, towards c and across it, and across both."""
    along = (b - a) / np.linalg.norm(b - a, axis=-1, keepdims=True)
    side = c - a
    across = side - (side * along).sum(-1, keepdims=True) * along
    size = np.linalg.norm(across, axis=-1, keepdims=True)
    across = across / np.where(size > 1e-9, size, 1.0)
    return along, across, np.cross(along, across)
