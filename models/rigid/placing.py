"""Poses of a molecule in a rigid pocket, by rigid moves in MMFF94's interaction energy.

Poses begin anywhere in a ball about the pocket's centre, in every orientation, and are
brought down by Metropolis steps whose temperature and size fall together, as the noise
of a reverse diffusion on rotations and places does. That seeks minima and samples
nothing. `chain` samples: exp(-U / kT) of rotation and place in the ball, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.rigid import rotations
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.proposer import LocalRigidProposer, adapt_rigid
from equidrift.montecarlo.adapt import LEAST_CYCLES, Alternating
from equidrift.montecarlo.metropolis import Statistics, metropolis
from equidrift.montecarlo.turns import MMFF_BUFFER_A
from equidrift.protocols import Proposer
from equidrift.units import BOLTZMANN_EV_PER_K, KCAL_MOL_PER_EV
from equidrift.vina import Kinds, Pocket

ROUNDS, STEPS = 30, 12  # temperatures of a descent, and moves at each
HOTTEST_EV, COLDEST_EV = 2.0, 0.005
WIDEST_A, FINEST_A = 1.0, 0.03  # steps of the place; those of the rotation, in rad, are as large
APART_A = 1.0  # root mean square distance below which two poses are one
MOVES_PER_FRAME = 10  # of a chain
ADAPT_CYCLES = 200  # of its adaptive phase

Energy = Callable[[Floats], float]


class PoseEnergy(Protocol):
    """The energy of a pose, infinite for a mean position beyond a ball."""

    @property
    def centre_A(self) -> Floats:
        """Of the ball, (3,)."""
        ...

    @property
    def radius_A(self) -> float:
        """Of the ball."""
        ...

    def __call__(self, positions_A: Floats) -> float:
        """Energy in eV of the molecule at positions (n, 3)."""
        ...


@dataclass(frozen=True, eq=False)
class VinaInteraction:
    """The sum of Vina's terms between a molecule and a pocket, without the factor of its
    rotors.

    Parameters
    ----------
    pocket : Pocket
        It stands still.
    rows : int64, shape (k,)
        The molecule's heavy atoms.
    kinds : Kinds
        Of them.
    """

    pocket: Pocket
    rows: np.ndarray
    kinds: Kinds

    @property
    def centre_A(self) -> Floats:
        """Of the ball in which the molecule's mean position stays."""
        return self.pocket.centre_A

    @property
    def radius_A(self) -> float:
        """Of the ball."""
        return self.pocket.radius_A

    def __call__(self, positions_A: Floats) -> float:
        """Energy in eV of the molecule at positions (n, 3); infinite beyond the ball."""
        away = positions_A.mean(axis=0) - self.centre_A
        if away @ away > self.radius_A**2:
            return np.inf
        pairs = self.pocket.pairs(positions_A[self.rows], self.kinds)[0]
        return float(pairs.sum()) / KCAL_MOL_PER_EV


