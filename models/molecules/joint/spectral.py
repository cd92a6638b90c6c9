"""Training batches of the joint model that tell it infrared spectra.

Few molecules have a spectrum, so an epoch shows these more often. A spectrum is left
out now and then, so that the network knows molecules without one (classifier-free
guidance), and half of those that are shown lack an end, as measured spectra do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.molecules.joint.data import Heavy
from equidrift.models.molecules.joint.objective import Batches, Example
from equidrift.models.shared.batches import Epochs
from equidrift.spectrum import COVERED_CM1, GRID_CM1, relative_roots

UNTOLD = 0.15  # of the molecules that have a spectrum: it is not shown
SHORTENED = 0.5  # of those shown: an end is missing


@dataclass(frozen=True)
class Spectral:
    """Molecules, and the spectra of some of them.

    Attributes
    ----------
    molecules : Heavy
    which : int64, shape (n,)
        Of each molecule the row of its spectrum in `vectors`; -1 if it has none.
    vectors : float64, shape (s, bins)
        Spectra in any unit.
    share : float
        Of the molecules shown: with a spectrum.
    """

    molecules: Heavy
    which: NDArray[np.int64]
    vectors: NDArray[np.float64]
    share: float

    @property
    def known(self) -> NDArray[np.int64]:
        """Rows of the molecules that have a spectrum."""
        return np.flatnonzero(self.which >= 0)


class SpectralBatches(Batches):
    """Batches that tell of some molecules their infrared spectrum."""

    def __init__(
        self,
        data: Spectral,
        mean: Tensor,
        deviation: Tensor,
        *,
        size: int,
        seed: int,
        repeat: int = 1,
    ):
        super().__init__(data.molecules, mean, deviation, size=size, seed=seed, repeat=repeat)
        self.which, self.vectors = data.which, data.vectors
        told = self.which[self.rows] >= 0
        wanted = data.share / (1.0 - data.share) * (~told).sum()
        times = max(1, round(wanted / max(1, int(told.sum()))))
        self.rows = np.repeat(self.rows, np.where(told, times, 1))
        self.epochs = Epochs(len(self.rows) // self.size, seed, self._order)

    def example(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Example:
        """The training batch of some molecules, `rows` of the data."""
        made = super().example(rows, rng)
        return replace(made, targets=replace(made.targets, spectrum=self._shown(rows, rng)))

    def _shown(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Relative roots (b, bins) of the molecules' spectra, NaN where none is shown."""
        which = self.which[rows]
        table = np.full((len(rows), len(GRID_CM1)), np.nan)
        table[which >= 0] = self.vectors[which[which >= 0]]
        table[rng.random(len(rows)) < UNTOLD] = np.nan
        lower = rng.uniform(GRID_CM1[0], COVERED_CM1[0], (len(rows), 1))
        upper = rng.uniform(COVERED_CM1[1], GRID_CM1[-1], (len(rows), 1))
        beyond = np.where(rng.random((len(rows), 1)) < 0.5, lower > GRID_CM1, upper < GRID_CM1) & (
            rng.random((len(rows), 1)) < SHORTENED
        )
        table[beyond] = np.nan
        return torch.from_numpy(relative_roots(table).astype(np.float32))
