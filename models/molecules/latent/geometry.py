"""The geometric autoencoder (LDM-3DG): a conformer to an invariant vector, and graph
and vector back to coordinates.

The encoder sees distances and unit vectors, and pools over atoms: no rotation,
translation, reflection or order of the atoms can matter. The hand, the one thing that
this leaves out, is a number beside the latent that changes sign under reflection. The
decoder is the package's conformer network, which denoises from nothing but noise; the
latent is added to what it knows of every atom. No geometry of another program enters.
It decodes either hand, and the conformer is mirrored where its hand is not the one
asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equidrift.models.molecules.data import QM9
from equidrift.models.molecules.latent.graph import unit
from equidrift.models.shared.backbones.conformer import ConformerNetwork
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.geometry import geometry_errors
from equidrift.models.shared.graph_codes import (
    ATOM_CODES,
    LEVELS,
    PAIR_CODES,
    Batch,
    GraphCodes,
    collate,
    exchange_hydrogens,
    make_codes,
    with_hydrogen_rows,
)
from equidrift.models.shared.layers import (
    SIGMA_DATA_A,
    Block,
    NetworkConfig,
    RadialBasis,
    block_masks,
    embedded,
)
from equidrift.models.shared.newton import distances
from equidrift.models.shared.schedules import SIGMA_MAX_A, noise_levels
from equidrift.models.shared.solvers import ancestral_step

LEVEL = LEVELS.index("B3LYP/6-31G(2df,p)")
SIGMA_LOG_MEAN, SIGMA_LOG_STD = 0.3, 1.4
FROM_NOISE = 0.15  # share of the training samples at the greatest noise level
WITHOUT = 0.1  # share of the training samples without a latent
NO_ROWS = np.zeros((0, 5), np.int64)


@dataclass(frozen=True)
class GeometryConfig:
    """Sizes of the encoder, and of the decoder as a `NetworkConfig`.

    `noise`: deviation of the noise on latents in training.
    """

    latent: int = 32
    width: int = 64
    pair_width: int = 32
    vectors: int = 4
    blocks: int = 2
    noise: float = 0.2
    decoder: dict[str, Any] = field(default_factory=dict)


class ConformerEncoder(nn.Module):
    """A conformer to its latent of unit mean square."""

    def __init__(self, config: GeometryConfig):
        super().__init__()
        sizes = NetworkConfig(
            width=config.width, pair_width=config.pair_width, vectors=config.vectors
        )
        w, p = sizes.width, sizes.pair_width
        self.atom = nn.ModuleList([nn.Embedding(size, w) for size in ATOM_CODES])
        self.pair = nn.ModuleList([nn.Embedding(size, p) for size in PAIR_CODES])
        self.radial = RadialBasis(sizes.radial, sizes.cutoff_A)
        self.distance = nn.Linear(sizes.radial, p)
        self.blocks = nn.ModuleList([Block(sizes) for _ in range(config.blocks)])
        self.norm = nn.LayerNorm(w)
        self.head = nn.Sequential(
            nn.Linear(2 * w, 2 * w), nn.SiLU(), nn.Linear(2 * w, config.latent)
        )

    def atoms(self, batch: Batch, x: Tensor) -> Tensor:
        """Vectors (b, n, w) of the atoms of conformers x (b, n, 3)."""
        atom, pair = batch.atom.int(), batch.pair.int()
        bias, pair_mask = block_masks(batch.mask, x.dtype)
        unit_vectors, d = distances(x)
        h = embedded(self.atom, atom)
        p = embedded(self.pair, pair) + self.distance(self.radial(d))
        for block in self.blocks:
            h, p = block(h, p, unit_vectors, pair_mask, bias)
        out: Tensor = self.norm(h)
        return out

    def forward(self, batch: Batch, x: Tensor) -> Tensor:
        """Latents (b, d) of mean square 1, of conformers x (b, n, 3) in A."""
        h, mask = self.atoms(batch, x), batch.mask[..., None]
        most = h.masked_fill(~mask, -1e4).amax(1)
        mean = (h * mask).sum(1) / mask.sum(1)
        return unit(self.head(torch.cat([mean, most], dim=-1)))


class GeometryAutoencoder(nn.Module):
    """Encoder, and the conformer network with the latent as its condition."""

    def __init__(self, config: GeometryConfig):
        super().__init__()
        self.config = config
        self.encoder = ConformerEncoder(config)
        self.decoder = ConformerNetwork(NetworkConfig(**{**config.decoder, "noise": True}))
        self.condition = nn.Linear(config.latent, self.decoder.config.width)
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)

    def denoise(self, batch: Batch, x: Tensor, sigma: Tensor, z: Tensor) -> list[Tensor]:
        """Estimates of the clean conformers, one per stage, from x (b, n, 3) of noise
        levels sigma (b,) and latents z (b, latent).
        """
        level = torch.full((len(x),), LEVEL, dtype=torch.long, device=x.device)
        out: list[Tensor] = self.decoder(batch, x, level, sigma, condition=self.condition(z))
        return out

    @torch.no_grad()
    def decode(self, batch: Batch, z: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Conformers (b, n, 3) by `steps` network calls from standard normal noise (b,
        n, 3), by the probability flow.
        """
        levels = noise_levels(steps)
        x = SIGMA_MAX_A * noise
        for sigma, following in pairwise(levels):
            clean = self.denoise(batch, x, torch.full((len(x),), sigma, device=x.device), z)[-1]
            x = ancestral_step(x, clean, sigma, following)
        return x


