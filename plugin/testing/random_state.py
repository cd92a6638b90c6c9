"""What all suites hold a model to: the global random state is the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def global_random_state_kept() -> Iterator[None]:
    """Assert that NumPy's global random state is the same after the block as before."""
    before = _state()
    yield
    assert (_state() == before).all(), "NumPy's global random state was used"


def _state() -> Any:
    state: Any = np.random.get_state()  # noqa: NPY002 - it is this state that must not move
    return np.append(state[1], state[2:])  # the words, and how many of them are used up
