"""The density of torsions at one frozen geometry."""

from __future__ import annotations

from typing import Any

import numpy as np

from equidrift.geometry import Floats
from equidrift.models.torsions.flow import Diffusion, DiscreteFlow
from equidrift.montecarlo.densities import Block, Histogram

TABLE_BINS = {1: 180, 2: 72}  # cells per torsion in the table of one or two


class Conditioned:
    """The density at one frozen geometry: the discretised flow, or for one or two
    torsions a table of the least noise level.

    Parameters
    ----------
    diffusion : Diffusion
        Of all torsions.
    floor : float
        Share of uniform proposals, so that no region is closed to a model that is wrong
        there.
    """

    def __init__(self, diffusion: Diffusion, floor: float):
        self.diffusion, self.floor, self.n_torsions = diffusion, floor, diffusion.n_torsions
        self._made: tuple[bytes, Any] | None = None

    def _density(self, phi: Floats | None, block: Block | None) -> Any:
        key = (
            b""
            if block is None or phi is None
            else block.tobytes() + np.delete(phi, block).tobytes()
        )
        if self._made is None or self._made[0] != key:
            self._made = key, self._make(phi, block)
        return self._made[1]

    def _make(self, phi: Floats | None, block: Block | None) -> Any:
        width = self.n_torsions if block is None else len(block)
        if width > max(TABLE_BINS):
            return DiscreteFlow(
                self.diffusion if block is None or phi is None else self.diffusion.given(phi, block)
            )
        least = self.diffusion.levels[-1]
        return Histogram(
            -(least if block is None or phi is None else least.given(phi, block)).on_grid(
                TABLE_BINS[width]
            )
        )

    def sample_with_log_prob(
        self, n: int, rng: np.random.Generator, given: Floats | None, block: Block | None
    ) -> tuple[Floats, Floats]:
        """(n, m) torsions and their (n,) log densities; outside a block they are those
        `given`.
        """
        density, width = (
            self._density(given, block),
            self.n_torsions if block is None else len(block),
        )
        uniform = rng.random(n) < self.floor
        new = rng.uniform(-np.pi, np.pi, (n, width))
        log_q = np.zeros(n)
        if isinstance(density, DiscreteFlow):
            new[~uniform], log_q[~uniform] = density.sample_with_log_prob(
                int((~uniform).sum()), rng
            )
            if uniform.any():
                log_q[uniform] = density.log_prob(new[uniform])
        else:
            new[~uniform] = density.sample(int((~uniform).sum()), rng)
            log_q = density.log_prob(new)
        phi = new if block is None else np.tile(np.asarray(given), (n, 1))
        if block is not None:
            phi[:, block] = new
        return phi, self._floored(log_q, width)

    def log_prob(self, phi: Floats, block: Block | None = None) -> Floats:
        """(k,) log densities; with a block all rows must agree outside it."""
        if block is None:
            return self._floored(self._density(None, None).log_prob(phi), self.n_torsions)
        return self._floored(self._density(phi[0], block).log_prob(phi[:, block]), len(block))

    def _floored(self, log_q: Floats, width: int) -> Floats:
        out: Floats = np.logaddexp(
            np.log1p(-self.floor) + log_q, np.log(self.floor) - width * np.log(2 * np.pi)
        )
        return out
