"""The transition density of a leap: torsions at a lag, given those of now.

The density of all torsions is a product: each is told the present conformation, the
energy along its circle and where those before it have gone, and has a histogram of equal
bins on the circle,

    p(phi' | x, lag, T) = prod_k p_k(phi'_k | x, phi'_1 ... phi'_{k-1}, lag, T).

It is exact to evaluate, so that a leap can be a Metropolis proposal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.shared.batches import Batched
from equidrift.models.trajectories.leap.features import NODE, PAIR
from equidrift.models.trajectories.leap.scan import BINS, CHANNELS

HARMONICS = 3  # of an angle as the network reads it
TOLD, HIDDEN = 16, 64  # of the network that reads the bins
FLOOR = 1e-3  # share of the uniform density, so that every way back has a probability


@dataclass(frozen=True)
class LeapConfig:
    """Sizes.

    Parameters
    ----------
    node, pair : int
        Numbers that tell a torsion, and a pair of them.
    width, layers, heads : int
        Of the attention between torsions.
    bins : int
        Of each torsion's histogram.
    dropout : float
        Share of what tells a torsion that is left out while training: a few hundred
        molecules are soon known by heart.
    """

    node: int = NODE
    pair: int = PAIR
    width: int = 64
    layers: int = 3
    heads: int = 4
    bins: int = BINS
    dropout: float = 0.15


@dataclass
class Present(Batched):
    """Conformations to leap from.

    `node` (b, m, NODE), `pair` (b, m, m, PAIR), `scan` (b, m, bins, CHANNELS), torsions
    `phi` (b, m) in rad, of which there are those of `mask` (b, m); `lag_ps` and
    `temperature_K` (b,).
    """

    node: Tensor
    pair: Tensor
    scan: Tensor
    phi: Tensor
    mask: Tensor
    lag_ps: Tensor
    temperature_K: Tensor


@dataclass
class Leaps(Batched):
    """Conformations, and their torsions `phi` (b, m) in rad at the lag."""

    present: Present
    phi: Tensor


class LeapNetwork(nn.Module):
    """The transition density."""

    def __init__(self, config: LeapConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.enter = nn.Linear(config.node + 2 * HARMONICS, width)
        self.conditions = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(Attention(config) for _ in range(config.layers))
        self.gone = nn.Linear(2 * HARMONICS, width)
        self.order = Attention(config)
        self.drop = nn.Dropout(config.dropout)
        self.told = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, TOLD))
        self.each = nn.Sequential(
            nn.Linear(TOLD + CHANNELS + 2 * HARMONICS, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, 1),
        )

    def encoded(self, present: Present) -> Tensor:
        """What each torsion knows of the present (b, m, width)."""
        h = self.enter(torch.cat([present.node, waves(present.phi)], -1))
        log_lag = present.lag_ps.log()
        conditions = [log_lag, log_lag.square() / 4, (present.temperature_K / 300.0).log()]
        h = h + self.conditions(torch.stack(conditions, -1))[:, None]
        seen = present.mask[:, None, :].expand(-1, h.shape[1], -1)
        for layer in self.layers:
            h = cast(Tensor, layer(h, h, present.pair, seen))
        return h

    def log_bins(self, h: Tensor, present: Present, phi: Tensor) -> Tensor:
        """Log probabilities (b, m, bins) of the bins of each torsion, given those of phi
        (b, m) that come before it.
        """
        m = h.shape[1]
        before = torch.ones(m, m, dtype=torch.bool, device=h.device).tril(-1)
        seen = present.mask[:, None, :] & before
        after = self.order(h, h + self.gone(waves(phi)), present.pair, seen)
        logits = functional.log_softmax(self.of_bins(self.drop(after), present), -1)
        floor = torch.full_like(logits, math.log(FLOOR / self.config.bins))
        return torch.logaddexp(logits + math.log1p(-FLOOR), floor)

    def of_bins(self, after: Tensor, present: Present) -> Tensor:
        """Log odds (b, m, bins) of each bin, up to a constant, by its energy and by how far it
        lies from the present angle: read alike for every bin, given `after` (b, m, width).
        """
        bins = present.scan.shape[2]
        middle = (torch.arange(bins, device=after.device) + 0.5) * (2 * math.pi / bins) - math.pi
        turned = waves(middle - present.phi[..., None])
        told = self.told(after)[:, :, None].expand(-1, -1, bins, -1)
        found: Tensor = self.each(torch.cat([told, present.scan, turned], -1))[..., 0]
        return found

    def log_prob(self, present: Present, phi: Tensor) -> Tensor:
        """Log density (b,), per rad of each torsion, of going to phi (b, m)."""
        return self._log_prob(self.encoded(present), present, phi)

    def _log_prob(self, h: Tensor, present: Present, phi: Tensor) -> Tensor:
        """The same, of what `encoded` gave."""
        found = self.log_bins(h, present, phi)
        chosen = found.gather(-1, self.bin_of(phi)[..., None])[..., 0]
        density = chosen - math.log(2 * math.pi / self.config.bins)
        return (density * present.mask).sum(-1)

    def bin_of(self, phi: Tensor) -> Tensor:
        """The bin (b, m) of angles."""
        turns = torch.remainder(phi + math.pi, 2 * math.pi) / (2 * math.pi)
        return (turns * self.config.bins).long().clamp_max(self.config.bins - 1)

    @torch.no_grad()
    def draw(self, present: Present, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Torsions (b, m) in rad, and their log density (b,).

        Parameters
        ----------
        uniform : Tensor (b, m, 2)
            Numbers in 0 to 1: each chooses a bin, and a place in it.
        """
        h, phi = self.encoded(present), torch.zeros_like(present.phi)
        for k in range(phi.shape[1]):
            share = self.log_bins(h, present, phi)[:, k].double().exp().cumsum(-1)
            target = (uniform[:, k, 0] * share[:, -1])[:, None].contiguous()
            bin_ = torch.searchsorted(share.contiguous(), target)[:, 0]
            place = bin_.clamp_max(self.config.bins - 1) + uniform[:, k, 1]
            phi[:, k] = (2 * math.pi * place / self.config.bins - math.pi).to(phi.dtype)
        return phi, self._log_prob(h, present, phi)


