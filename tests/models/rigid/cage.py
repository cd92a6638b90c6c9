"""Acetonitrile in a cage: its energy in numpy, and how often N points up, by uniform
draws with weights. Nothing of the package is used here.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

KT_EV = 8.617333262e-5 * 300
EV_PER_KJ_MOL = 0.0103642697
COULOMB_EV_A = 14.399645
MOLECULE_A = np.array([[0, 0, -1.458], [0, 0, 0], [0, 0, 1.157]])
MOLECULE_A = MOLECULE_A - MOLECULE_A.mean(axis=0)
# OPLS: e, A, kJ/mol
CHARGES = np.array([0.15, 0.28, -0.43])
SIGMAS_A, EPSILONS = np.array([3.775, 3.65, 3.2]), np.array([0.866088, 0.6276, 0.71128])
CAGE_SIGMA_A, CAGE_EPSILON = 3.55, 0.29288
RADIUS_A = 2.0


def cage() -> tuple[np.ndarray, np.ndarray]:
    """Sites (14, 3) in A, and their charges (14,)."""
    x = [(0, 0, -5.2), (0, 0, 5.2)]
    for z, by in ((-1.6, 0.0), (1.6, np.pi / 6)):
        x += [(4 * np.cos(by + k * np.pi / 3), 4 * np.sin(by + k * np.pi / 3), z) for k in range(6)]
    return np.array(x), np.array([-0.02, 0.02] + [0.0] * 12)


SITES_A, SITE_CHARGES = cage()


def energy_eV(x: np.ndarray) -> np.ndarray:
    """(...,) of the molecule's positions (..., 3, 3)."""
    r = np.linalg.norm(x[..., :, None, :] - SITES_A, axis=-1)
    six = ((SIGMAS_A[:, None] + CAGE_SIGMA_A) / 2 / r) ** 6
    depth = 4 * np.sqrt(EPSILONS * CAGE_EPSILON)[:, None] * EV_PER_KJ_MOL
    coulomb = COULOMB_EV_A * CHARGES[:, None] * SITE_CHARGES / r
    return (depth * (six**2 - six) + coulomb).sum(axis=(-2, -1))


def up(x: np.ndarray) -> np.ndarray:
    """Cosine (...,) of the way from CH3 to N with z."""
    axis = x[..., 2, :] - x[..., 0, :]
    return axis[..., 2] / np.linalg.norm(axis, axis=-1)


@lru_cache
def expected(draws: int = 200_000) -> tuple[float, float]:
    """Share of N up in the ball of `RADIUS_A`, and its error: directions and places
    uniform, with weights exp(-U / kT).
    """
    rng = np.random.default_rng(11)
    axis, away = rng.standard_normal((2, draws, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    away *= RADIUS_A * np.cbrt(rng.random((draws, 1))) / np.linalg.norm(away, axis=1)[:, None]
    x = away[:, None] + MOLECULE_A[:, 2:] * axis[:, None]
    u = energy_eV(x) / KT_EV
    weights = np.exp(u.min() - u)
    weights /= weights.sum()
    above = up(x) > 0
    share = float(weights @ above)
    return share, float(np.sqrt(weights**2 @ (above - share) ** 2))
