"""The topological autoencoder (LDM-3DG): a molecular graph to an invariant vector, and
the vector to SELFIES tokens.

The encoder is a graph transformer without positions, pooled over the atoms, and, where
`reads` is true, a reading of the canonical SELFIES, so that the order of the atoms
cannot matter; the latent has unit mean square. What is written is read: with the second
part exactness is learnt ten times sooner, and the graph is then hardly looked at. With
`reads: false` the encoder sees the graph alone. The decoder writes tokens one by one,
each conditioned on the latent. Noise on the latent while training is what makes near
latents decode alike (the regulariser; HierVAE has a KL term in its place).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.molecules.latent.graph_data import (
    ATOM_SIZES,
    BOND_TYPES,
    END,
    PAD,
    GraphBatch,
)
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.layers import embedded

WALKS = 7  # lengths 2 .. 8 of the walks whose probabilities tell rings and distances
READING = 256  # width of what reads the tokens, and of what sketches them
KEPT = 0.8  # share of the atoms in the second view of the contrastive term


@dataclass(frozen=True)
class GraphConfig:
    """Sizes of the graph autoencoder."""

    latent: int = 64  # numbers in a latent
    width: int = 128  # of the encoder
    layers: int = 4  # of the encoder
    heads: int = 8  # of its attention
    decoder_width: int = 192  # of the decoder
    decoder_layers: int = 3  # of the decoder
    decoder_heads: int = 6  # of its attention
    tokens: int = 40  # kinds of them
    length: int = 24  # most tokens of a molecule
    noise: float = 0.15  # deviation of the noise on latents in training
    contrast: float = 0.0  # weight of the graph self-supervision, 0 for none
    reads: bool = True  # whether the encoder reads the SELFIES beside the graph
    queries: int = 0  # learnt ones that attend to the atoms, beside sum and maximum


class GraphLayer(nn.Module):
    """Attention over atoms with a bias of the pair, messages along each bond type, and
    an MLP.
    """

    def __init__(self, width: int, heads: int, pairs: int):
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.bias = nn.Linear(pairs, heads)
        self.along = nn.Linear((BOND_TYPES - 1) * width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor, pair: Tensor, bonds: Tensor, hidden: Tensor) -> Tensor:
        """h (b, n, w), pair (b, n, n, pairs), bonds (b, types, n, n), hidden (b, 1, 1,
        n): -1e9 at padding.
        """
        b, n, w = h.shape
        x = self.norm(h)
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.bias(pair).permute(0, 3, 1, 2) + hidden
        mixed = (
            functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
            .transpose(1, 2)
            .reshape(b, n, w)
        )
        message = (bonds @ x[:, None]).transpose(1, 2).reshape(b, n, -1)
        h = h + self.out(mixed) + self.along(message)
        out: Tensor = h + self.mlp(self.mlp_norm(h))
        return out


class GraphEncoder(nn.Module):
    """A graph to its latent."""

    def __init__(self, config: GraphConfig):
        super().__init__()
        w = config.width
        self.atom = nn.ModuleList([nn.Embedding(size, w) for size in ATOM_SIZES])
        self.rings = nn.Linear(WALKS, w)
        pairs = BOND_TYPES + WALKS
        self.layers = nn.ModuleList(
            [GraphLayer(w, config.heads, pairs) for _ in range(config.layers)]
        )
        self.norm = nn.LayerNorm(w)
        self.latent, self.reads = config.latent, config.reads
        pooled = (2 + config.queries) * w
        self.head = nn.Sequential(
            nn.Linear(pooled, 2 * w), nn.ReLU(), nn.Linear(2 * w, config.latent)
        )
        self.queries = nn.Linear(w, config.queries, bias=False) if config.queries else None
        self.codes, self.length = config.tokens + 2, config.length
        if config.reads:
            self._add_reading(config)

    def _add_reading(self, config: GraphConfig) -> None:
        """The tables by which the SELFIES are read."""
        self.written = nn.EmbeddingBag(self.codes * config.length, READING, mode="sum")
        self.reading = nn.Sequential(nn.ReLU(), nn.Linear(READING, config.latent))
        self.direct = nn.EmbeddingBag(self.codes * config.length, config.latent, mode="sum")
        for table in (self.written, self.direct):
            nn.init.normal_(table.weight, std=0.3)

    def atoms(self, graphs: GraphBatch) -> tuple[Tensor, Tensor]:
        """(vectors (b, n, w), mask (b, n)) of the atoms."""
        atom, bond = graphs.atom.int(), graphs.bond.long()
        mask = atom[..., 0] > 0
        types = functional.one_hot(bond, BOND_TYPES).float()
        walks = _walks((bond > 0).float())
        rings = self.rings(walks.diagonal(dim1=2, dim2=3).transpose(1, 2))
        h = embedded(self.atom, atom) + rings
        pair = torch.cat([types, walks.permute(0, 2, 3, 1)], dim=-1)
        bonds = types[..., 1:].permute(0, 3, 1, 2)
        hidden = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -1e9)[:, None, None]
        for layer in self.layers:
            h = layer(h, pair, bonds, hidden)
        return self.norm(h), mask

    def pool(self, h: Tensor, kept: Tensor) -> Tensor:
        """What the atoms that `kept` (b, n) marks, of vectors (b, n, w), add to the
        latent (b, d).
        """
        total = (h * kept[..., None]).sum(1) / 3.0
        most = h.masked_fill(~kept[..., None], -1e4).amax(1)
        parts = [total, most]
        if self.queries is not None:  # Set Transformer's pooling (Lee et al. 2019, eq. 11)
            scores = self.queries(h).masked_fill(~kept[..., None], -1e4)
            parts.append((scores.softmax(1).transpose(1, 2) @ h).flatten(1))
        out: Tensor = self.head(torch.cat(parts, dim=-1)).float()
        return out

    def read(self, tokens: Tensor) -> Tensor:
        """What the tokens (b, length) add to the latent (b, d); nothing where the encoder
        does not read.
        """
        if not self.reads:
            return torch.zeros(len(tokens), self.latent, device=tokens.device)
        place = tokens.long() + self.codes * torch.arange(self.length, device=tokens.device)
        out: Tensor = (self.direct(place) + self.reading(self.written(place))).float()
        return out

    def forward(self, graphs: GraphBatch) -> Tensor:
        """Latents (b, d) of unit mean square."""
        return unit(self.pool(*self.atoms(graphs)) + self.read(graphs.tokens))


def unit(z: Tensor) -> Tensor:
    """z scaled to a mean square of 1 along its last axis."""
    return z.float() * (z.float().square().mean(-1, keepdim=True) + 1e-8).rsqrt()


def _walks(adjacency: Tensor) -> Tensor:
    """(b, walks, n, n): powers 2 .. 8 of the symmetric random-walk matrix, scaled to
    order 1.
    """
    degree = adjacency.sum(-1).clamp_min(1.0).rsqrt()
    step = adjacency * degree[:, :, None] * degree[:, None]
    power, out = step, []
    for _ in range(WALKS):
        power = power @ step
        out.append(power)
    return 3.0 * torch.stack(out, dim=1)


class DecoderLayer(nn.Module):
    """Causal attention and an MLP, the latent added to both inputs."""

    def __init__(self, width: int, heads: int, latent: int):
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.latent = nn.Linear(latent, 2 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, h: Tensor, z: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """h (b, t, w), z (b, d); `past` holds keys and values of the tokens before.

        Returns h and the keys and values of all tokens.
        """
        b, t, w = h.shape
        first, second = self.latent(z)[:, None].chunk(2, dim=-1)
        q, k, v = (
            self.qkv(self.norm(h) + first).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        # written out: on a CPU the fused kernel's gradient takes half of a training step
        scores = (q * (w // self.heads) ** -0.5) @ k.transpose(-1, -2)
        if past is None:
            scores = scores + torch.full(
                (t, t), -1e9, dtype=scores.dtype, device=scores.device
            ).triu(1)
        mixed = scores.softmax(-1).to(v.dtype) @ v
        h = h + self.out(mixed.transpose(1, 2).reshape(b, t, w))
        return h + self.mlp(self.mlp_norm(h) + second), (k, v)


class TokenDecoder(nn.Module):
    """A latent to SELFIES tokens."""

    def __init__(self, config: GraphConfig):
        super().__init__()
        w = config.decoder_width
        self.length = config.length
        self.token, self.place = nn.Embedding(config.tokens + 2, w), nn.Embedding(config.length, w)
        self.latent = nn.Linear(config.latent, w)
        self.layers = nn.ModuleList(
            [
                DecoderLayer(w, config.decoder_heads, config.latent)
                for _ in range(config.decoder_layers)
            ]
        )
        self.norm = nn.LayerNorm(w)
        self.head = nn.Linear(w, config.tokens + 2)
        self.outline = nn.Sequential(
            nn.Linear(config.latent, READING),
            nn.ReLU(),
            nn.Linear(READING, config.length * (config.tokens + 2)),
        )

    def sketch(self, z: Tensor) -> Tensor:
        """What the latent alone says of each token: logits (b, length, tokens + 2)."""
        out: Tensor = self.outline(z).view(len(z), self.length, -1)
        return out

    def forward(self, z: Tensor, tokens: Tensor) -> Tensor:
        """Logits (b, t, tokens + 2) of each token (b, t) given those before it."""
        before = functional.pad(tokens[:, :-1].int(), (1, 0), value=END)
        h = self.token(before) + self.place.weight[: before.shape[1]] + self.latent(z)[:, None]
        for layer in self.layers:
            h, _ = layer(h, z)
        out: Tensor = self.head(self.norm(h)) + self.sketch(z)[:, : tokens.shape[1]]
        return out

    @torch.no_grad()
    def write(
        self, z: Tensor, uniform: NDArray[np.float64] | None = None, temperature: float = 1.0
    ) -> NDArray[np.uint8]:
        """Codes (b, length) of the likeliest next token each time, or of one drawn by
        `uniform` (b, length) numbers.
        """
        last = torch.full((len(z),), END, dtype=torch.int32, device=z.device)
        past: list[tuple[Tensor, Tensor] | None] = [None] * len(self.layers)
        out = torch.full((len(z), self.length), PAD, dtype=torch.uint8, device=z.device)
        ended = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        shares = None if uniform is None else torch.from_numpy(uniform).to(z.device)
        sketch = self.sketch(z)
        for t in range(self.length):
            h = (self.token(last) + self.place.weight[t] + self.latent(z))[:, None]
            for k, layer in enumerate(self.layers):
                h, past[k] = layer(h, z, past[k])
            logits = (self.head(self.norm(h))[:, 0] + sketch[:, t]).float()
            logits[:, PAD] = -torch.inf
            if shares is None:
                last = logits.argmax(-1)
            else:
                heap = (logits.double() / temperature).softmax(-1).cumsum(-1)
                drawn = shares[:, t, None] * heap[:, -1:]
                last = torch.searchsorted(heap, drawn)[:, 0].clamp_max(logits.shape[-1] - 1)
            out[:, t] = torch.where(ended, PAD, last)
            ended = ended | (out[:, t] == END)
            if bool(ended.all()):
                break
        return np.asarray(out.cpu().numpy())


class GraphAutoencoder(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: GraphConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = GraphEncoder(config), TokenDecoder(config)


@dataclass
class GraphExample(Batched):
    """A training batch: graphs, noise for the latents (b, d), and the atoms kept (b, n)
    in the second view.
    """

    graphs: GraphBatch
    noise: Tensor
    kept: Tensor


def graph_loss(network: Any, example: GraphExample) -> Tensor:
    """Cross-entropy of the tokens from noisy latents, and the contrastive term where
    its weight is not 0.
    """
    config: GraphConfig = network.config
    written = example.graphs.tokens
    with short_products(written.device):
        h, mask = network.encoder.atoms(example.graphs)
        pooled = network.encoder.pool(h, mask)
        z = unit(pooled + network.encoder.read(written))
        tokens = written[:, : int((written != PAD).sum(1).max())].long()
        logits = network.decoder(unit(z + config.noise * example.noise), tokens)
        loss = functional.cross_entropy(
            logits.float().flatten(0, 1), tokens.flatten(), ignore_index=PAD
        )
        if config.contrast:
            other = network.encoder.pool(h, mask & example.kept)
            loss = loss + config.contrast * contrast(pooled, other)
    return loss


def contrast(z: Tensor, other: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE: each latent (b, d) is to be told from the others by its second view
    (LDM-3DG, the GSSL term).
    """
    z, other = functional.normalize(z, dim=-1), functional.normalize(other, dim=-1)
    return functional.cross_entropy(
        z @ other.T / temperature, torch.arange(len(z), device=z.device)
    )


