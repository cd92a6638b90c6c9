"""Seeds: one random stream per sample, so that sample k is the same whatever the batch
size, order or number of workers.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, InputTypeError

RETRY_STRIDE = 1 << 40


def check_seed(seed: int) -> int:
    """Return `seed` as a plain int, or say why it cannot be one. 0 is a seed like any
    other.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputTypeError(f"seed must be an integer, not {seed!r}; give for example seed=0")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must lie in 0 .. 2**63-1, not {seed}")
    return int(seed)


def sample_seeds(seed: int, start: int, stop: int, attempt: int = 0) -> NDArray[np.int64]:
    """Seeds of samples start..stop-1 of a run: consecutive numbers after a hash of the
    run's seed and the attempt.

    Consecutive, because RDKit can embed a run of consecutive seeds in one call; hashed,
    so that two runs with neighbouring seeds share no sample. The hash leaves room below
    2**40 for the sample's index.
    """
    digest = hashlib.blake2b(f"{check_seed(seed)}/{attempt}".encode(), digest_size=8).digest()
    base = int.from_bytes(digest, "big") % (2**62 // RETRY_STRIDE) * RETRY_STRIDE
    return base + np.arange(start, stop, dtype=np.int64)


def sample_rng(seed: int) -> np.random.Generator:
    """The random stream of one sample."""
    return np.random.Generator(np.random.Philox(key=int(seed)))
