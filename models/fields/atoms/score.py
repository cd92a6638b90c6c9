"""The score's network of fields on atoms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.fields.atoms.network import AtomConfig, Edges, Tensors, to_matrix
from equidrift.models.fields.functions.network import time_features
from equidrift.models.shared.backbones.radial import VectorLayer, pair_sums


class AtomScore(nn.Module):
    """The score's network: whitened noisy values u (B, n, p) and what the trunk knows
    of the atoms -> f (B, n, p).

    The output starts at zero, which with the residual trick is the exact score of the
    limiting GP.
    """

    def __init__(self, config: AtomConfig):
        super().__init__()
        self.config = config
        c, few = config.score_width, 4
        self.time = nn.Sequential(nn.Linear(64, c), nn.SiLU(), nn.Linear(c, c))
        self.known_scalar, self.known_vector = (
            nn.Linear(config.width, c),
            nn.Linear(config.width, few, bias=False),
        )
        self.enter_scalar = nn.Linear(
            {"scalar": 3, "vector": 2 + few, "tensor": 3 + few}[config.rank], c
        )
        self.enter_vector = nn.Linear(
            {"scalar": few, "vector": few + 1, "tensor": 2 * few}[config.rank], c, bias=False
        )
        self.layers = nn.ModuleList(
            [VectorLayer(c, config.radial) for _ in range(config.score_layers)]
        )
        self.gate = nn.Linear(c, 1)
        self.leave: nn.Module = {
            "scalar": nn.Linear(c, 1),
            "vector": nn.Linear(c, 1, bias=False),
            "tensor": Tensors(c, 1),
        }[config.rank]
        last = (
            [self.leave.left, self.leave.trace] if isinstance(self.leave, Tensors) else [self.leave]
        )
        for layer in (self.gate, *last):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, t: Tensor, std: Tensor, u: Tensor, mask: Tensor, known: tuple[Tensor, Tensor, Edges]
    ) -> Tensor:
        """Times and noise factors (B,); mask (B, n) of the atoms that have a value;
        `known` of the trunk, of batch B or 1.
        """
        trunk_s, trunk_v, pairs = known
        here = mask.to(u.dtype)[..., None]
        u = u * here
        lines = self.known_vector(trunk_v).expand(len(u), -1, -1, -1)
        scalars, lines = self._entering(u, here.expand(len(u), -1, -1), lines)
        hidden = (
            self.enter_scalar(scalars)
            + self.known_scalar(trunk_s)
            + self.time(time_features(t, std, 64))[:, None]
        )
        vectors = self.enter_vector(lines)
        sums = pair_sums(*pairs)
        for layer in self.layers:
            hidden, vectors = layer(hidden, vectors, sums)
        out: Tensor = (self._leaving(hidden, vectors) + self.gate(hidden) * u) * here
        return out

    def _entering(self, u: Tensor, here: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
        """Invariants (B, n, .) and vectors (B, n, 3, .) of the noisy values and of the
        trunk's vectors `lines`.
        """
        if self.config.rank == "scalar":
            return torch.cat([u, u.square(), here], -1), lines
        square = u.square().sum(-1, keepdim=True)
        if self.config.rank == "vector":
            along = (u[..., None] * lines).sum(2)
            return torch.cat([square, here, along], -1), torch.cat([lines, u[..., None]], -1)
        turned = to_matrix(u) @ lines
        trace = u[..., :3].sum(-1, keepdim=True)
        scalars = torch.cat([trace, square, here, (turned * lines).sum(2)], -1)
        return scalars, torch.cat([lines, turned], -1)

    def _leaving(self, hidden: Tensor, vectors: Tensor) -> Tensor:
        """The values (B, n, p) that the last layer gives."""
        if self.config.rank == "scalar":
            return torch.as_tensor(self.leave(hidden))
        if self.config.rank == "vector":
            return torch.as_tensor(self.leave(vectors)[..., 0])
        return torch.as_tensor(self.leave(hidden, vectors)[..., 0])
