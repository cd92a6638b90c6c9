"""Which of two mirror images a set of labelled points is.

Distances cannot tell; signed volumes of four points can. Of the sets that a model
learns from, `Handedness` keeps the volumes whose sign never changes (a stereocentre, an
elbow that bends one way) and a linear rule on the most telling others.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST_QUADRUPLES = 3000  # that are looked at; all of them up to 17 points
TELLING, FIXED = 32, 64  # quadruples kept at most, of either kind
LEAST_VOLUME = 0.1  # of a fixed sign: smallest volume over its root mean square
RIDGE = 0.05
TOLD = 0.75  # share of the training sets below which mirror images are left to chance


@dataclass(frozen=True)
class Handedness:
    """A rule that tells mirror images, learnt by `Handedness.of`.

    Attributes
    ----------
    quadruples : array, shape (m, 4)
        Points of each volume.
    weights : array, shape (m,)
        Of the volumes in the rule; a positive sum is a set as it should be.
    signs : array, shape (m,)
        -1 or 1 where the sign of the volume never changed, else 0.
    told : float
        Share of the training sets, one half of which made the rule, that the rule
        tells from their mirror images.
    """

    quadruples: NDArray[np.int64]
    weights: Array
    signs: Array
    told: float

    @classmethod
    def of(cls, points: Array, seed: int = 0) -> Handedness:
        """The rule of sets (N, K, 3)."""
        quadruples = _quadruples(points.shape[1], seed)
        if not len(quadruples):
            return cls(quadruples, np.zeros(0), np.zeros(0), 0.5)
        found = volumes(points, quadruples)
        size = np.sqrt(np.square(found).mean(0))
        flat = size <= 1e-9 * max(1.0, float(size.max()))
        share = np.where(flat, 0.0, found / np.where(flat, 1.0, size))
        same = np.abs(np.sign(share).sum(0)) == len(share)
        sure = np.where(same, np.abs(share).min(0), 0.0)
        fixed = [k for k in np.argsort(-sure)[:FIXED] if sure[k] >= LEAST_VOLUME]
        telling = np.argsort(-np.abs(share.mean(0)), kind="stable")[:TELLING]
        kept = np.array(sorted({*fixed, *telling.tolist()}), np.int64)
        half = share[::2, kept]
        moments = half.T @ half / len(half) + RIDGE * np.eye(len(kept))
        rule = np.linalg.solve(moments, half.mean(0))
        told = float((share[:, kept] @ rule > 0).mean())
        signs = np.where(np.isin(kept, fixed), np.sign(share[0, kept]), 0.0)
        weights = rule / np.where(flat, 1.0, size)[kept]
        return cls(quadruples[kept], weights if told >= TOLD else 0 * weights, signs, told)

    def oriented(self, points: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Each of the sets (B, K, 3) or its mirror image, whichever the rule takes, and
        whether all fixed signs are right in it, (B,).
        """
        if not len(self.quadruples):
            return points, np.ones(len(points), bool)
        found = volumes(points, self.quadruples)
        turn = np.where(found @ self.weights < 0, -1.0, 1.0)
        mirrored = points * np.stack([np.ones_like(turn), np.ones_like(turn), turn], -1)[:, None]
        wrong = (self.signs != 0) & (np.sign(found * turn[:, None]) != self.signs)
        return mirrored, ~wrong.any(1)

    def card(self) -> dict[str, Any]:
        """For a card; `Handedness.from_card` reads it."""
        return {
            "quadruples": self.quadruples.tolist(),
            "weights": [float(f"{w:.6g}") for w in self.weights],
            "signs": self.signs.astype(int).tolist(),
            "told": round(self.told, 4),
        }

    @classmethod
    def from_card(cls, values: dict[str, Any]) -> Handedness:
        """The rule of a card."""
        quadruples = np.array(values["quadruples"], np.int64).reshape(-1, 4)
        weights = np.array(values["weights"], np.float64)
        return cls(quadruples, weights, np.array(values["signs"], np.float64), values["told"])


def volumes(points: Array, quadruples: NDArray[np.int64]) -> Array:
    """Six times the signed volumes (B, m) of four points each; a mirror image has them
    with the other sign.
    """
    corner = points[:, quadruples]
    a, b, c = (corner[:, :, k] - corner[:, :, 0] for k in (1, 2, 3))
    found: Array = (a * np.cross(b, c)).sum(-1)
    return found


def _quadruples(n: int, seed: int) -> NDArray[np.int64]:
    """All quadruples of n points, or as many at random as are looked at."""
    if math.comb(n, 4) <= MOST_QUADRUPLES:
        return np.array(list(itertools.combinations(range(n), 4)), np.int64).reshape(-1, 4)
    rng = np.random.default_rng(seed)
    drawn = np.sort(np.argsort(rng.random((MOST_QUADRUPLES, n)), 1)[:, :4], 1)
    return np.unique(drawn, axis=0)
