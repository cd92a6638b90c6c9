"""The mean path of the learned integrator as a prior path: what the force field says, of
which a diffusion learns the thermal spread and the error.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equidrift.errors import WeightsError
from equidrift.models.shared.devices import Device
from equidrift.models.trajectories.integrator.sampler import IntegratorModel
from equidrift.records import Molecule

CLOCK_FS = 5.0  # one unit of the clock of a network over a prior path
WEIGHTS = "trajectory"  # the shipped integrator


def check_weights(whose: str, now: str | None, trained: str | None) -> None:
    """Raise `WeightsError` where paths, `whose` they are, come from weights of another
    sha256 `now` than those that a model was `trained` on; None passes.
    """
    if trained not in (None, now):
        raise WeightsError(
            f"this model was trained on {whose} of sha256 {trained}, and its weights are now of "
            f"{now}; train it again, or use the version of equidrift that it was trained with"
        )


class MeanPath:
    """The integrator of `weights` without noise, through frames that are given.

    Parameters
    ----------
    sha256 : str or None
        Of the weights that the paths of a training came from.
    device : torch device; None is CUDA where there is one, else the CPU.

    Raises
    ------
    WeightsError
        If the integrator has other weights now: its paths would be others.
    """

    def __init__(self, sha256: str | None = None, device: Device = None):
        self.model = IntegratorModel(WEIGHTS, noise=0.0, device=device)
        whose = f"mean paths of the integrator {WEIGHTS!r}"
        check_weights(whose, self.model.weights_sha256, sha256)

    def __call__(
        self, molecule: Molecule, frames_A: Tensor, given: Tensor, spacing_fs: float
    ) -> Tensor:
        """Frames (b, t, n, 3) float64 in A of windows (b, t, n, 3), of which those that
        are given (t,), two or more, are read and come back as they are.
        """
        known = torch.where(given[None, :, None, None], frames_A.double(), 0.0)
        centre = known[:, given].mean((1, 2), keepdim=True)
        known = torch.where(given[None, :, None, None], known - centre, 0.0)
        return self.model.path(molecule, known, given, spacing_fs).to(centre) + centre
