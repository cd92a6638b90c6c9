"""Which waves of the soft torsions the networks of the flow see."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def wave_orders(k: int, harmonics: int) -> NDArray[np.int64]:
    """(f, k) whole numbers: the multiples, sums and differences of k angles that the
    networks see.
    """
    eye = np.eye(k, dtype=np.int64)
    pairs = [eye[i] + sign * eye[j] for i in range(k) for j in range(i) for sign in (1, -1)]
    rows = [h * row for h in range(1, harmonics + 1) for row in eye] + pairs
    return np.array(rows, np.int64).reshape(len(rows), k)


def known_features(orders: NDArray[np.int64], m: int) -> Tensor:
    """Which features (m, 1 + 2 f) each torsion's spline may see: the constant, and those
    of the torsions before its own.
    """
    rows = [[k > np.flatnonzero(row).max(initial=0) for row in orders] for k in range(m)]
    known = np.array(rows, bool).reshape(m, len(orders))
    return torch.from_numpy(np.concatenate([np.ones((m, 1)), known, known], axis=1))
