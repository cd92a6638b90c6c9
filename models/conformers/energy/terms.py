"""The terms of the energy of a molecule (bonds, angles, torsions, planes, pairs), and
several molecules as one row of atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.shared.graph_codes import (
    GraphCodes,
)


@dataclass(frozen=True)
class Topology:
    """The terms of one molecule: atom codes (n, 7) and, for each kind of term, atoms
    (t, 2 to 4) and codes of the graph.
    """

    atom: NDArray[np.int64]
    bonds: NDArray[np.int64]
    bond_codes: NDArray[np.int64]  # (b, 2): order, smallest ring
    angles: NDArray[np.int64]  # centre in the middle
    torsions: NDArray[np.int64]
    planes: NDArray[np.int64]  # centre first
    pairs: NDArray[np.int64]  # every pair of atoms
    hops: NDArray[np.int64]  # (p,) code of the number of bonds between them

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atom)


def topology(codes: GraphCodes) -> Topology:
    """The terms of a molecule, from the codes of its graph."""
    order = codes.pair[..., 0].astype(np.int64)
    i, j = np.nonzero(np.triu(order))
    neighbours = [np.flatnonzero(row) for row in order]
    angles = [
        (a, c, b)
        for c, near in enumerate(neighbours)
        for k, a in enumerate(near)
        for b in near[k + 1 :]
    ]
    torsions = [
        (a, p, q, b)
        for p, q in zip(i.tolist(), j.tolist(), strict=True)
        for a in neighbours[p]
        for b in neighbours[q]
        if a not in (q, b) and b != p
    ]
    planes = [(c, *near) for c, near in enumerate(neighbours) if len(near) == 3]
    every = np.stack(np.triu_indices(codes.n_atoms, 1), axis=1)
    return Topology(
        atom=codes.atom.astype(np.int64),
        bonds=np.stack([i, j], axis=1),
        bond_codes=np.stack([order[i, j], codes.pair[i, j, 2].astype(np.int64)], axis=1),
        angles=np.array(angles, np.int64).reshape(-1, 3),
        torsions=np.array(torsions, np.int64).reshape(-1, 4),
        planes=np.array(planes, np.int64).reshape(-1, 4),
        pairs=every,
        hops=codes.pair[every[:, 0], every[:, 1], 1].astype(np.int64),
    )


@dataclass
class Graphs:
    """The terms of several molecules, their atoms in one row (N in all).

    atom (N, 7); bonds (b, 2), bond_codes (b, 2), angles (a, 3), torsions (t, 4), planes
    (o, 4), pairs (p, 2) and hops (p,); `owner` (N,) is the molecule of each atom and
    `count` the number of molecules.
    """

    atom: Tensor
    bonds: Tensor
    bond_codes: Tensor
    angles: Tensor
    torsions: Tensor
    planes: Tensor
    pairs: Tensor
    hops: Tensor
    owner: Tensor
    count: int

    def to(self, device: torch.device) -> Graphs:
        """The same on a device."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def join(parts: Sequence[Topology]) -> Graphs:
    """One row of atoms out of several molecules."""
    sizes = [part.n_atoms for part in parts]
    begin = np.cumsum([0, *sizes[:-1]])
    shifted = {
        name: torch.from_numpy(
            np.concatenate(
                [getattr(part, name) + at for part, at in zip(parts, begin, strict=True)]
            )
        )
        for name in ("bonds", "angles", "torsions", "planes", "pairs")
    }
    plain = {
        name: torch.from_numpy(np.concatenate([getattr(part, name) for part in parts]))
        for name in ("atom", "bond_codes", "hops")
    }
    owner = torch.from_numpy(np.repeat(np.arange(len(parts)), sizes))
    return Graphs(**shifted, **plain, owner=owner, count=len(parts))
