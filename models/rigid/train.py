"""Training a score on the poses that an adaptive phase has seen. numpy only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from equidrift.geometry import Floats
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.flow import PoseFlow, standardised
from equidrift.models.rigid.mixture import LEAST_SIGMA_A
from equidrift.models.rigid.network import SIGMA_MAX, SIGMA_MIN, ScoreNetwork
from equidrift.models.rigid.objective import Singles, noised, score_loss

NOISED, BATCH = 8192, 256  # poses with fresh noise in an epoch, and in a step
# few poses would be learned by heart, so epochs grow with them
POSES_PER_EPOCH, LEAST_EPOCHS, MOST_EPOCHS = 25, 15, 80
RATE, MOMENTUM, MEMORY = 3e-3, 0.9, 0.999  # Adam's; the rate falls to 0 as a cosine


def trained_flow(
    turns: Floats, places_A: Floats, body: RigidBody, *, epochs: int | None = None, seed: int = 0
) -> PoseFlow:
    """The flow of a score that is trained on poses (k, 3, 3), (k, 3) of a body.

    Places are counted in standard deviations along the axes of their covariance. All
    random numbers come from the seed.
    """
    rng = np.random.default_rng(seed)
    if epochs is None:
        epochs = int(np.clip(len(places_A) // POSES_PER_EPOCH, LEAST_EPOCHS, MOST_EPOCHS))
    centre_A: Floats = places_A.mean(axis=0)
    covariance: Floats = np.cov(places_A.T) + LEAST_SIGMA_A**2 * np.eye(3)
    scale_A = np.asarray(np.linalg.cholesky(covariance), np.float64)
    places = standardised(places_A, centre_A, scale_A)
    network = ScoreNetwork.drawn(rng, turning=body.oriented, axis=body.axis)
    count = len(network.weights)
    layers = [part.astype(np.float32) for part in (*network.weights, *network.biases)]
    steps = epochs * (NOISED // BATCH)
    adam = _Adam(layers)
    for _ in range(epochs):
        for features, wanted in _batches(network, turns, places, rng):
            _, gradient = score_loss(layers[:count], layers[count:], features, wanted)
            adam.step(gradient, RATE * 0.5 * (1 + np.cos(np.pi * adam.steps / steps)))
    trained = [part.astype(np.float64) for part in layers]
    network = ScoreNetwork(trained[:count], trained[count:], network.turning, network.axis)
    return PoseFlow(network, centre_A, scale_A)


def _batches(
    network: ScoreNetwork, turns: Floats, places: Floats, rng: np.random.Generator
) -> Iterator[tuple[Singles, Singles]]:
    """Inputs and wanted outputs of one epoch: poses drawn with replacement, noise levels
    even in their logarithm.
    """
    pick = rng.integers(len(places), size=NOISED)
    sigma = np.exp(rng.uniform(np.log(SIGMA_MIN), np.log(SIGMA_MAX), (NOISED, 1)))
    made = noised(turns[pick], places[pick], sigma, network.turning, rng)
    features = network.features(made.turns, made.places, sigma).astype(np.float32)
    wanted = made.wanted.astype(np.float32)
    for k in range(0, NOISED, BATCH):
        yield features[k : k + BATCH], wanted[k : k + BATCH]


class _Adam:
    """Adam (arXiv:1412.6980, algorithm 1), which changes the arrays it was given."""

    def __init__(self, parts: list[Singles]) -> None:
        self.parts, self.steps = parts, 0
        self.first, self.second = ([np.zeros_like(x) for x in parts] for _ in range(2))

    def step(self, gradient: list[Singles], rate: float) -> None:
        """One step down the gradient."""
        self.steps += 1
        scale = np.sqrt(1 - MEMORY**self.steps) / (1 - MOMENTUM**self.steps)
        for k, slope in enumerate(gradient):
            self.first[k] += (1 - MOMENTUM) * (slope - self.first[k])
            self.second[k] += (1 - MEMORY) * (slope**2 - self.second[k])
            root = np.sqrt(self.second[k]) + np.float32(1e-8)
            self.parts[k] -= np.float32(rate * scale) * self.first[k] / root
