"""Train a trunk on a number of whole molecules, and on the forces that follow from it,
for a given CPU time; and measure it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equidrift.models.shared.backbones.choice import make_trunk
from equidrift.models.shared.backbones.fit import Spent, descend
from equidrift.models.shared.backbones.ponita import PonitaNetwork
from equidrift.models.shared.backbones.symmetry import random_rotations
from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Inputs, Sizes, Trunk
from equidrift.models.shared.run import own_random_state

ENERGY_SHARE = 0.1  # of the loss where there are forces, which hold far more numbers


@dataclass(frozen=True)
class Clouds:
    """Molecules, padded, with a number each.

    Parameters
    ----------
    elements : Tensor
        One of the elements (k, n, s) of each atom, as 0 and 1; all 0 where padded.
    positions : Tensor
        (k, n, 3) in A.
    energies : Tensor
        (k,), of mean 0 over the training molecules.
    forces : Tensor
        (k, n, 3), minus the energies' gradient per A; of no columns (k, n, 0) where there
        are none.
    """

    elements: Tensor
    positions: Tensor
    energies: Tensor
    forces: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, pick: Tensor | slice) -> Clouds:
        return Clouds(*(part[pick] for part in vars(self).values()))

    @property
    def nodes(self) -> Tensor:
        """Which atoms there are, (k, n)."""
        return self.elements.sum(-1) > 0

    @property
    def with_forces(self) -> bool:
        """Whether forces are known."""
        return self.forces.shape[-1] > 0

    def inputs(self, positions: Tensor) -> Inputs:
        """What a trunk takes of them, at positions."""
        k, n = self.positions.shape[:2]
        features = Features(self.elements, self.positions.new_zeros(k, n, 3, 0))
        edges = Edges.complete(self.nodes, self.positions.new_zeros(k, n, n, 0))
        return Inputs(features, positions, edges, Globals.none(positions))

    def turned(self, turns: Tensor) -> Clouds:
        """Each turned by a rotation of its own, (k, 3, 3)."""
        forces = self.forces @ turns.mT if self.with_forces else self.forces
        return Clouds(self.elements, self.positions @ turns.mT, self.energies, forces)


def predicted(trunk: Trunk, clouds: Clouds) -> tuple[Tensor, Tensor]:
    """Energies (k,), and forces (k, n, 3) if the clouds have them.

    An energy with forces is a sum over atoms; a number without, such as a gap, a mean.
    """
    if not clouds.with_forces:
        atoms = trunk(*clouds.inputs(clouds.positions)).scalars[..., 0]
        return atoms.sum(1) / clouds.nodes.sum(1), clouds.forces
    with torch.enable_grad():
        positions = clouds.positions.detach().requires_grad_()
        energies = trunk(*clouds.inputs(positions)).scalars[..., 0].sum(1)
        (slope,) = torch.autograd.grad(energies.sum(), positions, create_graph=trunk.training)
    return energies, -slope


def loss_of(trunk: Trunk, clouds: Clouds) -> Tensor:
    """Mean square error of energies; where there are forces, mostly of these."""
    energies, forces = predicted(trunk, clouds)
    energy = (energies - clouds.energies).square().mean()
    if not clouds.with_forces:
        return energy
    return ENERGY_SHARE * energy + (forces - clouds.forces).square().mean()


def fit_energy(
    name: str,
    clouds: Clouds,
    budget_s: float,
    *,
    width: int,
    layers: int,
    batch: int,
    seed: int = 0,
) -> tuple[Trunk, Spent]:
    """Train a trunk of that name for so many seconds of CPU; arguments as `fit.fit`."""
    sizes = Sizes(clouds.elements.shape[-1], width=width, layers=layers)
    with own_random_state(seed):
        trunk = make_trunk(name, sizes).to(clouds.positions.device)
    if isinstance(trunk, PonitaNetwork):
        trunk.calibrate(clouds[:batch].inputs(clouds[:batch].positions))
    spent = descend(
        trunk, len(clouds), lambda rows: loss_of(trunk, clouds[rows]), budget_s, batch, seed
    )
    return trunk.eval(), spent


@torch.no_grad()
def errors(trunk: Trunk, clouds: Clouds, batch: int) -> dict[str, Tensor]:
    """Absolute errors (k,) of the energies, and mean ones of the forces' components."""
    parts: dict[str, list[Tensor]] = {"energy": [], "forces": []}
    for start in range(0, len(clouds), batch):
        some = clouds[slice(start, start + batch)]
        energies, forces = predicted(trunk, some)
        parts["energy"].append((energies.detach() - some.energies).abs())
        if clouds.with_forces:
            parts["forces"].append((forces - some.forces).abs().mean((1, 2)))
    return {name: torch.cat(found) for name, found in parts.items() if found}


@torch.no_grad()
def turned_change(trunk: Trunk, clouds: Clouds, seed: int = 1) -> Tensor:
    """Change (k,) of the energies where the molecules are turned, relative to the spread
    of the true ones.
    """
    turns = random_rotations(len(clouds), seed).to(clouds.positions)
    before, after = (predicted(trunk, c)[0].detach() for c in (clouds, clouds.turned(turns)))
    return (after - before).abs() / clouds.energies.std()
