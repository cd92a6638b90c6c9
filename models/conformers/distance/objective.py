"""What se3-distance learns: noisy coordinates, clean distances of pairs, and GeoDiff's
denoising loss (arXiv:2203.02923) on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.conformers.distance.network import (
    EDGE_FAR,
    DistanceNetwork,
    edge_types,
    element_index,
    pair_indices,
)
from equidrift.models.shared.batches import Batched

WEIGHT_GLOBAL, WEIGHT_LOCAL = 2.0, 5.0  # GeoDiff's weights of the two heads, arXiv:2203.02923


@dataclass(frozen=True)
class DistanceBatch(Batched):
    """Molecules of one size: elements (B, n), kinds (B, n, n), positions_A (B, n, 3)
    with the centre at the origin.
    """

    elements: Tensor
    kinds: Tensor
    positions_A: Tensor


class ConformerSet:
    """Conformers from the npz files of `tools/make_distance_data.py`, drawn in batches
    of one size.

    Parameters
    ----------
    paths : sequence of Path
        Files; every file belongs to a source (its position in `shares`).
    shares : sequence of float
        For each file, its source's share of the draws is divided among its conformers.
    """

    def __init__(self, paths: Sequence[Path], sources: Sequence[int], shares: Sequence[float]):
        self.elements: list[NDArray[np.int64]] = []
        self.kinds: list[NDArray[np.int8]] = []
        self.positions: list[NDArray[np.float32]] = []
        owner, source = [], []
        for path, which in zip(paths, sources, strict=True):
            n_before = len(self.positions)
            owner += self._read(path)
            source += [which] * (len(self.positions) - n_before)
        self.owner = np.array(owner)
        origin = np.array(source)
        weight = np.zeros(len(origin))
        for which, share in enumerate(shares):
            weight[origin == which] = share / max(1, (origin == which).sum())
        self.weight = weight / weight.sum()
        sizes = np.array([len(p) for p in self.positions])
        self.by_size = {int(n): np.flatnonzero(sizes == n) for n in np.unique(sizes)}

    def _read(self, path: Path) -> list[int]:
        """Append one file; returns the molecule of each of its conformers."""
        with np.load(path) as archive:
            d = {key: archive[key] for key in archive.files}
        owner = []
        for k in range(len(d["atom_offset"]) - 1):
            z = d["z"][d["atom_offset"][k] : d["atom_offset"][k + 1]]
            index = element_index(z)
            if (index < 0).any() or len(z) < 3:
                continue
            bonds = slice(d["bond_offset"][k], d["bond_offset"][k + 1])
            self.elements.append(index)
            self.kinds.append(
                edge_types(len(z), d["bonds"][bonds].astype(np.int64), d["orders"][bonds]).astype(
                    np.int8
                )
            )
            for c in range(d["conf_offset"][k], d["conf_offset"][k + 1]):
                r = d["R"][d["coord_offset"][c] : d["coord_offset"][c + 1]]
                self.positions.append(r - r.mean(0))
                owner.append(len(self.elements) - 1)
        return owner

    def __len__(self) -> int:
        return len(self.positions)

    def draw(self, rng: np.random.Generator, pairs_per_batch: int) -> DistanceBatch:
        """One batch of molecules of the same size, about `pairs_per_batch` pairs."""
        sizes = list(self.by_size)
        mass = np.array([self.weight[self.by_size[n]].sum() * n * (n - 1) for n in sizes])
        n = int(rng.choice(sizes, p=mass / mass.sum()))
        rows = self.by_size[n]
        count = max(2, pairs_per_batch // (n * (n - 1) // 2))
        picks = rng.choice(rows, count, p=self.weight[rows] / self.weight[rows].sum())
        molecules = self.owner[picks]
        return DistanceBatch(
            torch.from_numpy(np.stack([self.elements[m] for m in molecules])),
            torch.from_numpy(np.stack([self.kinds[m] for m in molecules]).astype(np.int64)),
            torch.from_numpy(np.stack([self.positions[p] for p in picks])),
        )


def stratified_log_sigma(
    rng: np.random.Generator, count: int, low_A: float, high_A: float
) -> Tensor:
    """(count,) noise levels in A, log-uniform and spread evenly over the batch (in
    place of GeoDiff's antithetic pairs).
    """
    u = (rng.permutation(count) + rng.random(count)) / count
    return torch.from_numpy(np.exp(np.log(low_A) + u * np.log(high_A / low_A)).astype(np.float32))


def denoising_loss(
    network: DistanceNetwork, batch: DistanceBatch, sigma_A: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted squared error of the distance score (Gaussian target of
    arXiv:2403.01430) in units of its preconditioning.

    Parameters
    ----------
    sigma_A : Tensor, shape (B,)
        Noise level per coordinate.
    noise : Tensor, shape (B, n, 3)
        Standard normal.

    Returns
    -------
    scalar loss, and the squared error of the clean distance in A^2, (B, P), detached.
    """
    x0 = batch.positions_A
    i, j, _ = pair_indices(x0.shape[1], x0.device)
    clean = (x0[:, i] - x0[:, j]).norm(dim=-1)
    predicted = network(x0 + sigma_A[:, None, None] * noise, batch.elements, batch.kinds, sigma_A)
    kind = batch.kinds[:, i, j]
    prior, both = network.prior_spread[kind] ** 2, 2.0 * sigma_A[:, None] ** 2
    scale = both * prior / (prior + both)
    weight = torch.where(kind == EDGE_FAR, WEIGHT_GLOBAL, WEIGHT_LOCAL)
    error = (predicted - clean).square()
    loss = (weight * error / scale).sum() / weight.sum()
    return loss, error.detach()
