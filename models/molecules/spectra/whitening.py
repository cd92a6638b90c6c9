"""Spectra in whitened combinations of their bins, which networks work with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Whitened(nn.Module):
    """A module that knows the principal components of root spectra."""

    centre: Tensor
    whitening: Tensor

    def __init__(self, bins: int, components: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(bins))
        self.register_buffer("whitening", torch.zeros(bins, components))

    def learn(self, roots: NDArray[np.float64], least: float = 1e-6) -> None:
        """Take the components of root spectra (n, bins); see `whitening_of`."""
        centre, whitening = whitening_of(roots, self.whitening.shape[1], least)
        self.centre.copy_(torch.from_numpy(centre))
        self.whitening[:, : whitening.shape[1]].copy_(torch.from_numpy(whitening))

    def whitened(self, root: Tensor) -> Tensor:
        """Combinations (..., components) of root spectra (..., bins)."""
        return (root - self.centre) @ self.whitening


def whitening_of(
    roots: NDArray[np.float64], components: int, least: float = 1e-6
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(centre (bins,), combinations (bins, components)) that give root spectra (n,
    bins) unit variance: principal components. One that varies by less than `least` is
    divided by that.
    """
    centre = roots.mean(0)
    _, sizes, axes = np.linalg.svd(roots - centre, full_matrices=False)
    spread = sizes[:components] / np.sqrt(len(roots))
    return centre, axes[:components].T / np.maximum(spread, least)
