"""A network without symmetry, averaged over the frames of its points (Puny et al.,
arXiv:2110.03336).
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn


class FrameAveragedField(nn.Module):
    """The mean of a network's answers in the frames of the known points.

    A frame has its origin at the centre of the points and its axes along their principal
    axes; each axis has two signs, so that there are four frames in the plane. The mean
    turns with rotations, mirror images and translations, at the price of as many calls.
    A single point has no axes, and the answer jumps where two principal moments are
    equal.

    Parameters
    ----------
    network : nn.Module
        Called with (t, std, x, y, mask), gives values like y.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.config = network.config

    def forward(self, t: Tensor, std: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Values (B, n, p) at points (B, n, d); they turn where p = d > 1."""
        placed, axes = in_frames(x, mask)
        count = axes.shape[1]
        vector = y.shape[-1] == x.shape[-1] > 1
        turned = y[:, None] @ axes if vector else y[:, None].expand(-1, count, -1, -1)
        several = [u.repeat_interleave(count, 0) for u in (t, std)]
        known = mask.repeat_interleave(count, 0)
        made = self.network(*several, placed.flatten(0, 1), turned.flatten(0, 1), known)
        answers: Tensor = made.unflatten(0, (len(y), count))
        return ((answers @ axes.mT) if vector else answers).mean(1)


def in_frames(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Points (B, f, n, d) in the frames of those in the mask (B, n), and the frames'
    axes (B, f, d, d) as columns.
    """
    keep = mask.to(x.dtype)[..., None]
    centred = x - (x * keep).sum(1, keepdim=True) / keep.sum(1, keepdim=True)
    known = centred * keep
    axes = torch.linalg.eigh((known.mT @ known).double()).eigenvectors.to(x.dtype)
    signs = torch.tensor(
        list(product((1.0, -1.0), repeat=x.shape[-1])), dtype=x.dtype, device=x.device
    )
    frames = axes[:, None] * signs[None, :, None, :]
    return centred[:, None] @ frames, frames
