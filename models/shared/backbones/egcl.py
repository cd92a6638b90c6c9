"""The spatial layer of EGTN (an E(n)-equivariant graph convolution), and its trunk.

Messages read squared distances; positions move along the lines between nodes, by the
mean of the messages. The trajectory models run it in every frame at once, hence the
axis of frames t.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.shared.backbones.trunk import Features, Inputs, Sizes, Symmetry, Trunk


def mlp(inside: int, width: int, outside: int) -> nn.Sequential:
    """Two layers with a smooth step between them."""
    return nn.Sequential(nn.Linear(inside, width), nn.SiLU(), nn.Linear(width, outside))


class SpatialLayer(nn.Module):
    """EGCL: messages between the nodes of a frame; positions move along the lines
    between nodes, by the mean of the messages.

    Parameters
    ----------
    width : int
        Channels of the nodes' features.
    edge_features : int
        Channels of the edges' features.
    residual : bool
        Whether new features are added to the old ones (EGNN), or replace them (GeoTDM's
        published code).
    axes : int, optional
        Global vectors: messages read how the line between two nodes lies to each, and
        nodes move along them too (subequivariance).
    """

    def __init__(self, width: int, edge_features: int, residual: bool, axes: int = 0):
        super().__init__()
        w = width
        self.residual = residual
        self.ends = nn.Linear(w, 2 * w, bias=False)
        self.edge = nn.Linear(edge_features + 1 + axes, w)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(w, w), nn.SiLU())
        self.node, self.move = mlp(2 * w, w, w), mlp(w, w, 1)
        self.push = mlp(2 * w, w, axes) if axes else None

    def forward(
        self, x: Tensor, h: Tensor, edge: Tensor, mask: Tensor, axes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x (b, t, n, d), h (b, t, n, w), edge (b, 1, n, n, e), mask (b, 1, n, n), global
        vectors (b, g, d).
        """
        r = x[:, :, :, None] - x[:, :, None]
        square = r.square().sum(-1, keepdim=True)
        left, right = self.ends(h).chunk(2, -1)
        told = [square, edge.expand(*square.shape[:-1], -1)]
        if axes is not None:
            told.append(torch.einsum("btijd,bgd->btijg", r, axes))
        m = self.message(left[:, :, :, None] + right[:, :, None] + self.edge(torch.cat(told, -1)))
        m = m * mask[..., None]
        weight = self.move(m) / ((square + 1e-8).sqrt() + 1) * mask[..., None]
        x = x + (r * weight).sum(3) / mask.sum(-1, keepdim=True).clamp_min(1.0)
        heard = torch.cat([h, m.sum(3)], -1)
        if self.push is not None and axes is not None:
            x = x + torch.einsum("btng,bgd->btnd", self.push(heard), axes)
        new = self.node(heard)
        return x, h + new if self.residual else new


class EgclNetwork(Trunk):
    """Layers of `SpatialLayer`: the control for trajectories.

    Input vectors enter the nodes' scalars by their lengths, and leave with a learned
    factor each, as velocities do in EGNN; the displacement is the vector that the layers
    make themselves.

    Parameters
    ----------
    sizes : Sizes
        Channels, width and layers.

    References
    ----------
    Satorras, Hoogeboom and Welling, arXiv:2102.09844, equations 3 to 7; Han et al.,
    GeoTDM, arXiv:2410.13027, for EGTN.
    """

    symmetry = Symmetry("all", mirrors=True)

    def __init__(self, sizes: Sizes):
        super().__init__(sizes)
        w, known = sizes.width, sizes.node_vectors
        self.embed = nn.Linear(sizes.node_scalars + known, w)
        self.layers = nn.ModuleList(
            [SpatialLayer(w, sizes.edges, residual=True) for _ in range(sizes.layers)]
        )
        self.leave = nn.Linear(w, sizes.out_scalars)
        self.share = mlp(w, w, (known + 1) * sizes.out_vectors)

    def run(self, inputs: Inputs) -> Features:
        """Scalars and vectors of the nodes."""
        positions, edges, told = inputs.positions, inputs.edges, inputs.told()
        h = self.embed(told.invariants())[:, None]
        x, mask = positions[:, None], edges.linked[:, None].to(positions.dtype)
        for layer in self.layers:
            x, h = layer(x, h, edges.features[:, None], mask)
        moved = torch.cat([(x[:, 0] - positions)[..., None], told.vectors], -1)  # (b, n, 3, 1 + v)
        share = self.share(h[:, 0]).unflatten(-1, (-1, self.sizes.out_vectors))
        return Features(self.leave(h[:, 0]), moved @ share)
