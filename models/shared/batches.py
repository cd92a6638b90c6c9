"""What all batches have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Epochs:
    """The epoch of each step of an endless, seeded sequence, whose order is drawn anew.

    Parameters
    ----------
    steps : int
        Of an epoch.
    seed : int
        Of the sequence.
    order : callable
        The order of an epoch, drawn by its random stream.
    """

    def __init__(
        self,
        steps: int,
        seed: int,
        order: Callable[[np.random.Generator], NDArray[np.int64]],
    ):
        self.steps, self.seed, self._order = steps, seed, order
        self._drawn: tuple[int, NDArray[np.int64]] | None = None

    def __call__(self, step: int) -> tuple[NDArray[np.int64], int]:
        """The order of a step's epoch, and the step's place in it."""
        epoch, place = divmod(step, self.steps)
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._order(np.random.default_rng((self.seed, epoch)))
        return self._drawn[1], place


class Batched:
    """A dataclass of tensors, and of other batches, with one row per sample.

    Its length is the number of rows, and it moves to a device as a whole.
    """

    def __len__(self) -> int:
        """Rows: those of the first field that has rows."""
        for _, value in self._parts():
            return len(value)
        raise TypeError(f"{type(self).__name__} holds no tensor, and so has no length")

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""
        moved: Any = {name: value.to(device) for name, value in self._parts()}
        made: Self = dataclasses.replace(self, **moved)  # type: ignore[type-var]
        return made

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """The fields that are tensors or batches, by name."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor | Batched):
                yield name, value
