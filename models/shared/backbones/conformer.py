"""The network of the refiner and of the generator: atoms, pairs and vectors, with a
learned Newton step as its output.

Every layer is built from distances and unit vectors, so the network is equivariant
under rotations, translations and reflections; handedness enters only through signed
volumes of the tetrahedra that the graph prescribes.

The output is system A's Gauss-Newton map (arXiv:2403.01430) made learnable. The network
predicts, for every pair of atoms, a target distance and a stiffness; the coordinates
move to the least-squares solution. Where the stiffness of a bond is large, the bond
comes out to a few mA, however far the rest still has to go.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.shared.graph_codes import ATOM_CODES, LEVELS, MAX_HOPS, PAIR_CODES, Batch
from equidrift.models.shared.layers import (
    SIGMA_DATA_A,
    Block,
    NetworkConfig,
    RadialBasis,
    block_masks,
    signed_volume,
)
from equidrift.models.shared.newton import Held, distances, newton_step

SCALE = 0.3  # of a distance correction: it makes the first steps of the training small


class NewtonHead(nn.Module):
    """Target distances and stiffnesses of all pairs, and the Newton steps towards them."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        p = config.pair_width
        self.steps = config.newton
        self.norm = nn.LayerNorm(p)
        self.hidden = nn.Linear(p, p)
        self.out = nn.Linear(p, 2)
        self.anchor = nn.Linear(config.width, 1)
        self.by_hops = nn.Parameter(
            torch.tensor([0.0, 0.0, 4.0, 2.0, 0.0] + [-2.0] * (MAX_HOPS - 3))
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        nn.init.zeros_(self.anchor.weight)
        nn.init.constant_(self.anchor.bias, -1.0)

    def forward(
        self,
        x: Tensor,
        h: Tensor,
        p: Tensor,
        hops: Tensor,
        pair_mask: Tensor,
        held: Held | None = None,
    ) -> Tensor:
        """Positions (b, n, 3) after the steps from x, towards the distances that the pairs
        p (b, n, n, pair_width) want.
        """
        raw = self.out(functional.silu(self.hidden(self.norm(p))))
        raw = raw + raw.transpose(1, 2)
        stiffness = functional.softplus(raw[..., 1] + self.by_hops[hops]) * pair_mask
        anchor = functional.softplus(self.anchor(h))[..., 0] + 1e-3
        target = distances(x)[1] + SCALE * raw[..., 0]
        if held is not None:
            x = held.put(x)
        start = x
        for _ in range(self.steps):
            x = newton_step(x, start, target, stiffness, anchor, held)
        return x


class NoiseAndHand(nn.Module):
    """What only the generator reads: the noise level, and by how much each prescribed
    tetrahedron has the wrong hand.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        w = config.width
        self.sigma = nn.Sequential(nn.Linear(16, w), nn.SiLU(), nn.Linear(w, w))
        self.volume = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(3, w), nn.SiLU(), nn.Linear(w, w))
                for _ in range(config.stages)
            ]
        )
        turns = [nn.Linear(w, 1) for _ in range(config.stages)]
        self.turn = nn.ModuleList(turns)
        # zero at first, so that a refiner's network can be turned into a generator's without losing
        # what it knows
        last = [
            module[-1] if isinstance(module, nn.Sequential) else module
            for module in (self.sigma, *self.volume, *turns)
        ]
        for parameter in (p for module in last for p in module.parameters()):
            nn.init.zeros_(parameter)
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.arange(1, 9) * 0.5, persistent=False)

    def of_sigma(self, sigma: Tensor) -> Tensor:
        """Features (b, width) of noise levels in A."""
        phase = sigma.clamp_min(1e-3).log()[:, None] * self.frequencies
        return self.sigma(torch.cat([phase.sin(), phase.cos()], dim=-1))

    def of_volumes(
        self, stage: int, x: Tensor, h: Tensor, tetrahedral: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(change of h, displacement of x): signed volumes enter the centres, and atoms
        move along the volumes' gradients.
        """
        if tetrahedral.shape[1] == 0:
            return torch.zeros_like(h), torch.zeros_like(x)
        b, _, w = h.shape
        real = (tetrahedral[..., :1] >= 0).to(x.dtype)
        index = tetrahedral.clamp_min(0)
        corner = x.gather(1, index[..., 1:].reshape(b, -1, 1).expand(-1, -1, 3)).view(b, -1, 4, 3)
        volume, gradient = signed_volume(corner)
        features = torch.stack(
            [volume, torch.tanh(volume), (volume < 0).to(x.dtype)], dim=-1
        ).clamp(-8, 8)
        message = self.volume[stage](features) * real
        centre = index[..., :1].expand(-1, -1, w)
        dh = torch.zeros_like(h).scatter_add(1, centre, message)
        strength = self.turn[stage](h.gather(1, centre) + message) * real
        push = (strength[..., None] * gradient).reshape(b, -1, 3)
        dx = torch.zeros_like(x).scatter_add(
            1, index[..., 1:].reshape(b, -1, 1).expand(-1, -1, 3), push
        )
        return dh, dx


class ConformerNetwork(nn.Module):
    """Positions in, positions out: the estimate of the clean conformer, one per stage."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        w, p = config.width, config.pair_width
        self.atom = nn.ModuleList([nn.Embedding(size, w) for size in ATOM_CODES])
        self.pair = nn.ModuleList([nn.Embedding(size, p) for size in PAIR_CODES])
        self.level = nn.Embedding(len(LEVELS), w)
        self.radial = RadialBasis(config.radial, config.cutoff_A)
        self.outer = nn.Linear(w, 2 * p, bias=False)
        self.distance = nn.ModuleList([nn.Linear(config.radial, p) for _ in range(config.stages)])
        self.blocks = nn.ModuleList(
            [
                nn.ModuleList([Block(config) for _ in range(config.blocks)])
                for _ in range(config.stages)
            ]
        )
        self.newton = nn.ModuleList([NewtonHead(config) for _ in range(config.stages)])
        self.noise = NoiseAndHand(config) if config.noise else None

    def forward(
        self,
        batch: Batch,
        x: Tensor,
        level: Tensor,
        sigma: Tensor | None = None,
        held: Held | None = None,
        condition: Tensor | None = None,
    ) -> list[Tensor]:
        """Estimates after each stage, last the best; `held` atoms are in their places
        in each of them.

        x (b, n, 3) in A, centred; level (b,) indices into `LEVELS`; sigma (b,) in A,
        for a network that reads noise levels: x is then scaled to the spread of the
        data first (EDM's c_in), so that the radial basis sees it. `condition` (b,
        width) is added to every atom's features: what else is known of the conformer,
        from whoever calls.
        """
        atom, pair = batch.atom.int(), batch.pair.int()
        h = (
            sum(table(atom[..., k]) for k, table in enumerate(self.atom))
            + self.level(level)[:, None]
        )
        if condition is not None:
            h = h + condition[:, None]
        left, right = self.outer(h).chunk(2, dim=-1)
        p = (
            sum(table(pair[..., k]) for k, table in enumerate(self.pair))
            + left[:, :, None]
            + right[:, None]
        )
        bias, pair_mask = block_masks(batch.mask, x.dtype)
        hops, out = pair[..., 1].long(), []
        if self.noise is not None and sigma is not None:
            h = h + self.noise.of_sigma(sigma)[:, None]
            x = x * (SIGMA_DATA_A / (sigma.square() + SIGMA_DATA_A**2).sqrt())[:, None, None]
        for stage, (distance, blocks, newton) in enumerate(
            zip(self.distance, self.blocks, self.newton, strict=True)
        ):
            if self.noise is not None:
                dh, dx = self.noise.of_volumes(stage, x, h, batch.tetrahedral)
                h, x = h + dh, x + dx
            unit, d = distances(x)
            p = p + distance(self.radial(d))
            for block in cast(nn.ModuleList, blocks):
                h, p = block(h, p, unit, pair_mask, bias)
            x = newton(x, h, p, hops, pair_mask, held)
            out.append(x)
        return out
