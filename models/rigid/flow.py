"""Poses drawn by a learned score, with the density of what was really drawn. numpy only.

The probability flow d(R, u) / d sigma = -sigma s(R, u, sigma) of Brownian motion on
SO(3) x R^3, u the place in standard deviations, is taken in explicit steps from wide
noise to narrow,

    R' = exp(h w) R,   u' = u + h v,   h = sigma_k - sigma_(k+1),   (w, v) = sigma_k s,

and the density is that of these steps, not of the flow they approximate: a uniform
rotation and a Gaussian at the start, and for each step the determinant of its derivative.

Nothing holds a network to maps that are one to one. The inverse is therefore defined as
what Newton's method finds from the step's end alone. A draw counts only if the inverse
leads back to where it started, and a pose has density 0 if the inverse does not end in a
checked solution. Then each pose has one way to be drawn, of known density; the draws that
failed stay where they are and are rejected. That is exact for any weights; bad ones cost
acceptance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.rigid import rotations
from equidrift.models.rigid.mixture import Drawn, PoseMixture
from equidrift.models.rigid.network import SIGMA_MAX, SIGMA_MIN, ScoreNetwork

STEPS = 12  # of the flow; half as many accept a tenth fewer moves
MIXED = 0.1  # share of draws from the mixture, which bounds every ratio of densities
_NEWTON, _CHORDS = 24, 8  # iterations at most; with one derivative
_RESIDUAL = 1e-9  # of a step's inverse that counts as solved
_SAME = 1e-6  # how near to its start the inverse must lead a draw back
Poses = tuple[Floats, Floats]  # rotations (k, 3, 3), places (k, 3)


@dataclass(frozen=True, eq=False)
class PoseFlow:
    """The discretised probability flow of a score.

    Parameters
    ----------
    network : ScoreNetwork
        Trained, untrained or bad.
    centre_A, scale_A : (3,) and (3, 3) array
        Places are centre + scale u; the scale is lower triangular.
    steps : int, optional
        Of the flow, from `SIGMA_MAX` to `SIGMA_MIN`.

    Raises
    ------
    InputError
        If there is no step, or the scale is not a lower triangle with positive diagonal.

    Examples
    --------
    >>> network = ScoreNetwork.drawn(np.random.default_rng(0), last=0.2)
    >>> flow = PoseFlow(network, np.zeros(3), 0.4 * np.eye(3))
    >>> start = flow.starts(2, np.random.default_rng(1))
    >>> turns, places_A = flow.forward(*start)
    >>> back = flow.backward(turns, places_A)
    >>> bool(np.allclose(back.places, start[1])), back.log_prob.shape
    (True, (2,))
    """

    network: ScoreNetwork
    centre_A: Floats
    scale_A: Floats
    steps: int = STEPS

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps must be 1 or more, not {self.steps}; give for example {STEPS}")
        diagonal = np.diagonal(self.scale_A)
        if np.any(np.triu(self.scale_A, 1) != 0) or not np.all(diagonal > 0):
            raise InputError(
                "scale_A must be a lower triangle (3, 3) with a positive diagonal, as "
                "numpy.linalg.cholesky makes of a covariance; got "
                f"{np.asarray(self.scale_A).tolist()}"
            )

    @property
    def sigmas(self) -> Floats:
        """(steps + 1,) falling noise levels."""
        return np.geomspace(SIGMA_MAX, SIGMA_MIN, self.steps + 1)

    def starts(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """n poses (n, 3, 3), (n, 3) of the widest noise, in standard deviations."""
        return rotations.haar(n, rng), np.sqrt(1 + SIGMA_MAX**2) * rng.standard_normal((n, 3))

    def forward(self, turns: Floats, places: Floats) -> tuple[Floats, Floats]:
        """From starts to poses (k, 3, 3), (k, 3), the places in A."""
        for high, low in pairwise(self.sigmas.tolist()):
            turns, places = self.step(turns, places, high, low)
        return turns, self.centre_A + places @ self.scale_A.T

    def backward(self, turns: Floats, places_A: Floats) -> Back:
        """From poses (k, 3, 3), (k, 3) in A to the starts that the inverse finds."""
        with np.errstate(all="ignore"):  # rows that diverge get density 0 below
            places = standardised(places_A, self.centre_A, self.scale_A)
            total, good = np.zeros(len(places)), np.ones(len(places), bool)
            for high, low in reversed(list(pairwise(self.sigmas.tolist()))):
                (turns, places), log_det, solved = self._inverted((turns, places), high, low)
                total += log_det
                good &= solved
            wide = 1 + SIGMA_MAX**2
            log_start = -0.5 * (places**2).sum(axis=1) / wide - 1.5 * np.log(2 * np.pi * wide)
            log_prob = log_start - total - np.log(np.diagonal(self.scale_A)).sum()
        good &= np.isfinite(log_prob)
        return Back(turns, places, np.where(good, log_prob, -np.inf))

    def step(self, turns: Floats, places: Floats, high: float, low: float) -> tuple[Floats, Floats]:
        """One step from noise `high` to `low`."""
        rates = self.network.rates(turns, places, high)
        return self._moved(turns, places, (high - low) * rates)

    def step_and_derivative(
        self, turns: Floats, places: Floats, high: float, low: float
    ) -> tuple[Poses, Floats]:
        """One step, and its derivative (k, moving, moving) in the frames exp(d) R of
        both ends.
        """
        h = high - low
        rates, slopes = self.network.rates_and_slopes(turns, places, high)
        slopes *= h
        if self.network.turning:
            by = h * rates[:, :3]
            # d exp(w) = (left Jacobian of exp at w) dw, in the frame of the end
            slopes[:, :3] = rotations.left_jacobian(by) @ slopes[:, :3]
            slopes[:, :3, :3] += rotations.exp(by)
        slopes[:, -3:, -3:] += np.eye(3)
        return self._moved(turns, places, h * rates), slopes

    def _moved(self, turns: Floats, places: Floats, by: Floats) -> tuple[Floats, Floats]:
        """Poses that are moved by (k, moving)."""
        turned = rotations.exp(by[:, :3]) @ turns if self.network.turning else turns
        return turned, places + by[:, -3:]

    def _off(self, ends: Poses, found: Poses) -> Floats:
        """(k, moving) what takes poses that were found to where they should be; rotations
        by axis times sine, infinite beyond a right angle.
        """
        off = ends[1] - found[1]
        if not self.network.turning:
            return off
        apart = ends[0] @ np.swapaxes(found[0], 1, 2)
        vectors = rotations.small_vectors(apart)
        vectors[np.trace(apart, axis1=1, axis2=2) < 1] = np.inf
        return np.concatenate([vectors, off], axis=1)

    def _inverted(self, ends: Poses, high: float, low: float) -> tuple[Poses, Floats, np.ndarray]:
        """The poses before a step, log |det| of the step there, and whether each was
        found.

        Newton's method from one step of the reverse Euler equation, each derivative used
        `_CHORDS` times. A row's outcome depends on its end alone: rows that are solved
        move no further than rounding.
        """
        rates = self.network.rates(*ends, high)
        poses = self._moved(*ends, (low - high) * rates)
        for tried in range(_NEWTON):
            if tried % _CHORDS == 0:
                found, slopes = self.step_and_derivative(*poses, high, low)
                inverses = _inverses(slopes)
            else:
                found = self.step(*poses, high, low)
            off = self._off(ends, found)
            size = np.abs(off).max(axis=1)
            if (~np.isfinite(size) | (size < _RESIDUAL)).all():
                break
            poses = self._moved(*poses, (inverses @ off[..., None])[..., 0])
        slopes = self.step_and_derivative(*poses, high, low)[1]
        return poses, np.linalg.slogdet(slopes)[1], size < _RESIDUAL

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        return {
            "network": self.network.to_dict(),
            "centre_A": np.asarray(self.centre_A).tolist(),
            "scale_A": np.asarray(self.scale_A).tolist(),
            "steps": self.steps,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PoseFlow:
        """The flow that `to_dict` wrote."""
        centre, scale = (np.array(data[name], np.float64) for name in ("centre_A", "scale_A"))
        return cls(ScoreNetwork.from_dict(data["network"]), centre, scale, int(data["steps"]))


@dataclass(frozen=True, eq=False)
class Back:
    """Starts (k, 3, 3), (k, 3) of poses, and the poses' log densities (k,), -inf where
    the inverse found no start.
    """

    turns: Floats
    places: Floats
    log_prob: Floats

    def same_as(self, turns: Floats, places: Floats) -> np.ndarray:
        """(k,) whether these are the starts that the poses were drawn from."""
        apart = np.abs(np.concatenate([self.turns - turns, (self.places - places)[..., None]], 2))
        found: np.ndarray = np.isfinite(self.log_prob) & (apart.max(axis=(1, 2)) < _SAME)
        return found


@dataclass(frozen=True, eq=False)
class ScoreDensity:
    """Draws of a score's flow, and a small share of draws of a mixture.

    The density is (1 - mixed) q_flow + mixed q_mixture. Its integral falls short of 1 by
    the odds of a draw that the flow's inverse does not lead back.

    Parameters
    ----------
    flow : PoseFlow
        Of the score.
    mixture : PoseMixture
        Where the flow leaves out what it should not, this draws; its ball bounds all
        ratios of densities.
    mixed : float, optional
        Share of draws from the mixture, above 0 and at most 1.

    Raises
    ------
    InputError
        If the share is not.
    """

    flow: PoseFlow
    mixture: PoseMixture
    mixed: float = MIXED
    about: ClassVar[str] = (
        "a learned score of a rigid body's rotation and place, drawn with the exact density of "
        "its discretised probability flow"
    )

    def __post_init__(self) -> None:
        if not 0 < self.mixed <= 1:
            raise InputError(
                f"mixed, the share of draws from the mixture, must be above 0 and at most 1, "
                f"not {self.mixed}; give for example {MIXED}"
            )

    @property
    def components(self) -> int:
        """Of the mixture."""
        return self.mixture.components

    def log_prob(self, turns: Floats, places_A: Floats) -> Floats:
        """(k,) log density of poses (k, 3, 3), (k, 3); -inf where it is 0."""
        return self._mixed(self.flow.backward(turns, places_A), turns, places_A)

    def drawn(self, n: int, rng: np.random.Generator, turn: Floats, place_A: Floats) -> Drawn:
        """n poses, with log densities of theirs and of the present pose. A draw that
        failed is the present pose, with log density inf: it is never accepted.
        """
        count = int((rng.random(n) >= self.mixed).sum())
        starts = self.flow.starts(count, rng)
        with np.errstate(all="ignore"):  # of a bad network; what is not finite fails below
            ours = self.flow.forward(*starts)
        others = self.mixture.sample(n - count, rng)
        turns, places = (
            np.concatenate([now[None], *parts])
            for now, *parts in zip((turn, place_A), ours, others, strict=True)
        )
        back = self.flow.backward(turns, places)
        failed = np.zeros(n + 1, bool)
        mine = slice(1, count + 1)
        failed[mine] = ~Back(back.turns[mine], back.places[mine], back.log_prob[mine]).same_as(
            *starts
        )
        turns[failed], places[failed] = turn, place_A
        log_q = np.where(failed, np.inf, self._mixed(back, turns, places))
        order = 1 + rng.permutation(n)
        return Drawn(turns[order], places[order], log_q[order], float(log_q[0]))

    def _mixed(self, back: Back, turns: Floats, places_A: Floats) -> Floats:
        """(k,) log of both densities' weighted sum."""
        other: Floats = np.log(self.mixed) + self.mixture.log_prob(turns, places_A)
        if self.mixed == 1:
            return other
        out: Floats = np.logaddexp(np.log1p(-self.mixed) + back.log_prob, other)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        return {
            "flow": self.flow.to_dict(),
            "mixture": self.mixture.to_dict(),
            "mixed": self.mixed,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScoreDensity:
        """The density that `to_dict` wrote."""
        mixture = PoseMixture.from_dict(data["mixture"])
        return cls(PoseFlow.from_dict(data["flow"]), mixture, float(data["mixed"]))


def standardised(places_A: Floats, centre_A: Floats, scale_A: Floats) -> Floats:
    """(k, 3) places (k, 3) in standard deviations: what u is in centre + scale u."""
    solved = np.linalg.solve(scale_A, (places_A - centre_A).T)
    return np.asarray(solved.T, np.float64)


def _inverses(matrices: Floats) -> Floats:
    """(k, m, m) inverses; NaN where a matrix is singular or not finite."""
    finite = np.asarray(np.isfinite(matrices).all(axis=(1, 2)), np.bool_)
    safe = np.where(finite[:, None, None], matrices, 0.0)
    fine = np.flatnonzero(np.linalg.det(safe))
    out = np.full(matrices.shape, np.nan)
    out[fine] = np.linalg.inv(matrices[fine])
    return out
