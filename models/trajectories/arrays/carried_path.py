"""The path of a trained integrator or EGNN as a prior path of plain arrays."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.shared.devices import Device, pick_device
from equidrift.models.shared.run import load_network
from equidrift.models.trajectories.arrays.carry import CARRIERS, Spread, carry_of, filled
from equidrift.models.trajectories.diffusion.mean_path import check_weights
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.networks import make_network
from equidrift.models.trajectories.sources import Drawn


class CarriedPath:
    """Given frames carried on without noise.

    Parameters
    ----------
    weights : str or path
        An integrator or EGNN of the same system: the name of a shipped one, or the path
        of a card or safetensors file.
    sha256 : str or None
        Of the weights that the paths of a training came from.
    device : torch device; None is CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        For another kind of model.
    WeightsError
        If the weights are not those of the training: the paths would be others.
    """

    def __init__(self, weights: str | Path, sha256: str | None = None, device: Device = None):
        network, card = load_network(weights, "trajectory-arrays", make_network)
        if not isinstance(network, CARRIERS):
            raise InputError(
                f"prior_weights: {weights} is of kind {card['config']['kind']}, and a prior path "
                "is that of an integrator or EGNN; give one of the same system, such as "
                "nbody-charged"
            )
        self.weights_sha256 = str(card["sha256"])
        check_weights(f"paths of {str(weights)!r}", self.weights_sha256, sha256)
        self.network = network.to(pick_device(device))
        self.spacing = float(card["training"]["spacing"])

    def __call__(self, graph: Graph, frames: Tensor, given: Tensor) -> Tensor:
        """Frames (b, t, n, d) float64, of which those that are given (t,) are read and
        come back as they are.
        """
        known = torch.where(given[None, :, None, None], frames.double(), 0.0)
        carry = carry_of(self.network, graph, self.spacing, Spread([], 0.0))
        return filled(known, given, carry)

    def of_windows(self, drawn: Drawn, given: Tensor) -> Tensor:
        """The same of windows that are trained on."""
        return self(drawn.graph, drawn.frames, given)