class GraphBatches:
    """Batch number `step` of an endless, seeded sequence of epochs; a batch holds
    sequences of like length.
    """

    def __init__(self, graphs: GraphBatch, *, latent: int, batch: int, seed: int):
        self.graphs, self.latent, self.seed = graphs, latent, seed
        self.batch = min(batch, len(graphs))
        self.lengths = (graphs.tokens.numpy() != PAD).sum(1)
        self.epoch, self.plan = -1, np.zeros((0, self.batch), np.int64)

    def _epoch_plan(self, epoch: int) -> NDArray[np.int64]:
        """(batches, batch) rows: a shuffle, sorted by length within runs of 16 batches,
        the batches shuffled again.
        """
        rng = np.random.default_rng((self.seed, epoch))
        count = len(self.graphs) // self.batch
        rows = rng.permutation(len(self.graphs))[: count * self.batch]
        for begin in range(0, len(rows), 16 * self.batch):
            run = rows[begin : begin + 16 * self.batch]
            run[:] = run[np.argsort(self.lengths[run], kind="stable")]
        return rng.permutation(rows.reshape(count, self.batch), axis=0)

    def __call__(self, step: int) -> GraphExample:
        """The training batch of a step."""
        epoch, k = divmod(step, len(self.graphs) // self.batch)
        if epoch != self.epoch:
            self.epoch, self.plan = epoch, self._epoch_plan(epoch)
        rows = self.plan[k]
        rng = np.random.default_rng((self.seed, 1 << 32, step))
        noise = torch.from_numpy(rng.standard_normal((len(rows), self.latent), np.float32))
        kept = torch.from_numpy(rng.random((len(rows), self.graphs.atom.shape[1])) < KEPT)
        return GraphExample(self.graphs.rows(rows), noise, kept)
