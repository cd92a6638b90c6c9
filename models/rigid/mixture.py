"""A mixture of IGSO(3) x Gaussians over poses, and a uniform share. numpy only.

A pose is a rotation and a place, (R, s); densities are over Haar's measure of total mass
1 times volume in A^3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from equidrift.errors import InputError
from equidrift.frozen import plain_fields
from equidrift.geometry import Floats
from equidrift.models.rigid import igso3, rotations

LEAST_EPS, LEAST_SIGMA_A = 0.08, 0.08  # of a component that is fitted
ITERATIONS = 40  # of expectation maximisation


@dataclass(frozen=True, eq=False)
class Drawn:
    """Poses (n, 3, 3), (n, 3) that a density drew, their log densities (n,), and that
    of the present pose.
    """

    turns: Floats
    places_A: Floats
    log_q: Floats
    log_q_present: float


class PoseDensity(Protocol):
    """A density of poses, which draws what `RigidProposer` proposes."""

    about: ClassVar[str]

    @property
    def components(self) -> int:
        """Of the mixture in it."""
        ...

    def drawn(self, n: int, rng: np.random.Generator, turn: Floats, place_A: Floats) -> Drawn:
        """n poses that do not depend on the present one (3, 3), (3,), and the log
        densities of all; inf for one that must not be accepted.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        ...


