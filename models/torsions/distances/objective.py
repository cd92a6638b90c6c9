"""The loss: denoising score matching of wrapped normal noise on torsions."""

from __future__ import annotations

from torch import Tensor, nn

from equidrift.models.torsions.distances.data import NoisedBatch
from equidrift.models.torsions.distances.wrapped import rms_score_of, wrapped_score


def distance_loss(network: nn.Module, batch: NoisedBatch) -> Tensor:
    """Mean square error of the score over that of the noise, per noised torsion.

    1 for a network that answers 0 (Jing et al. 2022, arXiv:2206.01729, equation 5,
    each level weighted by the noise's own score).
    """
    rows = batch.rows
    predicted = network(rows, batch.positions_A, batch.sigmas, batch.moving, batch.log_kT)
    scale = rms_score_of(batch.sigmas)[rows.row_of_torsion]
    wanted = wrapped_score(batch.noise, batch.sigmas[rows.row_of_torsion]) / scale
    error = (predicted - wanted).square() * batch.moving
    loss: Tensor = error.sum() / batch.moving.sum().clamp_min(1.0)
    return loss
