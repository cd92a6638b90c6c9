"""What an infrared spectrum tells the network of the joint model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.molecules.spectra.whitening import Whitened
from equidrift.spectrum import GRID_CM1

COMPONENTS = 40  # of root spectra, where the config says no number
LARGEST = 6.0  # of a component, in standard deviations of the training spectra
LEAST_SPREAD = 0.01  # of a relative root along a component: what varies less is noise


class SpectrumEmbedding(Whitened):
    """Adds to the embedding of targets and to the logits of the number of tokens.

    Both last layers begin at zero: a network that goes on from weights without spectra
    is the same function at first.
    """

    def __init__(self, components: int, width: int, most_heavy: int):
        super().__init__(len(GRID_CM1), components)
        self.hidden = nn.Sequential(
            nn.Linear(components, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU()
        )
        self.out = nn.Linear(width, width)
        self.sizes = nn.Linear(width, most_heavy)
        for last in (self.out, self.sizes):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @property
    def learnt(self) -> bool:
        """Whether the components of any spectra are known."""
        return bool(self.whitening.any())

    def forward(self, roots: Tensor) -> tuple[Tensor, Tensor]:
        """(embedding (b, width), logits (b, most_heavy)) of relative root spectra (b, bins),
        NaN where nothing is known: such bins count as the training's mean, and a row
        without a number adds nothing.
        """
        known = ~roots.isnan()
        codes = self.whitened(torch.where(known, roots, self.centre)).clamp(-LARGEST, LARGEST)
        given = known.any(1, keepdim=True).to(codes.dtype)
        hidden = self.hidden(codes)
        return self.out(hidden) * given, self.sizes(hidden) * given
