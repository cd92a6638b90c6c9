"""An energy of the surroundings of atoms by a trunk of the symmetry kit, in the place of
neighbourhoods.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equidrift.models.conformers.energy.layers import EnergyConfig
from equidrift.models.conformers.energy.terms import Graphs
from equidrift.models.shared.backbones.choice import make_trunk
from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Sizes


class TrunkEnergy(nn.Module):
    """Energies of atoms: a trunk (`config.backbone`, of `config.channels` channels and
    `config.blocks` layers) that begins with the features of the graph.
    """

    def __init__(self, config: EnergyConfig):
        super().__init__()
        if config.backbone is None:
            raise ValueError("a trunk needs its name")
        c, layers = config.channels, max(1, config.blocks)
        self.enter = nn.Linear(config.width, c)
        self.trunk = make_trunk(config.backbone, Sizes(c, width=c, layers=layers, out_scalars=c))
        self.read = nn.Linear(c, 1, bias=False)
        nn.init.normal_(self.read.weight, std=0.001)

    def forward(self, graphs: Graphs, x: Tensor, h: Tensor) -> Tensor:
        """Energies (N, k) of the atoms of geometries x (3, N, k), of features h (N,
        width).
        """
        owner, k = graphs.owner, x.shape[2]
        count = torch.bincount(owner, minlength=graphs.count)
        slot = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner]
        n = int(count.max())
        positions = x.new_zeros(graphs.count, n, k, 3)
        positions[owner, slot] = x.permute(1, 2, 0)
        scalars = x.new_zeros(graphs.count, n, self.enter.out_features)
        scalars[owner, slot] = self.enter(h).to(x.dtype)
        nodes = torch.arange(n, device=owner.device)[None] < count[:, None]
        # geometry by geometry: (molecules k, n, ...)
        positions = positions.transpose(1, 2).reshape(-1, n, 3)
        scalars, nodes = scalars.repeat_interleave(k, 0), nodes.repeat_interleave(k, 0)
        features = Features(scalars, x.new_zeros(len(nodes), n, 3, 0))
        edges = Edges.complete(nodes, x.new_zeros(len(nodes), n, n, 0))
        found = self.trunk(features, positions, edges, Globals.none(positions)).scalars
        energy: Tensor = self.read(found)[..., 0].reshape(graphs.count, k, n)
        return energy[owner, :, slot]
