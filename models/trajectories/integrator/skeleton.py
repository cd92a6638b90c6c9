"""The terms of a classical energy: bonds, angles, torsions, planes and pairs of molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.shared.graph_codes import PAIR_CODES
from equidrift.models.trajectories.integrator.network import Graph

# the one-hot code of the bonds between two atoms, from 0 on
HOPS = slice(sum(PAIR_CODES[:1]) + 1, sum(PAIR_CODES[:2]))


@dataclass
class Skeleton:
    """The terms of one or several molecules side by side: indices of atoms (N of them),
    of bonds in `angle_bonds` and so on.

    node (N, f), edge (B, e) features; mass (N,); bonds (B, 2); angles (A, 3), centre in
    the middle, angle_bonds (A, 2); torsions (T, 4) and their middle bond; planes (O,
    4): a centre with exactly three neighbours; pairs (P, 2) three or more bonds apart,
    near (P,) where exactly three.
    """

    node: Tensor
    edge: Tensor
    mass: Tensor
    bonds: Tensor
    angles: Tensor
    angle_bonds: Tensor
    torsions: Tensor
    torsion_bonds: Tensor
    planes: Tensor
    pairs: Tensor
    near: Tensor


def skeleton(
    node: NDArray[np.float32],
    edge: NDArray[np.float32],
    mass: NDArray[np.float64],
    apart: NDArray[np.int64],
) -> Skeleton:
    """The terms of a molecule: node (n, f) and edge (n, n, e) features, mass (n,),
    apart (n, n): bonds between two atoms, 0 for none.
    """
    n = len(node)
    bonds = [(i, j) for i in range(n) for j in range(i + 1, n) if apart[i, j] == 1]
    place = {pair: k for k, pair in enumerate(bonds)}
    place |= {pair[::-1]: k for pair, k in place.items()}
    beside = [np.flatnonzero(apart[i] == 1).tolist() for i in range(n)]
    angles = [(i, j, k) for j in range(n) for i in beside[j] for k in beside[j] if i < k]
    torsions = [
        (i, j, k, m)
        for j, k in bonds
        for i in beside[j]
        for m in beside[k]
        if i != k and m not in (j, i)
    ]
    planes = [(j, *beside[j]) for j in range(n) if len(beside[j]) == 3]
    far = (apart > 2) | ((apart == 0) & ~np.eye(n, dtype=bool))
    first, second = np.nonzero(np.triu(far, 1))
    both = _index(bonds, 2)
    return Skeleton(
        torch.from_numpy(node),
        torch.from_numpy(edge[both[:, 0].numpy(), both[:, 1].numpy()]),
        torch.from_numpy(mass),
        both,
        _index(angles, 3),
        _index([(place[i, j], place[j, k]) for i, j, k in angles], 2),
        _index(torsions, 4),
        _index([(place[j, k],) for _, j, k, _ in torsions], 1)[:, 0],
        _index(planes, 4),
        torch.from_numpy(np.stack([first, second], -1)),
        torch.from_numpy(apart[first, second] == 3),
    )


def _index(rows: Sequence[tuple[int, ...]], width: int) -> Tensor:
    return torch.from_numpy(np.array(rows, np.int64).reshape(-1, width))


def skeleton_of(graph: Graph) -> Skeleton:
    """The terms of the first of equal graphs of a molecule (`data.molecule_graph`),
    whose edge features hold the bonds between atoms.
    """
    hops = graph.edge[0, ..., HOPS].cpu().numpy()
    apart = hops.argmax(-1) * (hops.max(-1) > 0)
    made = skeleton(
        graph.node[0].cpu().numpy(), graph.edge[0].cpu().numpy(), graph.mass[0].cpu().numpy(), apart
    )
    return Skeleton(**{name: part.to(graph.mass.device) for name, part in vars(made).items()})


def side_by_side(parts: list[Skeleton]) -> Skeleton:
    """One skeleton of several molecules."""
    atoms = np.cumsum([0, *(len(s.node) for s in parts)]).tolist()
    rows = np.cumsum([0, *(len(s.bonds) for s in parts)]).tolist()
    shifts = dict.fromkeys(("bonds", "angles", "torsions", "planes", "pairs"), atoms)
    shifts |= dict.fromkeys(("angle_bonds", "torsion_bonds"), rows)

    def joined(name: str) -> Tensor:
        if name not in shifts:
            return torch.cat([vars(s)[name] for s in parts])
        return torch.cat([vars(s)[name] + k for s, k in zip(parts, shifts[name], strict=False)])

    return Skeleton(**{name: joined(name) for name in vars(parts[0])})