@dataclass(frozen=True, eq=False)
class PoseMixture:
    """Components w_k IGSO3(R_k, eps_k) N(s_k, S_k), and with odds `floor` a uniform
    rotation in a ball.

    Parameters
    ----------
    weights : (c,) array
        Positive, of any sum; none leaves the ball alone.
    rotations, eps : (c, 3, 3) and (c,) array
        Of each component; eps in radians.
    centres_A, covariances_A2 : (c, 3) and (c, 3, 3) array
        Of each component.
    ball_A : (3,) array
        Centre of the ball.
    radius_A : float
        Of the ball.
    floor : float, optional
        Share of draws from the ball, above 0, so that no pose there is closed to a fit
        that is wrong; 1 without components.
    """

    weights: Floats
    rotations: Floats
    eps: Floats
    centres_A: Floats
    covariances_A2: Floats
    ball_A: Floats
    radius_A: float
    floor: float = 0.05
    about: ClassVar[str] = "a mixture of Gaussians over a rigid body's rotation and place"

    def __post_init__(self) -> None:
        if not self.radius_A > 0 or not 0 < self.floor <= 1:
            raise InputError(
                f"the ball needs a radius above 0 A and a share above 0 and at most 1, not "
                f"{self.radius_A} A and {self.floor}; give for example 6 A and 0.05"
            )
        if (self.floor < 1) != (len(self.weights) > 0):
            raise InputError(
                f"{len(self.weights)} components and floor={self.floor} do not fit: with no "
                "component the floor is 1, else less"
            )

    @classmethod
    def ball(cls, centre_A: Floats, radius_A: float) -> PoseMixture:
        """The uniform density of a ball of places and all rotations."""
        none = np.zeros((0, 3))
        return cls(
            np.zeros(0),
            np.zeros((0, 3, 3)),
            np.zeros(0),
            none,
            np.zeros((0, 3, 3)),
            np.asarray(centre_A, np.float64),
            float(radius_A),
            1.0,
        )

    @classmethod
    def fit(
        cls,
        turns: Floats,
        places_A: Floats,
        components: int = 8,
        *,
        oriented: bool = True,
        floor: float = 0.05,
        seed: int = 0,
    ) -> PoseMixture:
        """Expectation maximisation on poses (k, 3, 3), (k, 3).

        The M step takes the moments that fix a component: the mean rotation and the mean
        character exp(-eps^2), mean place and covariance. The ball reaches a quarter
        beyond the farthest place.

        Parameters
        ----------
        turns, places_A : (k, 3, 3) and (k, 3) array
            Poses.
        components : int, optional
            At most; never more than a tenth of the poses.
        oriented : bool, optional
            False leaves rotations uniform.
        floor : float, optional
            Share of uniform draws.
        seed : int, optional
            Of the starting points.

        Raises
        ------
        InputError
            If there are fewer than 20 poses.
        """
        if len(places_A) < 20:
            raise InputError(
                f"a mixture is fitted to 20 poses or more, not {len(places_A)}; run longer"
            )
        c = int(np.clip(components, 1, len(places_A) // 10))
        share = _first_shares(turns, places_A, c, oriented, np.random.default_rng(seed))
        ball_A = places_A.mean(axis=0)
        radius_A = 1.25 * float(np.linalg.norm(places_A - ball_A, axis=1).max()) + 1.0
        for _ in range(ITERATIONS):
            made = cls(*_moments(turns, places_A, share, oriented), ball_A, radius_A, floor)
            log_p = made.log_components(turns, places_A)
            share = np.exp(log_p - log_p.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
        return made

    def log_components(self, turns: Floats, places_A: Floats) -> Floats:
        """(k, c) log weight times density of each component at k poses."""
        w = self.weights / self.weights.sum()
        apart = rotations.angle(np.swapaxes(self.rotations, -1, -2) @ turns[:, None])
        arms = places_A[:, None] - self.centres_A
        lower = np.linalg.cholesky(self.covariances_A2)
        z = np.linalg.solve(lower, arms[..., None])[..., 0]
        log_volume = np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(axis=-1)
        out: Floats = (
            np.log(w)
            + igso3.log_density(apart, self.eps)
            - 0.5 * (z**2).sum(axis=-1)
            - log_volume
            - 1.5 * np.log(2 * np.pi)
        )
        return out

    def log_prob(self, turns: Floats, places_A: Floats) -> Floats:
        """(k,) log density of poses (k, 3, 3), (k, 3); -inf where it is 0."""
        far = np.linalg.norm(places_A - self.ball_A, axis=1) > self.radius_A
        volume = 4 / 3 * np.pi * self.radius_A**3
        log_q = np.where(far, -np.inf, np.log(self.floor / volume))
        if len(self.weights):
            log_p = self.log_components(turns, places_A)
            top = log_p.max(axis=1)
            inside = top + np.log(np.exp(log_p - top[:, None]).sum(axis=1))
            log_q = np.logaddexp(log_q, np.log1p(-self.floor) + inside)
        return log_q

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """n poses (n, 3, 3), (n, 3)."""
        turns = rotations.haar(n, rng)
        arms = rng.standard_normal((n, 3))
        arms /= np.linalg.norm(arms, axis=1, keepdims=True)
        places = self.ball_A + self.radius_A * np.cbrt(rng.random((n, 1))) * arms
        drawn = rng.random(n) >= self.floor
        count = int(drawn.sum())
        if count:
            pick = rng.choice(len(self.weights), count, p=self.weights / self.weights.sum())
            turns[drawn] = self.rotations[pick] @ igso3.sample(self.eps[pick], rng)
            noise = np.linalg.cholesky(self.covariances_A2)[pick] @ rng.standard_normal(
                (count, 3, 1)
            )
            places[drawn] = self.centres_A[pick] + noise[..., 0]
        return turns, places

    @property
    def components(self) -> int:
        """How many there are beside the ball."""
        return len(self.weights)

    def drawn(self, n: int, rng: np.random.Generator, turn: Floats, place_A: Floats) -> Drawn:
        """n poses, with log densities of theirs and of the present pose."""
        turns, places = self.sample(n, rng)
        present = float(self.log_prob(turn[None], place_A[None])[0])
        return Drawn(turns, places, self.log_prob(turns, places), present)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        return plain_fields(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PoseMixture:
        """The mixture that `to_dict` wrote."""
        n = len(data["weights"])
        shapes = {
            "weights": (n,),
            "rotations": (n, 3, 3),
            "eps": (n,),
            "centres_A": (n, 3),
            "covariances_A2": (n, 3, 3),
            "ball_A": (3,),
        }
        arrays = {
            key: np.array(data[key], np.float64).reshape(shape) for key, shape in shapes.items()
        }
        return cls(**arrays, radius_A=float(data["radius_A"]), floor=float(data["floor"]))


def _first_shares(
    turns: Floats, places_A: Floats, c: int, oriented: bool, rng: np.random.Generator
) -> Floats:
    """(k, c) shares of components that start at poses far from each other (k-means++,
    radians and A alike).
    """
    near = np.full(len(places_A), np.inf)
    columns = []
    chosen = int(rng.integers(len(places_A)))
    for _ in range(c):
        apart = ((places_A - places_A[chosen]) ** 2).sum(axis=1)
        if oriented:
            apart = apart + rotations.angle(turns[chosen].T @ turns) ** 2
        columns.append(apart)
        near = np.minimum(near, apart) + 1e-12
        chosen = int(rng.choice(len(near), p=near / near.sum()))
    nearest = np.argmin(np.stack(columns, axis=1), axis=1)
    shares: Floats = np.eye(c)[nearest]
    return shares


def _moments(
    turns: Floats, places_A: Floats, share: Floats, oriented: bool
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Weights, rotations, eps, centres and covariances of components from shares
    (k, c).
    """
    mass = share.sum(axis=0) + 1e-9
    centres = (share.T @ places_A) / mass[:, None]
    arms = places_A[:, None] - centres
    covariances = np.einsum("kc,kci,kcj->cij", share, arms, arms) / mass[:, None, None]
    covariances += LEAST_SIGMA_A**2 * np.eye(3)
    c = len(mass)
    means, eps = np.broadcast_to(np.eye(3), (c, 3, 3)).copy(), np.full(c, igso3.UNIFORM)
    for k in range(c if oriented else 0):
        means[k] = rotations.mean(turns, share[:, k])
        traces = np.trace(means[k].T @ turns, axis1=1, axis2=2)
        eps[k] = max(LEAST_EPS, float(igso3.eps_of(share[:, k] @ traces / (3 * mass[k]))))
    weights: Floats = mass / mass.sum()
    return weights, means, eps, centres, covariances