@dataclass(frozen=True, eq=False)
class Interaction:
    """MMFF94's energy between a molecule and a pocket that stands still.

    Parameters
    ----------
    pocket_A : (m, 3) array
        Atoms of the pocket.
    r_star_A, epsilon_eV, coulomb_eV_A : (n, m) array
        Of every atom of the molecule with every one of the pocket.
    centre_A : (3,) array
        Of the ball in which the molecule's mean position stays.
    radius_A : float
        Of the ball.

    Raises
    ------
    InputError
        If shapes do not fit, or the radius is not positive.

    References
    ----------
    Halgren, J. Comput. Chem. 17, 520 (1996), equations 1 and 13.
    """

    pocket_A: Floats
    r_star_A: Floats
    epsilon_eV: Floats
    coulomb_eV_A: Floats
    centre_A: Floats
    radius_A: float

    def __post_init__(self) -> None:
        shapes = {self.r_star_A.shape, self.epsilon_eV.shape, self.coulomb_eV_A.shape}
        if len(shapes) > 1 or self.r_star_A.shape[1:] != self.pocket_A.shape[:1]:
            raise InputError(f"tables of pairs are of shapes {sorted(shapes)}, not one (n, m)")
        if not 0 < self.radius_A < np.inf:
            raise InputError(f"radius_A must be positive and finite, not {self.radius_A}")

    def __call__(self, positions_A: Floats) -> float:
        """Energy in eV of the molecule at positions (n, 3); infinite beyond the ball."""
        away = positions_A.mean(axis=0) - self.centre_A
        if away @ away > self.radius_A**2:
            return np.inf
        d2 = np.square(positions_A[:, None] - self.pocket_A).sum(axis=-1)
        d = np.sqrt(np.maximum(d2, 1e-4))
        x = d / self.r_star_A
        x7 = x**7
        well = self.epsilon_eV * (1.07 / (x + 0.07)) ** 7 * (1.12 / (x7 + 0.12) - 2)
        return float(well.sum() + (self.coulomb_eV_A / (d + MMFF_BUFFER_A)).sum())


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses, the lowest first: positions_A (k, n, 3), energies_eV (k,), and which
    conformer (k,) each is.
    """

    positions_A: Floats
    energies_eV: Floats
    conformers: np.ndarray


def place(
    energy: PoseEnergy,
    conformers_A: Floats,
    n: int = 1,
    starts: int = 32,
    *,
    seed: int = 0,
    drawn_A: Floats | None = None,
) -> Poses:
    """Up to n different poses of low energy.

    Parameters
    ----------
    energy : Interaction
        Of the molecule and its pocket.
    conformers_A : (c, n_atoms, 3) array
        Shapes of the molecule, taken in turn; each keeps its own.
    n : int
        Poses wanted.
    starts : int
        Descents. Descent k has its own stream of random numbers.
    seed : int
        Of these.
    drawn_A : (n_atoms, 3) array, optional
        A pose that descent 0 begins at, cool, so that it stays near.
    """
    found = [
        _descended(
            energy,
            conformers_A[k % len(conformers_A)],
            np.random.default_rng([seed, k]),
            drawn_A if k == 0 else None,
        )
        for k in range(starts)
    ]
    order = sorted(range(starts), key=lambda k: found[k][1])
    kept: list[int] = []
    for k in order:
        apart = [np.square(found[k][0] - found[j][0]).sum(-1).mean() for j in kept]
        if len(kept) < n and np.isfinite(found[k][1]) and min(apart, default=np.inf) > APART_A**2:
            kept.append(k)
    return Poses(
        np.array([found[k][0] for k in kept]),
        np.array([found[k][1] for k in kept]),
        np.array([k % len(conformers_A) for k in kept], np.int64),
    )


def _anywhere(energy: PoseEnergy, shape_A: Floats, rng: np.random.Generator) -> Floats:
    """A shape (n, 3) anywhere in the ball, in any orientation."""
    away = rng.standard_normal(3)
    away *= energy.radius_A * rng.random() ** (1 / 3) / np.linalg.norm(away)
    turned = (shape_A - shape_A.mean(axis=0)) @ rotations.haar(1, rng)[0].T
    placed: Floats = turned + energy.centre_A + away
    return placed


def _descended(
    energy: PoseEnergy, shape_A: Floats, rng: np.random.Generator, drawn_A: Floats | None
) -> tuple[Floats, float]:
    """One descent: from anywhere in the ball, or the cooler half of it from a pose."""
    x = _anywhere(energy, shape_A, rng) if drawn_A is None else drawn_A
    first = 0 if drawn_A is None else ROUNDS // 2
    u = energy(x)
    best = x, u
    for kT, size in zip(
        np.geomspace(HOTTEST_EV, COLDEST_EV, ROUNDS)[first:],
        np.geomspace(WIDEST_A, FINEST_A, ROUNDS)[first:],
        strict=True,
    ):
        steps = LocalRigidProposer(range(len(x)), sigma_A=size, eps=size)
        x, u, _ = metropolis(
            steps, x, u, energy, STEPS, kT_eV=kT, rng=rng, statistics=Statistics.of(steps)
        )
        best = (x, u) if u < best[1] else best
    return best


@dataclass(frozen=True, eq=False)
class PoseChain:
    """Frames of an exact chain: positions_A (k, n, 3), energies_eV (k,); the share of
    moves accepted, and the report of the adaptive phase before it.
    """

    positions_A: Floats
    energies_eV: Floats
    acceptance: float
    adaptation: dict[str, Any]


def chain(
    energy: Interaction,
    start_A: Floats,
    frames: int,
    *,
    temperature_K: float = 300.0,
    seed: int = 0,
) -> PoseChain:
    """An exact chain of poses from a start (n, 3), after an adaptive phase that fits a
    mixture of IGSO(3) x Gaussians to where the molecule was.

    Every frame follows ten moves, by that mixture and by small steps in turn.

    Raises
    ------
    InputError
        If the start has no finite energy.
    """
    kT_eV = BOLTZMANN_EV_PER_K * temperature_K
    rng, place_A, u = np.random.default_rng(seed), start_A, energy(start_A)
    if not np.isfinite(u):
        raise InputError("the start of the chain has no finite energy; place the molecule first")
    body = RigidBody(start_A, range(len(start_A)))
    energies_eV: list[float] = []  # of the frames of the last phase

    def advance(proposer: Proposer, cycles: int) -> tuple[Floats, Statistics]:
        nonlocal place_A, u
        statistics, seen = Statistics.of(proposer), []
        energies_eV.clear()
        for _ in range(cycles):
            place_A, u, _ = metropolis(
                *(proposer, place_A, u, energy, MOVES_PER_FRAME),
                kT_eV=kT_eV,
                rng=rng,
                statistics=statistics,
            )
            seen.append(place_A)
            energies_eV.append(u)
        return np.array(seen), statistics

    adapted = adapt_rigid(
        advance, body, max(ADAPT_CYCLES, LEAST_CYCLES), radius_A=energy.radius_A, seed=seed
    )
    small = LocalRigidProposer(range(len(start_A)))
    seen, statistics = advance(Alternating(adapted.proposer, small), frames)
    return PoseChain(seen, np.array(energies_eV), statistics.acceptance, adapted.report)
