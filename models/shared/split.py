"""Which data are trained on: the parts of the shipped models, and what is held out of a
user's.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 0.05  # share of a user's data that is not trained on, so that its loss can be measured
LEAST_GROUPS = 8  # molecules, trajectories or functions that there must be before one is held out


def held_out(key: str) -> str:
    """'test', 'val' or 'train' for a molecule's key: its RDKit SMILES without stereo
    and explicit hydrogens.
    """
    bucket = zlib.crc32(key.encode()) % 100
    return "test" if bucket < 5 else "val" if bucket < 10 else "train"


def split(
    groups: Sequence[Hashable], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to hold out, whole groups (the rows of one molecule,
    say) at a time.

    Nothing is held out of fewer than `LEAST_GROUPS` groups.
    """
    names = list(dict.fromkeys(groups))
    count = 0 if share == 0 or len(names) < LEAST_GROUPS else max(1, round(share * len(names)))
    chosen = {
        names[k] for k in np.random.default_rng([seed, 0x5EED]).permutation(len(names))[:count]
    }
    held = np.array([group in chosen for group in groups], bool)
    return np.flatnonzero(~held), np.flatnonzero(held)
