"""Distances of forecasts from the truth, trajectory by trajectory (arXiv:2410.13027,
metrics): the average displacement error (ADE) over frames, and that of the final frame
(FDE).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def displacements(made: Array, truth: Array) -> dict[str, Array]:
    """ADE and FDE (k,) of each trajectory, means over samples and nodes, of samples (s,
    k, t, n, d) or (k, t, n, d) against (k, t, n, d).
    """
    apart = np.linalg.norm(made - truth, axis=-1)
    apart = apart.reshape(-1, *truth.shape[:-1])  # (s, k, t, n)
    return {"ADE": apart.mean((0, 2, 3)), "FDE": apart[:, :, -1].mean((0, 2))}


def of_one(made: Array, truth: Array) -> dict[str, float]:
    """ADE and FDE of samples (s, t, n, d) of one trajectory (t, n, d)."""
    found = displacements(made[:, None], truth[None])
    return {name: float(values[0]) for name, values in found.items()}


def best_of(made: Array, truth: Array) -> dict[str, Array]:
    """minADE and minFDE (k,) under the names ADE and FDE: of samples (s, k, t, d) of k
    agents against (k, t, d), each the least over the samples.
    """
    apart = np.linalg.norm(made - truth, axis=-1)
    return {"ADE": apart.mean(-1).min(0), "FDE": apart[..., -1].min(0)}
