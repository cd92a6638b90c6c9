"""What several parts of the energy are made of: sizes, perceptrons, dot products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn


@dataclass(frozen=True)
class EnergyConfig:
    """Sizes. `blocks`: neighbourhoods after the bonded terms; 0 leaves a force field
    with learned coefficients. With a `backbone`, a trunk of the symmetry kit of so many
    layers stands in their place.
    """

    width: int = 96
    rounds: int = 4
    hidden: int = 96
    radial: int = 16
    cutoff_A: float = 6.0
    blocks: int = 1
    channels: int = 32
    cutoff_neighbours_A: float = 5.0
    backbone: str | None = None  # a name of models.shared.backbones.choice

    @classmethod
    def of_card(cls, config: Mapping[str, Any]) -> EnergyConfig:
        """The sizes in a card's `config`, which names the reference, too."""
        return cls(**{key: value for key, value in config.items() if key != "reference"})


def perceptron(size: int, hidden: int, out: int) -> nn.Sequential:
    """Two linear layers with SiLU between them."""
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, out))


def begin_small(head: nn.Sequential) -> None:
    """Let a fresh perceptron say next to nothing."""
    last = cast(nn.Linear, head[-1])
    nn.init.normal_(last.weight, std=0.001)
    nn.init.zeros_(last.bias)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product of vectors laid out (3, ...)."""
    return (a * b).sum(0)
