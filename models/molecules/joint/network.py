"""The network of the joint model: what is known of types, bonds and places in, what the
molecule may be out.

A token's type and a pair's bond are given as evidence: a vector of probabilities less
the uniform ones. It is zero where nothing is known (an absorbed variable), a corner of
the simplex where the variable is revealed, and between where a Bayesian flow has
gathered some evidence, so that one network serves masked diffusion and the Bayesian
flow. Places carry noise, of a level of their own for each token; a token of a held
fragment has next to none.

Everything is built from distances and unit vectors: the network is equivariant under
rotations, translations, reflections and the order of the tokens. So mirror images are
drawn equally often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.molecules.joint.alphabet import Alphabet, alphabet_of
from equidrift.models.molecules.joint.data import BONDS
from equidrift.models.molecules.joint.spectrum import SpectrumEmbedding
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.layers import (
    Block,
    BlockSizes,
    NetworkConfig,
    RadialBasis,
    attention_bias,
    pairs_of,
)
from equidrift.models.shared.newton import distances

CENTRES = 24  # Gaussians a property is expanded in
POWERS = 4  # of the bond matrix


@dataclass(frozen=True)
class JointConfig(BlockSizes):
    """Sizes of a `JointNetwork`; after the blocks of each stage the tokens move."""

    width: int = 160
    pair_width: int = 64
    blocks: int = 3
    triangles: int = 16  # channels in which pairs hear of their triangles
    cutoff_A: float = 16.0
    alphabet: str = "qm9"  # of `ALPHABETS`: what the tokens may be
    spectrum: int = 0  # whitened components of infrared spectra that it is told; 0 for none

    @property
    def tokens(self) -> Alphabet:
        """What the tokens may be. Raises `UnknownNameError` for an unknown alphabet."""
        return alphabet_of(self.alphabet)


@dataclass
class State(Batched):
    """Evidence on types (b, n, kinds) and bonds (b, n, n, 4), places x (b, n, 3) with
    noise sigma (b, n), both in A; mask (b, n).
    """

    types: Tensor
    bonds: Tensor
    x: Tensor
    sigma: Tensor
    mask: Tensor


@dataclass
class Estimate:
    """Of the clean molecule: logits of types (b, n, kinds) and bonds (b, n, n, 4),
    symmetric; x (b, n, 3) in A, last the best of `stages`.
    """

    types: Tensor
    bonds: Tensor
    x: Tensor
    stages: list[Tensor]

    def detached(self) -> Estimate:
        """The estimate without its gradients and stages."""
        return Estimate(self.types.detach(), self.bonds.detach(), self.x.detach(), [])


@dataclass
class Targets(Batched):
    """Values (b, k) of the alphabet's properties, standardised, and which of them are
    given (b, k).

    `spectrum` holds `relative_roots` (b, bins) of infrared spectra, NaN where nothing is
    known; None if no molecule has one.
    """

    values: Tensor
    given: Tensor
    spectrum: Tensor | None = None

    @property
    def told(self) -> bool:
        """Whether anything is given of any molecule."""
        return bool(self.given.any()) or self.spectrum is not None

    def nothing(self) -> Targets:
        """The same molecules with nothing given."""
        return Targets(self.values, torch.zeros_like(self.given))


class TargetEmbedding(nn.Module):
    """Properties by Gaussian expansion (PropMolFlow), and a spectrum; what is not given
    adds nothing.
    """

    spectrum: SpectrumEmbedding | None

    def __init__(self, width: int, alphabet: Alphabet, spectrum: int = 0):
        super().__init__()
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(-3.5, 3.5, CENTRES), persistent=False)
        self.expand = nn.Linear(len(alphabet.properties) * (CENTRES + 2), width)
        self.out = nn.Sequential(nn.SiLU(), nn.Linear(width, width))
        self.sizes = nn.Sequential(
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, alphabet.most_heavy),
        )
        most = alphabet.most_heavy
        self.spectrum = SpectrumEmbedding(spectrum, width, most) if spectrum else None

    def forward(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """(embedding (b, width), logits (b, most_heavy) of the number of tokens)."""
        value, given = targets.values, targets.given.to(targets.values.dtype)
        gauss = torch.exp(-0.5 * ((value[..., None] - self.centres) * (CENTRES / 7.0)).square())
        features = (
            torch.cat(
                [gauss, value.clamp(-6, 6)[..., None], torch.ones_like(value)[..., None]], dim=-1
            )
            * given[..., None]
        )
        hidden = self.expand(features.flatten(1))
        wanted, sizes = self.out(hidden), self.sizes(hidden)
        if self.spectrum is not None and targets.spectrum is not None:
            more, more_sizes = self.spectrum(targets.spectrum)
            wanted, sizes = wanted + more, sizes + more_sizes
        return wanted, sizes


class Triangles(nn.Module):
    """p_ij += sum_k a_ik b_kj: what closes a ring is seen in one layer."""

    def __init__(self, config: JointConfig):
        super().__init__()
        pair_width, channels = config.pair_width, config.triangles
        self.scale = config.tokens.most_heavy**-0.5
        self.norm = nn.LayerNorm(pair_width)
        self.into = nn.Linear(pair_width, 2 * channels, bias=False)
        self.out = nn.Linear(channels, pair_width, bias=False)

    def forward(self, p: Tensor, pair_mask: Tensor) -> Tensor:
        """Pair features p (b, n, n, w) with what their triangles tell."""
        a, b = (self.into(self.norm(p)) * pair_mask[..., None]).permute(0, 3, 1, 2).chunk(2, dim=1)
        product = (a @ b) * self.scale
        out: Tensor = p + self.out((product + product.transpose(2, 3)).permute(0, 2, 3, 1))
        return out


class Move(nn.Module):
    """Displacements (b, n, 3) along the unit vectors between tokens."""

    def __init__(self, config: JointConfig):
        super().__init__()
        self.scale = config.tokens.most_heavy**-0.5
        self.norm = nn.LayerNorm(config.pair_width)
        self.hidden = nn.Linear(config.pair_width, config.pair_width)
        self.out = nn.Linear(config.pair_width, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, p: Tensor, unit: Tensor, d: Tensor, pair_mask: Tensor) -> Tensor:
        """p (b, n, n, w), unit vectors (b, n, n, 3) and distances d (b, n, n) in A."""
        raw = self.out(functional.silu(self.hidden(self.norm(p))))
        weight = (raw[..., 0] + raw[..., 1] * d) * pair_mask
        moved: Tensor = torch.einsum("bij,bijx->bix", weight, unit) * self.scale
        return moved


def topology(bonds: Tensor) -> Tensor:
    """Features (b, n, n, POWERS) of pairs: the powers of a matrix (b, n, n) of bond
    probabilities, each damped into 0..1.
    """
    powers, power = [], bonds
    for _ in range(POWERS):
        powers.append(power / (1.0 + power))
        power = power @ bonds
    return torch.stack(powers, dim=-1)


class JointNetwork(nn.Module):
    """(State, targets, an earlier estimate or None) -> Estimate."""

    def __init__(self, config: JointConfig):
        super().__init__()
        self.config = config
        alphabet = config.tokens
        w, p, kinds = config.width, config.pair_width, len(alphabet.types)
        self.features: Tensor
        self.register_buffer("features", torch.tensor(alphabet.features), persistent=False)
        self.orders: Tensor
        self.register_buffer("orders", torch.arange(BONDS, dtype=torch.float32), persistent=False)
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.arange(1, 9) * 0.5, persistent=False)
        node_in = 2 * kinds + 2 * self.features.shape[1] + 2 + 2 * 2 + 16
        self.node = nn.Linear(node_in, w)
        self.pair = nn.Linear(2 * BONDS + 2 * POWERS + 2 + config.radial, p)
        self.targets = TargetEmbedding(w, alphabet, config.spectrum)
        self.radial = RadialBasis(config.radial, config.cutoff_A)
        self.outer = nn.Linear(w, 2 * p, bias=False)
        sizes = NetworkConfig(width=w, pair_width=p, vectors=config.vectors)
        stages = range(config.stages)
        self.distance = nn.ModuleList([nn.Linear(config.radial, p) for _ in stages])
        self.condition = nn.ModuleList([nn.Linear(w, w) for _ in stages])
        self.blocks = nn.ModuleList(
            [nn.ModuleList([Block(sizes) for _ in range(config.blocks)]) for _ in stages]
        )
        self.triangles = nn.ModuleList(
            [nn.ModuleList([Triangles(config) for _ in range(config.blocks)]) for _ in stages]
        )
        self.move = nn.ModuleList([Move(config) for _ in stages])
        self.to_types = nn.Sequential(
            nn.LayerNorm(w), nn.Linear(w, w), nn.SiLU(), nn.Linear(w, kinds)
        )
        self.to_bonds = nn.Sequential(
            nn.LayerNorm(p), nn.Linear(p, p), nn.SiLU(), nn.Linear(p, BONDS)
        )

    def _known(self, types: Tensor, bonds: Tensor, certain: Tensor) -> tuple[Tensor, Tensor]:
        """(node, pair) features of probabilities: what they are, expected charge and
        hydrogens, orders summed, powers of the bonds.
        """
        known = bonds * certain[..., None]
        valence = torch.stack([(known @ self.orders).sum(2), certain.sum(2)], dim=-1) * 0.25
        return (
            torch.cat([types, types @ self.features, valence], dim=-1),
            torch.cat([bonds, topology(known[..., 1:].sum(-1))], dim=-1),
        )

    def forward(self, state: State, targets: Targets, previous: Estimate | None = None) -> Estimate:
        """What the clean molecule may be.

        Parameters
        ----------
        state : State
            what is known.
        targets : Targets
            properties that the molecule is to have.
        previous : Estimate, optional
            an earlier estimate at the same state, to start from.
        """
        mask = state.mask
        pair_mask = pairs_of(mask).to(state.x.dtype)
        wanted, _ = self.targets(targets)
        h, p = self._embedded(state, wanted, pair_mask, previous)
        bias = attention_bias(mask, state.x.dtype)
        spread_A = self.config.tokens.spread_A
        variance = state.sigma.square() + spread_A**2  # (b, n)
        skip = (spread_A**2 / variance)[..., None]
        reach = (spread_A * state.sigma / variance.sqrt())[..., None]
        x, stages = state.x, []
        moved = torch.zeros_like(x)
        for k, move in enumerate(self.move):
            unit, d = distances(x)
            p = p + self.distance[k](self.radial(d))
            h = h + self.condition[k](functional.silu(wanted))[:, None]
            blocks, triangles = (cast(nn.ModuleList, m[k]) for m in (self.blocks, self.triangles))
            for block, triangle in zip(blocks, triangles, strict=True):
                p = triangle(p, pair_mask)
                h, p = block(h, p, unit, pair_mask, bias)
            moved = moved + move(p, unit, d, pair_mask)
            x = skip * state.x + reach * moved  # EDM's preconditioning
            stages.append(x)
        bonds = self.to_bonds(p)
        return Estimate(self.to_types(h), 0.5 * (bonds + bonds.transpose(1, 2)), x, stages)

    def _embedded(
        self, state: State, wanted: Tensor, pair_mask: Tensor, previous: Estimate | None
    ) -> tuple[Tensor, Tensor]:
        """First features of tokens (b, n, width) and pairs (b, n, n, pair_width)."""
        # evidence back to probabilities times how certain they are: nothing known gives zero
        certain = (state.bonds.square().sum(-1) * (BONDS / (BONDS - 1.0))) * pair_mask
        node, pair = self._known(state.types, state.bonds + 1.0 / BONDS, certain)
        more, pair_more, d_more = self._of_previous(node, pair, pair_mask, previous)
        flag = node.new_full((*node.shape[:2], 2), float(previous is not None))
        phase = state.sigma.clamp_min(1e-3).log()[..., None] * self.frequencies
        h = self.node(torch.cat([node, more, flag, phase.sin(), phase.cos()], dim=-1))
        h = (h + wanted[:, None]) * state.mask[..., None]
        left, right = self.outer(h).chunk(2, dim=-1)
        p = self.pair(torch.cat([pair, pair_more, d_more], dim=-1))
        return h, p + left[:, :, None] + right[:, None]

    def _of_previous(
        self, node: Tensor, pair: Tensor, pair_mask: Tensor, previous: Estimate | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What an earlier estimate adds to the features: of tokens and pairs in the
        shapes of `node` and `pair`, and of its distances; zero if there is none.
        """
        if previous is None:
            none = pair.new_zeros(*pair.shape[:3], 2 + self.config.radial)
            return torch.zeros_like(node), torch.zeros_like(pair), none
        types, bonds = previous.types.softmax(-1), previous.bonds.softmax(-1)
        d = distances(previous.x)[1]
        apart = [torch.ones_like(d)[..., None], d[..., None] * 0.2, self.radial(d)]
        return *self._known(types, bonds, pair_mask), torch.cat(apart, dim=-1)

    def size_logits(self, targets: Targets) -> Tensor:
        """Logits (b, most_heavy) of 1 to `most_heavy` tokens."""
        logits: Tensor = self.targets(targets)[1]
        return logits
