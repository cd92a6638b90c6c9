"""Cards and weights files of the models of fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from equidrift.models.shared.config import LICENCE, TRAINING_DATA
from equidrift.models.shared.run import save_module


def field_card(
    task: str, config: Mapping[str, Any], own: Mapping[str, Any], *more: Mapping[str, Any]
) -> dict[str, Any]:
    """The card of a model of fields.

    Parameters
    ----------
    task : str
        What `load` of the model's class expects.
    config : mapping
        What rebuilds the model.
    own : mapping
        description, elements and units.
    more : mappings
        What the training says, then what the caller says; the last one counts.
    """
    card: dict[str, Any] = {"name": f"my-{task}", "family": "fields", "task": task}
    card |= {"config": dict(config), "max_atoms": 0, **own}
    card |= {"licence": LICENCE, "training_data": TRAINING_DATA, "quality": {}}
    for part in more:
        card |= part
    return card


class Saves(ABC):
    """A model of fields that is saved with its card."""

    diffusion: nn.Module

    @abstractmethod
    def card(self, **more: Any) -> dict[str, Any]:
        """The model card."""

    def save(self, path: str | Path, **card: Any) -> Path:
        """Write PATH.safetensors and its card; returns the former.

        Keywords go into the card.
        """
        return save_module(path, self.diffusion, self.card(**{"name": Path(path).stem, **card}))
