"""Registration of two molecules or two sets of points, by the noised density of the
second.

Noise of width s on the points of B is a density, sum_j exp(-|x - b_j|^2 / 2 s^2), and the
pose of A is taken back from noise to none along it: from many rotations, uniform at the
largest s, to the smallest. At each s the overlap

    O(R, t) = sum_ij w_ij exp(-|R a_i + t - b_j|^2 / 2 s^2)

climbs by the step that is best for its quadratic bound from below: the weighted Kabsch
fit with weights w_ij exp(...), the mean shift of Comaniciu and Meer (IEEE PAMI 2002, 24,
603) on SE(3). No step lowers the overlap, and none needs a step size. For molecules w
tells which elements are alike, and O at the last s is the overlap of their volumes in
Gaussians (Grant and Pickup, J. Phys. Chem. 1995, 99, 3503).

Points that are no atoms may be of two surfaces of which one is seen in part. For them the
likelihood climbs first, sum_i log(sum_j exp(-|R a_i + t - b_j|^2 / 2 s^2) + c), where c
stands for a point that lies beside B: each point of A then counts once however many of B
are near it. Its steps are those of expectation maximisation (Myronenko and Song, IEEE
PAMI 2010, 32, 2262).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.rigid import rotations

STARTS, LEVELS, STEPS = 64, 12, 3  # rotations, noise levels, steps at each
MOLECULE_A = 0.7  # the last noise level of atoms: half a bond
LAST_STEPS = 60  # at the last level, of the best
TELLING_STEPS = 15  # from which the best of the last few is told
KEPT, FINALISTS = 12, 3  # starts that the finest levels are for, and the last one
SAME_RAD = 0.2  # rotations closer than this are one
UNLIKE = 0.3  # weight of a pair of atoms of different elements
MOST_POINTS = 250  # of a larger set, so many are enough until the last level
# exp(-x^2 / 2) of a point three noise widths from all of B: what counts as lying beside it, so
# that of two parts of one surface those points pull that both have
BESIDE = float(np.exp(-4.5))
_FEWEST = 3


@dataclass(frozen=True, eq=False)
class Registration:
    """How A lies on B.

    Parameters
    ----------
    rotation : (3, 3) array
        A proper rotation R.
    shift : (3,) array
        t, in A or the unit of the points: a becomes R a + t.
    similarity : float
        Overlap over that of two identical sets, O_AB / (O_AA + O_BB - O_AB): 1 for two
        equal sets that lie on each other.
    distance : float
        Root mean square distance from each point of A to the nearest one of B.
    """

    rotation: Floats
    shift: Floats
    similarity: float
    distance: float

    def placed(self, points: ArrayLike) -> Floats:
        """Points (..., n, 3) of A, moved onto B."""
        moved: Floats = np.asarray(points, np.float64) @ self.rotation.T + self.shift
        return moved


def register(
    a: ArrayLike,
    b: ArrayLike,
    *,
    kinds: tuple[ArrayLike, ArrayLike] | None = None,
    finest: float | None = None,
    starts: int = STARTS,
    seed: int = 0,
) -> Registration:
    """Rotate and shift the points of A onto those of B; no mirror image is taken.

    Parameters
    ----------
    a, b : (n, 3) and (m, 3) array
        Points, or positions of atoms in A.
    kinds : pair of (n,) and (m,) array of int, optional
        Atomic numbers: pairs of different elements count `UNLIKE`.
    finest : float, optional
        The last noise level; None takes half of the usual distance between neighbours
        in B, or half a bond if there are kinds.
    starts : int
        Rotations to begin from.
    seed : int
        Of these.

    Raises
    ------
    InputError
        For fewer than three points, or points that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> b = np.array([[0, 0, 0], [1.5, 0, 0], [0, 2.2, 0], [0, 0, 3.1]])
    >>> a = b @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]).T + 5
    >>> found = register(a, b)
    >>> round(found.similarity, 3), bool(np.allclose(found.placed(a), b, atol=1e-3))
    (1.0, True)
    """
    first, second = _points("a", a), _points("b", b)
    alike = _weights(kinds, len(first), len(second))
    last = finest or (_spacing(second) / 2 if kinds is None else MOLECULE_A)
    # two draws of a surface tell right from wrong at their spacing, and at half of it no more
    told = last if kinds is not None else 2 * last
    size = float(np.sqrt(np.square(second - second.mean(0)).sum(1).mean()))
    # of a part of a surface wide noise shows the middle alone, where it does not belong
    widest = max(2 * told, size / 3 if kinds is None else size)
    rng = np.random.default_rng(seed)
    poses = rotations.haar(starts, rng), np.tile(second.mean(0), (starts, 1))
    centred, centre = first - first.mean(axis=0), first.mean(axis=0)
    some = [_subset(len(first), rng), _subset(len(second), rng)]
    coarse = Sets(centred[some[0]], second[some[1]], alike[np.ix_(*some)], kinds is None)
    levels = np.geomspace(widest, told, LEVELS)
    for k, level in enumerate(levels):
        if k == LEVELS // 2:
            poses = _best(poses, coarse, level, KEPT)
        poses = _climbed(poses, coarse, level, STEPS)
    whole = Sets(centred, second, alike, kinds is None)
    poses = _climbed(_best(poses, coarse, told, FINALISTS), whole, told, TELLING_STEPS)
    best = _best(poses, whole, told, 1)
    # the overlap is the same from both sides, and equal sets end exactly on each other; a part
    # of a surface lies better by its likelihood
    found = []
    for likely in {False, kinds is None}:
        (turn,), (shift,) = _climbed(best, replace(whole, likely=likely), last, LAST_STEPS)
        found.append(_judged(turn, shift - turn @ centre, first, second, kinds, last))
    return min(found, key=lambda pose: pose.distance)


Poses = tuple[Floats, Floats]  # rotations (k, 3, 3) and shifts (k, 3)


@dataclass(frozen=True, eq=False)
class Sets:
    """Points a (n, 3) and b (m, 3), weights (n, m), and whether the likelihood of each
    point of a is climbed and not the overlap.
    """

    a: Floats
    b: Floats
    alike: Floats
    likely: bool


def _climbed(poses: Poses, sets: Sets, level: float, steps: int) -> Poses:
    """Poses after steps up the overlap, or the likelihood, of one noise level."""
    (turns, shifts), a, b = poses, sets.a, sets.b
    for _ in range(steps):
        w = _overlaps((turns, shifts), sets, level)
        if sets.likely:
            w /= w.sum(axis=2, keepdims=True) + BESIDE
        total = np.maximum(w.sum(axis=(1, 2)), np.finfo(float).tiny)[:, None]
        mean_a = np.einsum("kij,ix->kx", w, a) / total
        mean_b = np.einsum("kij,jx->kx", w, b) / total
        both = np.einsum("kij,jx,iy->kxy", w, b, a, optimize=True)
        u, _, v = np.linalg.svd(both - total[..., None] * mean_b[:, :, None] * mean_a[:, None])
        u[:, :, -1] *= np.sign(np.linalg.det(u @ v))[:, None]
        turns = u @ v
        shifts = mean_b - np.einsum("kxy,ky->kx", turns, mean_a)
    return turns, shifts


def _overlaps(poses: Poses, sets: Sets, level: float) -> Floats:
    """(k, n, m) terms of the overlap."""
    (turns, shifts), b = poses, sets.b
    moved = np.einsum("kxy,iy->kix", turns, sets.a) + shifts[:, None]
    d2 = (
        np.square(moved).sum(-1)[:, :, None]
        + np.square(b).sum(-1)
        - 2 * np.einsum("kix,jx->kij", moved, b)
    )
    out: Floats = sets.alike * np.exp(-np.maximum(d2, 0) / (2 * level**2))
    return out


def _best(poses: Poses, sets: Sets, level: float, n: int) -> Poses:
    """Up to n poses of the largest overlap or likelihood, the best first: of those that
    climbed to the same place one.
    """
    terms = _overlaps(poses, sets, level).sum(axis=2)
    worth = (np.log(terms + BESIDE) if sets.likely else terms).sum(axis=1)
    kept: list[int] = []
    for k in np.argsort(-worth, kind="stable").tolist():
        if len(kept) < n and all(
            rotations.angle(poses[0][k] @ poses[0][j].T) > SAME_RAD for j in kept
        ):
            kept.append(k)
    return poses[0][kept], poses[1][kept]


def _judged(
    turn: Floats,
    shift: Floats,
    a: Floats,
    b: Floats,
    kinds: tuple[ArrayLike, ArrayLike] | None,
    level: float,
) -> Registration:
    """The record of one pose."""
    still = np.eye(3)[None], np.zeros((1, 3))

    def overlap(x: Floats, y: Floats, rows: int, columns: int) -> float:
        pair = None if kinds is None else (kinds[rows], kinds[columns])
        alike = _weights(pair, len(x), len(y))
        return float(_overlaps(still, Sets(x, y, alike, False), level).sum())

    moved = a @ turn.T + shift
    shared = overlap(moved, b, 0, 1)
    alone = overlap(moved, moved, 0, 0) + overlap(b, b, 1, 1)
    nearest2 = np.square(moved[:, None] - b).sum(-1).min(axis=1)
    return Registration(turn, shift, shared / (alone - shared), float(np.sqrt(nearest2.mean())))


def _weights(kinds: tuple[ArrayLike, ArrayLike] | None, n: int, m: int) -> Floats:
    """(n, m) how alike the points are."""
    if kinds is None:
        return np.ones((n, m))
    one, other = (np.asarray(kind) for kind in kinds)
    if one.shape != (n,) or other.shape != (m,):
        raise InputError(f"kinds must be ({n},) and ({m},), not {one.shape} and {other.shape}")
    out: Floats = np.where(one[:, None] == other, 1.0, UNLIKE)
    return out


def _subset(n: int, rng: np.random.Generator) -> np.ndarray:
    """Which points of a set stand for it until the last level."""
    return np.arange(n) if n <= MOST_POINTS else np.sort(rng.choice(n, MOST_POINTS, replace=False))


def _spacing(points: Floats) -> float:
    """The usual distance from a point to the nearest other one."""
    some = points[:: max(1, len(points) // MOST_POINTS)]
    d2 = np.square(some[:, None] - points).sum(-1)
    d2[d2 == 0] = np.inf
    nearest = np.sqrt(d2.min(axis=1))
    return float(np.median(nearest[np.isfinite(nearest)])) if np.isfinite(nearest).any() else 1.0


def _points(name: str, given: ArrayLike) -> Floats:
    points = np.asarray(given, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(f"{name} must be finite, (n, 3), not of shape {points.shape}")
    if len(points) < _FEWEST:
        raise InputError(
            f"{name} has {len(points)} points, and a pose needs at least {_FEWEST}; give more"
        )
    return points
