"""Atoms held in their places, as the networks' batches need them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.models.shared.graph_codes import (
    GraphCodes,
    graph_codes,
)
from equidrift.models.shared.newton import Held


def held_tensors(
    known: Sequence[Known], origins_A: Sequence[NDArray[np.float64]], n: int, device: torch.device
) -> Held:
    """What is known of each row of a batch of `n` padded atoms, in frames with the
    origins (3,) given.
    """
    mask, positions = np.zeros((len(known), n), bool), np.zeros((len(known), n, 3), np.float32)
    lower = upper = None
    if any(len(one.pairs) for one in known):
        lower, upper = (
            np.zeros((len(known), n, n), np.float32),
            np.full((len(known), n, n), np.inf, np.float32),
        )
    for k, (one, origin) in enumerate(zip(known, origins_A, strict=True)):
        mask[k, one.atoms], positions[k, one.atoms] = True, one.positions_A - origin
        if lower is not None and upper is not None:
            for i, j in (one.pairs.T, one.pairs.T[::-1]):
                lower[k, i, j], upper[k, i, j] = one.lower_A, one.upper_A
    bounds = [
        None if table is None else torch.from_numpy(table).to(device) for table in (lower, upper)
    ]
    return Held(torch.from_numpy(mask).to(device), torch.from_numpy(positions).to(device), *bounds)


def origin(known: Known) -> NDArray[np.float64]:
    """The origin of the frame in which a molecule with held atoms is sampled."""
    return known.positions_A.mean(0) if len(known.atoms) else np.zeros(3)


def turned_rows(codes: GraphCodes, known: Known) -> GraphCodes:
    """Codes whose hydrogen tetrahedra have the chirality that held atoms give them:
    there it is decided which like hydrogen is which.
    """
    place = np.full((codes.n_atoms, 3), np.nan)
    place[known.atoms] = known.positions_A
    rows = codes.tetrahedral.copy()
    for row in rows[len(graph_codes(known.molecule).tetrahedral) :]:
        corners = place[row[1:]] - place[row[0]]
        corners /= np.linalg.norm(corners, axis=-1, keepdims=True)
        missing = np.isnan(corners[:, 0])
        if missing.sum() == 1:
            corners[missing] = -np.nansum(corners, axis=0)
        a, b, c, d = corners
        if np.dot(a - d, np.cross(b - d, c - d)) < 0:  # NaN is not below 0
            row[1], row[2] = row[2], row[1]
    return GraphCodes(codes.atom, codes.pair, rows)
