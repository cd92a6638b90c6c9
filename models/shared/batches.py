"""What all batches have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor


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
