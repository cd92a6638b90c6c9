"""The diffusion of latents: a residual MLP over (graph, shape, hand), conditioned on
properties and on any vector observable.

Training and sampling are EDM's (Karras et al. 2022): preconditioned estimates of the
clean latent, noise levels drawn log-normally, Heun's second-order steps of the
probability flow. A property enters as a Gaussian expansion of its value (PropMolFlow),
an observable as the vector that it is; each has a flag that says whether it is known,
and is left out at random in training, so that one network serves every subset of them,
none included, and classifier-free guidance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equidrift.models.shared.batches import Batched
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.schedules import noise_levels

SIGMA_LOG_MEAN, SIGMA_LOG_STD = -0.4, 1.2
SIGMA_MIN, SIGMA_MAX, RHO = 0.01, 20.0, 7.0
UNCONDITIONAL = 0.25  # share of training samples without any condition
SINGLE = 0.5  # share with one known property; the rest knows a random subset

Condition = Tensor | None  # (b, k), NaN where unknown; None where nothing is known


@dataclass(frozen=True)
class DiffusionConfig:
    """Sizes of a `LatentDenoiser`."""

    latent: int = 97  # numbers in a latent
    width: int = 384  # of the residual MLPs
    blocks: int = 5  # of them
    condition: int = 128  # numbers that modulate each block
    properties: int = 12  # scalar conditions
    centres: int = 16  # Gaussians that each of these is expanded in
    observable: int = 0  # length of a vector condition, 0 for none


class ResidualBlock(nn.Module):
    """An MLP whose input is scaled and shifted by the condition."""

    def __init__(self, config: DiffusionConfig):
        super().__init__()
        w = config.width
        self.norm = nn.LayerNorm(w, elementwise_affine=False)
        self.modulation = nn.Linear(config.condition, 2 * w)
        last = nn.Linear(2 * w, w)
        self.mlp = nn.Sequential(nn.Linear(w, 2 * w), nn.GELU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """h (b, width) under the condition c (b, condition)."""
        scale, shift = self.modulation(c).chunk(2, dim=-1)
        out: Tensor = h + self.mlp(self.norm(h) * (1 + scale) + shift)
        return out


class LatentDenoiser(nn.Module):
    """Noisy latents to clean ones.

    Latents are standardised by `shift` and `scale`, properties lie in `low` .. `high`.

    Observables are standardised by `observed_shift` and `observed_scale`.
    """

    observed_shift: Tensor
    observed_scale: Tensor

    shift: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    frequencies: Tensor
    centres: Tensor

    def __init__(self, config: DiffusionConfig):
        super().__init__()
        self.config = config
        w, c = config.width, config.condition
        for name, size, value in (
            ("shift", config.latent, 0.0),
            ("scale", config.latent, 1.0),
            ("low", config.properties, 0.0),
            ("high", config.properties, 1.0),
            ("observed_shift", config.observable, 0.0),
            ("observed_scale", config.observable, 1.0),
        ):
            self.register_buffer(name, torch.full((size,), value))
        self.register_buffer("frequencies", torch.arange(1, 17) * 0.5, persistent=False)
        self.register_buffer("centres", torch.linspace(-0.1, 1.1, config.centres), persistent=False)
        self.level = nn.Linear(32, c)
        known = config.properties * (config.centres + 1)
        self.conditions = nn.Linear(known, c) if known else None
        self.observable = (
            nn.Sequential(nn.Linear(config.observable + 1, c), nn.GELU(), nn.Linear(c, c))
            if config.observable
            else None
        )
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(c, c), nn.GELU())
        self.first, self.last = nn.Linear(config.latent, w), nn.Linear(w, config.latent)
        self.blocks = nn.ModuleList([ResidualBlock(config) for _ in range(config.blocks)])
        self.norm = nn.LayerNorm(w, elementwise_affine=False)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def embedded(self, values: Tensor | None, observable: Tensor | None) -> Tensor | float:
        """Features (b, condition) of property values (b, properties), NaN where
        unknown, and of an observable (b, size), NaN likewise.
        """
        out: Tensor | float = 0.0
        if self.conditions is not None and values is not None:
            known = ~values.isnan()
            place = (
                (torch.nan_to_num(values) - self.low) / (self.high - self.low).clamp_min(1e-9)
            ).clamp(-0.2, 1.2)
            heap = (
                torch.exp(
                    -0.5
                    * ((place[..., None] - self.centres) * (self.config.centres / 1.2)).square()
                )
                * known[..., None]
            )
            out = out + self.conditions(torch.cat([heap.flatten(1), known.to(heap.dtype)], dim=-1))
        if self.observable is not None and observable is not None:
            known = ~observable.isnan().any(-1, keepdim=True)
            vector = torch.where(
                known,
                (torch.nan_to_num(observable) - self.observed_shift) / self.observed_scale,
                0.0,
            )
            out = out + self.observable(torch.cat([vector, known.to(vector.dtype)], dim=-1))
        return out

    def forward(
        self, x: Tensor, sigma: Tensor, values: Condition = None, observable: Condition = None
    ) -> Tensor:
        """The estimate (b, latent) of the clean standardised latents from x (b, latent)
        of noise levels sigma (b,).
        """
        s = sigma[:, None]
        phase = 0.25 * s.log() * self.frequencies
        c = self.mix(
            self.level(torch.cat([phase.sin(), phase.cos()], dim=-1))
            + self.embedded(values, observable)
        )
        h = self.first(x * (s.square() + 1).rsqrt())
        for block in self.blocks:
            h = block(h, c)
        out = self.last(self.norm(h))
        clean: Tensor = x / (s.square() + 1) + out * s * (s.square() + 1).rsqrt()
        return clean

    @torch.no_grad()
    def sample(
        self,
        noise: Tensor,
        steps: int,
        values: Condition = None,
        observable: Condition = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Latents (b, latent) from standard normal noise, by `steps` steps of Heun's
        method; guidance 0 ignores the conditions.
        """
        none = (
            None if values is None else torch.full_like(values, torch.nan),
            None if observable is None else torch.full_like(observable, torch.nan),
        )
        conditional = values is not None or observable is not None

        def clean(x: Tensor, level: float) -> Tensor:
            sigma = torch.full((len(x),), level, device=x.device)
            if not conditional or guidance == 1.0:
                out: Tensor = self(x, sigma, values, observable)
                return out
            plain: Tensor = self(x, sigma, *none)
            return (
                plain
                if guidance == 0.0
                else plain + guidance * (self(x, sigma, values, observable) - plain)
            )

        x = noise * SIGMA_MAX
        for level, following in pairwise(
            noise_levels(steps, highest=SIGMA_MAX, lowest=SIGMA_MIN, rho=RHO)
        ):
            slope = (x - clean(x, level)) / level
            moved = x + (following - level) * slope
            if following > 0:
                slope = 0.5 * (slope + (moved - clean(moved, following)) / following)
                moved = x + (following - level) * slope
            x = moved
        return x * self.scale + self.shift