class Attention(nn.Module):
    """Attention of torsions to others, biased by what tells their pair, and a network of
    its own for each.
    """

    def __init__(self, config: LeapConfig):
        super().__init__()
        width, self.heads = config.width, config.heads
        self.normal = nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.bias = nn.Linear(config.pair, config.heads)
        self.none = nn.Parameter(torch.zeros(2, config.heads, 1, width // config.heads))
        self.out = nn.Linear(width, width)
        self.own = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor, others: Tensor, pair: Tensor, seen: Tensor) -> Tensor:
        """h (b, m, width) after looking at `others` (b, m, width) where `seen` (b, m, m);
        what sees none of them sees a learned nothing.
        """
        b, m, width = h.shape
        query = self.query(self.normal(h)).view(b, m, self.heads, -1).transpose(1, 2)
        both = self.key_value(self.normal(others)).view(b, m, 2, self.heads, -1)
        key, value = both.permute(2, 0, 3, 1, 4)  # (b, heads, m, width / heads) each
        nothing = self.none[:, None].expand(-1, b, -1, -1, -1)
        key, value = torch.cat([key, nothing[0]], 2), torch.cat([value, nothing[1]], 2)
        bias = self.bias(pair).permute(0, 3, 1, 2)
        bias = bias.masked_fill(~seen[:, None], -math.inf)
        bias = torch.cat([bias, torch.zeros_like(bias[..., :1])], -1)
        looked = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        h = h + self.out(looked.transpose(1, 2).reshape(b, m, width))
        added: Tensor = h + self.own(h)
        return added


def waves(phi: Tensor) -> Tensor:
    """Angles (...) as cosines and sines of their multiples (..., 2 HARMONICS)."""
    many = phi[..., None] * torch.arange(1, HARMONICS + 1, dtype=phi.dtype, device=phi.device)
    return torch.cat([many.cos(), many.sin()], -1)
