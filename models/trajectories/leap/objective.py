"""What a leap learns: the log density of where the dynamics went."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from equidrift.models.trajectories.leap.density import LeapNetwork, Leaps


def leap_loss(model: nn.Module, batch: Leaps) -> Tensor:
    """Mean negative log density, in nats per torsion."""
    network = cast(LeapNetwork, model)
    density = network.log_prob(batch.present, batch.phi)
    return -density.sum() / batch.present.mask.sum()
