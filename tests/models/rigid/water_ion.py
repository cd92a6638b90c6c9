"""A rigid water beside a sodium ion: its energy in numpy, and what it is on average by
quadrature. Nothing of the package is used here.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# TIP3P, and the sodium of Joung and Cheatham for it: e, A, eV
CHARGES = np.array([-0.834, 0.417, 0.417])
COULOMB_EV_A = 14.399645
EV_PER_KJ_MOL = 0.0103642697
SIGMA_A = (3.15061 + 2.4393) / 2
EPSILON_EV = np.sqrt(0.6364 * 0.36585) * EV_PER_KJ_MOL
KT_EV = 8.617333262e-5 * 300
BOND_A, ANGLE = 0.9572, np.radians(104.52)
HALF = np.array([np.sin(ANGLE / 2), 0, np.cos(ANGLE / 2)])
WATER_A = BOND_A * np.array([[0, 0, 0], HALF, HALF * [-1, 1, 1]])
START_A = np.vstack([WATER_A, [0.3, 0.4, -2.4]])  # O, H, H, Na


def energy_eV(x: np.ndarray) -> np.ndarray:
    """(...,) of positions (..., 4, 3)."""
    r = np.linalg.norm(x[..., :3, :] - x[..., 3:, :], axis=-1)
    six = (SIGMA_A / r[..., 0]) ** 6
    return COULOMB_EV_A * (CHARGES / r).sum(axis=-1) + 4 * EPSILON_EV * (six**2 - six)


def observables(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The O-ion distance (A), and the angle (degrees) between the water's axis and the
    way from the ion to O, of positions (..., 4, 3).
    """
    away = x[..., 0, :] - x[..., 3, :]
    axis = x[..., 1, :] + x[..., 2, :] - 2 * x[..., 0, :]
    r = np.linalg.norm(away, axis=-1)
    cosine = (away * axis).sum(axis=-1) / (r * np.linalg.norm(axis, axis=-1))
    return r, np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@lru_cache
def expected() -> tuple[float, float]:
    """Means of `observables` at 300 K: by symmetry a quadrature over where the ion is,
    seen from the water (to 4 A; the well is 40 kT deep).
    """
    r = np.linspace(1.8, 4.0, 160)
    theta, phi = (np.arange(90) + 0.5) / 90 * np.pi, (np.arange(36) + 0.5) / 36 * 2 * np.pi
    grid = np.meshgrid(r, theta, phi, indexing="ij")
    d, t, p = (part.ravel() for part in grid)
    ion = d[:, None] * np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=1)
    x = np.concatenate([np.broadcast_to(WATER_A, (len(ion), 3, 3)), ion[:, None]], axis=1)
    u = energy_eV(x) / KT_EV
    weight = np.exp(u.min() - u) * d**2 * np.sin(t)
    distance, angle = (weight @ values / weight.sum() for values in observables(x))
    return float(distance), float(angle)