@dataclass
class LatentExample(Batched):
    """A training batch: standardised latents (b, d), noise (b, d), levels (b,),
    property values and observables, NaN where unknown.

    `known` (b, d) is 0 for parts of a latent that are not known (the conformer was not
    encoded); they stand as noise about 0.
    """

    clean: Tensor
    known: Tensor
    noise: Tensor
    sigma: Tensor
    values: Tensor | None
    observable: Tensor | None


def diffusion_loss(network: nn.Module, example: LatentExample) -> Tensor:
    """Denoising error weighed as in EDM: (sigma^2 + 1) / sigma^2."""
    s = example.sigma[:, None]
    with short_products(example.clean.device):
        estimate = network(
            example.clean + s * example.noise, example.sigma, example.values, example.observable
        )
    error = (estimate - example.clean).square() * example.known
    loss: Tensor = (error * (s.square() + 1) / s.square()).sum() / example.known.sum()
    return loss


class LatentBatches:
    """Batch number `step` of an endless, seeded sequence; conditions are left out at
    random.
    """

    def __init__(
        self,
        latents: NDArray[np.float32],
        values: NDArray[np.float32] | None,
        observables: NDArray[np.float32] | None,
        *,
        batch: int,
        seed: int,
    ):
        self.latents, self.values, self.observables = latents, values, observables
        self.batch, self.seed = min(batch, len(latents)), seed

    def __call__(self, step: int) -> LatentExample:
        """The training batch of a step."""
        rng = np.random.default_rng((self.seed, 1 << 32, step))
        rows = rng.integers(0, len(self.latents), self.batch)
        sigma = np.exp(SIGMA_LOG_MEAN + SIGMA_LOG_STD * rng.standard_normal(self.batch)).astype(
            np.float32
        )
        values = None if self.values is None else torch.from_numpy(thinned(self.values[rows], rng))
        observable = None
        if self.observables is not None:
            vectors = self.observables[rows].copy()
            vectors[rng.random(self.batch) < UNCONDITIONAL] = np.nan
            observable = torch.from_numpy(vectors)
        noise = torch.from_numpy(
            rng.standard_normal((self.batch, self.latents.shape[1]), np.float32)
        )
        clean = torch.from_numpy(self.latents[rows])
        known = (~clean.isnan()).float()
        return LatentExample(
            clean.nan_to_num(), known, noise, torch.from_numpy(sigma), values, observable
        )


def thinned(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A copy of property values (b, p) with none, one, or a random subset of each row
    known.
    """
    b, p = values.shape
    kind: NDArray[np.float64] = rng.random((b,))
    chosen: NDArray[np.int64] = rng.integers(0, p, (b,))
    single = np.arange(p) == chosen[:, None]
    some: NDArray[np.bool_] = rng.random((b, p)) < 0.5
    kept = np.where((kind < UNCONDITIONAL + SINGLE)[:, None], single, some)
    kept &= (kind >= UNCONDITIONAL)[:, None]
    return np.where(kept, values, np.nan).astype(np.float32)
