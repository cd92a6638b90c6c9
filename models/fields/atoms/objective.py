"""The diffusion of fields on atoms: the score in white coordinates, its loss, and the
density.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from equidrift.models.fields.atoms.network import AtomConfig, AtomGram, AtomKernel
from equidrift.models.fields.atoms.score import AtomScore
from equidrift.models.fields.functions.gram import Gram
from equidrift.models.fields.functions.likelihood import log_likelihood
from equidrift.models.fields.functions.network import NetworkConfig, NoNetwork
from equidrift.models.fields.functions.objective import (
    STD_FLOOR,
    FieldDiffusion,
    LinearBeta,
    draw_times,
)
from equidrift.models.shared.devices import short_products


class AtomDiffusion(FieldDiffusion):
    """Limiting GP and score network; times, noising and the preconditioned score are
    those of `FieldDiffusion`.
    """

    def __init__(self, config: AtomConfig, schedule: LinearBeta | None = None):
        super().__init__(AtomKernel(config), NetworkConfig(kind="none"), schedule)  # type: ignore[arg-type]
        self.config = config
        self.network = (
            AtomScore(config) if config.score_layers else NoNetwork(NetworkConfig(kind="none"))
        )

    def white_score(self, t: Tensor, u: Tensor, mask: Tensor, gram: AtomGram) -> Tensor:
        """grad log p_t of whitened values u = K^-1/2 y."""
        std, _ = self.factors(t)
        if self.gaussian:
            return -u
        small = next(
            self.network.parameters()
        ).dtype  # the network is float32 wherever the values are float64
        known = gram.known
        f = self.network(t.to(small), std[:, 0, 0].to(small), u.to(small), mask, known).to(u.dtype)
        out: Tensor = -u + f / (std.to(u.dtype) + STD_FLOOR)
        return out

    def score(  # type: ignore[override]
        self, t: Tensor, x: Tensor, y: Tensor, mask: Tensor, gram: AtomGram, half: bool = False
    ) -> Tensor:
        """K grad log p_t(y) of residuals y (B, n, p), as in `FieldDiffusion`."""
        del x, half
        if self.gaussian:
            return -y
        return gram.root(self.white_score(t, gram.whiten(y), mask, gram))

    def loss(
        self, x: Tensor, y: Tensor, mask: Tensor, generator: torch.Generator, half: bool = True
    ) -> Tensor:
        """Denoising score matching of residuals, in the metric in which the limiting GP
        is white.
        """
        with torch.no_grad():
            mean, gram = self.kernel.law(x, mask)  # type: ignore[operator]
            u = gram.whiten((y - mean) * mask[..., None]).float() * mask[..., None]
        t = draw_times(len(x), self.schedule, generator).to(x.device)
        std, alpha = (f.float() for f in self.factors(t))
        z = torch.randn(u.shape, generator=generator, device=generator.device).to(u)
        z = z * mask[..., None]
        with short_products(x.device, half):
            score = self.white_score(t, alpha * u + std * z, mask, gram)
        error = (std * score.float() + z).square().sum(-1) * mask
        return (error.sum(-1) / mask.sum(-1)).mean()

    def log_prob(self, x: Tensor, y: Tensor, mask: Tensor, **options: Any) -> Tensor:
        """Log densities (B,) of standardised values y (B, n, p) of the atoms in mask
        (B, n).
        """
        with torch.no_grad():
            mean, gram = self.kernel.law(x.float(), mask)  # type: ignore[operator]
            y = (y - mean) * mask[..., None]
            out: Tensor
            if self.gaussian:
                out = gram.log_prob(y)
                return out
            white = gram.whiten(y).float() * mask[..., None]
            process = cast(FieldDiffusion, _White(self, gram))
            found = log_likelihood(process, x, white, mask, **options)
            logs = (
                gram.factor.diagonal(dim1=1, dim2=2)
                .log()
                .reshape(len(y), -1, self.config.components)
            )
            out = found - (logs * mask[..., None]).sum((1, 2))
            return out


class _White:
    """The same diffusion in coordinates in which the limiting GP is white: there the
    divergence is cheap to estimate.
    """

    gaussian = False

    def __init__(self, diffusion: AtomDiffusion, gram: AtomGram):
        self.diffusion, self.known, self.schedule, self.kernel = (
            diffusion,
            gram,
            diffusion.schedule,
            self,
        )

    def closed_log_prob(self, x: Tensor, y: Tensor, mask: Tensor) -> None:
        """There is a network."""

    def gram(self, x: Tensor, mask: Tensor) -> Gram:
        """The white Gram matrix."""
        return Gram(None, 1.0, x.shape[1], self.diffusion.config.components, mask, x.device)

    def score(self, t: Tensor, x: Tensor, u: Tensor, mask: Tensor, gram: Gram) -> Tensor:
        """grad log p_t(u)."""
        del x, gram
        return self.diffusion.white_score(t, u, mask, self.known)


def random_subsets(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Which atoms (B, n) have a value: all of them in two of five molecules, else each
    with a chance that is even in [0, 1].
    """
    share = torch.rand(len(mask), 1, generator=generator, device=generator.device)
    share = torch.where(
        torch.rand(len(mask), 1, generator=generator, device=generator.device) < 0.4,
        torch.ones_like(share),
        share,
    )
    chosen = (torch.rand(mask.shape, generator=generator, device=generator.device) < share) & mask
    return torch.where(chosen.any(1, keepdim=True), chosen, mask)
