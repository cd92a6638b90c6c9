"""Superposition and errors of geometries, on tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from equidrift.models.shared.graph_codes import MAX_HOPS, Batch
from equidrift.models.shared.newton import distances

# Weight of a pair's distance error by the number of bonds between its atoms: local geometry decides
# the energy.
HOP_WEIGHTS = (0.0, 0.0, 5.0, 3.0, 1.5, 0.7) + (0.4,) * (MAX_HOPS - 4)


HUBER_A = 0.02


def geometry_errors(batch: Batch, x: Tensor, target: Tensor) -> Tensor:
    """For each molecule (b,) the Huber error of distances, by hops, plus that of
    coordinates after superposition.
    """
    mask = batch.mask
    weight = x.new_tensor(HOP_WEIGHTS)[batch.pair[..., 1].long()] * (
        mask[:, :, None] & mask[:, None]
    )
    of_pairs = functional.smooth_l1_loss(
        distances(x)[1], distances(target)[1], beta=HUBER_A, reduction="none"
    )
    of_distances = (weight * of_pairs).sum((1, 2)) / weight.sum((1, 2))
    rotated = superpose(target, x, mask)
    step = ((x - rotated).square().sum(-1) + HUBER_A**2).sqrt() - HUBER_A
    of_coordinates = (step * mask).sum(1) / mask.sum(1)
    return of_distances + 0.5 * of_coordinates


def centre(x: Tensor, mask: Tensor) -> Tensor:
    """The mean (b, 1, 3) of the masked atoms (b, n) of x (b, n, 3)."""
    weight = mask[..., None].to(x.dtype)
    return (x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


def centred(x: Tensor, mask: Tensor) -> Tensor:
    """x (b, n, 3) less the mean of its masked atoms (b, n), 0 elsewhere."""
    return (x - centre(x, mask)) * mask[..., None].to(x.dtype)


@torch.no_grad()
def superpose(moving: Tensor, fixed: Tensor, mask: Tensor) -> Tensor:
    """`moving` (b, n, 3) rotated and shifted onto `fixed` over the masked atoms; no
    gradient flows through it.
    """
    w = mask[..., None].to(fixed.dtype)
    a, b = centred(moving, mask), centred(fixed, mask)
    u, _, vt = torch.linalg.svd(a.transpose(1, 2) @ b)
    sign = torch.linalg.det(u @ vt).sign()
    u = torch.cat([u[..., :2], u[..., 2:] * sign[:, None, None]], dim=-1)
    out: Tensor = (a @ (u @ vt) + centre(fixed, mask)) * w
    return out
