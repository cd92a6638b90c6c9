"""The Boltzmann generator's density against a Jacobian by finite differences: no
formula of the package enters.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equidrift.models.boltzmann.sampler import BoltzmannGenerator, load_boltzmann
from tests.models.boltzmann.test_boltzmann import toy_generator


def log_density(
    generator: BoltzmannGenerator, latent: np.ndarray, h: float = 1e-5
) -> tuple[np.ndarray, float]:
    """Positions of latent numbers, and their log density from d x / d (latent,
    rotation, translation) by central differences.

    Latent angles are uniform on 2 pi, the others normal, orientations uniform on a
    volume of 8 pi^2 of rotation vectors at the identity.
    """
    m, inner = generator.flow.m, len(latent)
    base = generator.flow.from_chart(generator.flow.from_latent(torch.from_numpy(latent[None]))[0])[
        0
    ]
    pivot = base.numpy()[0].mean(axis=0)

    def positions(u: np.ndarray) -> np.ndarray:
        y, _ = generator.flow.from_latent(torch.from_numpy(u[None, :inner]))
        x = generator.flow.from_chart(y)[0].numpy()[0]
        return (
            Rotation.from_rotvec(u[inner : inner + 3]).apply(x - pivot) + pivot + u[inner + 3 :]
        ).ravel()

    start = np.concatenate([latent, np.zeros(6)])
    columns = []
    for k in range(len(start)):
        step = h * np.eye(len(start))[k]
        columns.append((positions(start + step) - positions(start - step)) / (2 * h))
    _, log_det = np.linalg.slogdet(np.array(columns))
    normal = latent[m:]
    log_base = -m * np.log(2 * np.pi) - 0.5 * (normal @ normal + len(normal) * np.log(2 * np.pi))
    return positions(start).reshape(-1, 3), float(log_base - np.log(8 * np.pi**2) - log_det)


def latent_of(generator: BoltzmannGenerator, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0.1, 2 * np.pi - 0.1, generator.flow.m)
    return np.concatenate([angles, rng.standard_normal(generator.flow.n_stiff)])


@pytest.mark.parametrize("name", ["water", "peroxide", "methanol"])
def test_log_prob_is_the_density_by_finite_differences(name):
    generator = toy_generator(name)
    for seed in range(3):
        x, expected = log_density(generator, latent_of(generator, seed))
        assert float(generator.log_prob(x)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.long
def test_log_prob_of_the_shipped_generator_is_the_density_by_finite_differences():
    generator = load_boltzmann("ala2")
    x, expected = log_density(generator, latent_of(generator, 1))
    assert float(generator.log_prob(x)) == pytest.approx(expected, abs=2e-3)