def hand(numbers: NDArray[np.integer], positions_A: NDArray[np.floating]) -> float:
    """A number in -1 .. 1 that rotations and atom orders leave alone and a reflection
    turns: 0 for a conformer that is its own image.

    The triple product, over the lengths, of the sums of r, weighed by atomic number, by
    r^2, and by both. It is blind to chiral shapes in which one of these vanishes (those
    with a twofold axis or more).
    """
    x = np.asarray(positions_A, np.float64)
    x = x - x.mean(0)
    charge, size = np.asarray(numbers, np.float64)[:, None], np.square(x).sum(1, keepdims=True)
    a, b, c = (weight.T @ x for weight in (charge, size, charge * size))
    length = np.linalg.norm(a) * np.linalg.norm(b) * np.linalg.norm(c)
    triple = np.linalg.det(np.concatenate([a, b, c]))
    return float(triple / length) if length > 1e-6 else 0.0


@dataclass
class GeometryExample(Batched):
    """A training batch: graphs, clean conformers and their mirror images (b, n, 3),
    noisy ones of levels sigma (b,), latent noise (b, d).

    `known` (b, 1) is 0 where the decoder is to do without the latent.
    """

    batch: Batch
    clean: Tensor
    mirrored: Tensor
    noisy: Tensor
    sigma: Tensor
    noise: Tensor
    known: Tensor


def geometry_loss(network: Any, example: GeometryExample) -> Tensor:
    """Error of each stage's estimate against the hand nearer to it, over the error that
    the noise level leaves to be expected.
    """
    z = network.encoder(example.batch, example.clean)
    z = unit(z + network.config.noise * example.noise) * example.known
    outs = network.denoise(example.batch, example.noisy, example.sigma, z)
    expected = (
        0.1 + example.sigma * SIGMA_DATA_A / (example.sigma.square() + SIGMA_DATA_A**2).sqrt()
    )
    loss = example.sigma.new_zeros(())
    for scale, x in zip([0.25] * (len(outs) - 1) + [1.0], outs, strict=True):
        errors = [
            geometry_errors(example.batch, x, target)
            for target in (example.clean, example.mirrored)
        ]
        loss = loss + scale * (torch.minimum(*errors) / expected).mean()
    return loss


class GeometryBatches:
    """Batch number `step` of an endless, seeded sequence of epochs over molecules of
    QM9, like sizes together.
    """

    def __init__(self, data: QM9, rows: NDArray[np.int64], *, latent: int, batch: int, seed: int):
        self.data, self.chosen, self.latent, self.seed = data, rows, latent, seed
        self.batch = min(batch, len(rows))
        self.epoch, self.plan = -1, np.zeros((0, self.batch), np.int64)

    def _epoch_plan(self, epoch: int) -> NDArray[np.int64]:
        """(batches, batch) rows: a shuffle, sorted by size, the batches shuffled."""
        rng = np.random.default_rng((self.seed, epoch))
        count = len(self.chosen) // self.batch
        rows = rng.permutation(self.chosen)[: count * self.batch]
        rows = rows[np.argsort(self.data.sizes[rows], kind="stable")]
        return rng.permutation(rows.reshape(count, self.batch), axis=0)

    def __call__(self, step: int) -> GeometryExample:
        """The training batch of a step."""
        epoch, k = divmod(step, len(self.chosen) // self.batch)
        if epoch != self.epoch:
            self.epoch, self.plan = epoch, self._epoch_plan(epoch)
        rng = np.random.default_rng((self.seed, 1 << 32, step))
        return self.example(self.plan[k], rng)

    def example(self, rows: NDArray[np.int64], rng: np.random.Generator) -> GeometryExample:
        """The training batch of some molecules."""
        codes = [qm9_codes(self.data, k) for k in rows.tolist()]
        batch = collate(codes)
        n = batch.mask.shape[1]
        clean, mirrored, noisy = (np.zeros((len(rows), n, 3), np.float32) for _ in range(3))
        sigma = np.exp(SIGMA_LOG_MEAN + SIGMA_LOG_STD * rng.standard_normal(len(rows)))
        sigma[rng.random(len(rows)) < FROM_NOISE] = SIGMA_MAX_A
        for k, (row, code) in enumerate(zip(rows.tolist(), codes, strict=True)):
            x = self.data.positions(row)
            x = x - x.mean(0)
            hands = [exchange_hydrogens(code, image) for image in (x, -x)]
            clean[k, : len(x)], mirrored[k, : len(x)] = hands
            moved = hands[0] + sigma[k] * rng.standard_normal(x.shape)
            noisy[k, : len(x)] = moved - moved.mean(0)
        known = (rng.random((len(rows), 1)) >= WITHOUT).astype(np.float32)
        noise = rng.standard_normal((len(rows), self.latent), np.float32)
        tensors = (
            torch.from_numpy(a)
            for a in (clean, mirrored, noisy, sigma.astype(np.float32), noise, known)
        )
        return GeometryExample(batch, *tensors)


def qm9_codes(data: QM9, k: int) -> GraphCodes:
    """The graph codes of molecule k without stereo, a hand prescribed to its like
    hydrogens: what the decoder reads.
    """
    atoms, bonds = (
        slice(data.offset[k], data.offset[k + 1]),
        slice(data.bond_offset[k], data.bond_offset[k + 1]),
    )
    orders = np.where(data.aromatic[bonds], 1.5, data.bond_orders[bonds])
    numbers, charges = (
        data.numbers[atoms].astype(np.int64),
        data.formal_charges[atoms].astype(np.int64),
    )
    return with_hydrogen_rows(
        make_codes(numbers, data.bonds[bonds].astype(np.int64), orders, charges, NO_ROWS, NO_ROWS)
    )
