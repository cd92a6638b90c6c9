"""How many threads RDKit is told to use."""

from __future__ import annotations

import os

SHARE = "OMP_NUM_THREADS"  # environment variable: the share of a worker, among others


def thread_count(num_threads: int) -> int:
    """The number for RDKit: 0, which is all, becomes the share of this process if the
    environment names one. Results do not depend on it.
    """
    named = os.environ.get(SHARE, "")
    return num_threads or (int(named) if named.isdecimal() else 0)
