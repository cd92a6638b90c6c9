"""Flows of scores that nobody trained: one to one, and folded."""

from __future__ import annotations

import numpy as np

from equidrift.models.rigid.flow import PoseFlow, ScoreDensity
from equidrift.models.rigid.mixture import PoseMixture
from equidrift.models.rigid.network import ScoreNetwork

SCALE_A = np.linalg.cholesky(np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.05], [0.0, 0.05, 0.4]]))
Z = np.array([0.0, 0.0, 1.0])


def smooth(*, turning: bool = True, axis: np.ndarray | None = None) -> PoseFlow:
    """Of random weights, with maps that are one to one."""
    rng = np.random.default_rng(3)
    network = ScoreNetwork.drawn(rng, turning=turning, axis=axis, last=4.0)
    return PoseFlow(network, np.array([0.1, 0.0, -0.2]), SCALE_A)


def folded(steps: int = 4) -> PoseFlow:
    """Of weights so wild that some of its draws are not led back."""
    network = ScoreNetwork.drawn(np.random.default_rng(1), scale=1.6, last=2.0)
    return PoseFlow(network, np.zeros(3), 0.3 * np.eye(3), steps)


def density(flow: PoseFlow, mixture: PoseMixture) -> ScoreDensity:
    """Half of each, so that tests see both."""
    return ScoreDensity(flow, mixture, 0.5)
