"""Noising and loss of the refiner and of the generator."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.geometry import align
from equidrift.models.conformers.basins import basin_torsions, same_basin
from equidrift.models.conformers.data import ConformerSet
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.geometry import geometry_errors
from equidrift.models.shared.graph_codes import (
    Batch,
    GraphCodes,
    collate,
    exchange_hydrogens,
    with_hydrogen_rows,
)

RECYCLED = 0.3  # share of the refiner's batches that stand for a second call


@dataclass
class Example(Batched):
    """A training batch: graphs, start and target (b, n, 3) in A, level (b,), sigma (b,)
    in A (0 for the refiner).

    `recycle`: start from what the network makes of the start, as a second call would.
    """

    batch: Batch
    start: Tensor
    target: Tensor
    level: Tensor
    sigma: Tensor
    recycle: bool = False


def size_buckets(data: ConformerSet, atoms_per_batch: int) -> list[NDArray[np.int64]]:
    """Indices cut into batches of like size, in a fixed order: at most
    `atoms_per_batch` atoms, padding included.
    """
    sizes = np.array([g.n_atoms for g in data.graphs])
    order = np.argsort(sizes, kind="stable")
    batches, begin = [], 0
    while begin < len(order):
        end = begin + 1
        largest = sizes[order[begin]] * 1.15 + 1
        while (
            end < len(order)
            and sizes[order[end]] * (end - begin + 1) <= atoms_per_batch
            and sizes[order[end]] <= largest
        ):
            end += 1
        batches.append(order[begin:end])
        begin = end
    return batches


class Batches:
    """Batch number `step` of an endless, seeded sequence; each epoch shuffles the
    members within a size and the batches.

    `level_weights` says how often a conformer of a level comes. `sigma`: mean and
    deviation of ln(noise level / A) for the generator; None makes the refiner's starts.
    """

    def __init__(
        self,
        data: ConformerSet,
        *,
        atoms_per_batch: int,
        seed: int,
        level_weights: dict[int, float],
        sigma: tuple[float, float] | None,
    ):
        self.data, self.atoms, self.seed, self.sigma = data, atoms_per_batch, seed, sigma
        self.rate = np.array([level_weights.get(level, 1.0) for level in data.levels])
        if not (self.rate > 0).any():
            raise InputError(
                "no conformer is ever drawn: level_weights must be above 0 for a level of the "
                "training data"
            )
        if sigma is None:  # a start that ends in another basin teaches nothing
            data.starts = [
                _starts_in_basin(graph, starts, target)
                for graph, starts, target in zip(
                    data.graphs, data.starts, data.targets, strict=True
                )
            ]
        else:
            data.graphs = [with_hydrogen_rows(g) for g in data.graphs]
            data.targets = [
                exchange_hydrogens(g, x) for g, x in zip(data.graphs, data.targets, strict=True)
            ]
        self.epoch = -1
        self.plan: list[NDArray[np.int64]] = []
        self.starts_at = [0]

    def _epoch_plan(self, epoch: int) -> list[NDArray[np.int64]]:
        rng = np.random.default_rng((self.seed, epoch))
        copies = np.floor(self.rate + rng.random(len(self.rate))).astype(int)
        index = rng.permutation(np.repeat(np.arange(len(self.rate)), copies))
        sizes = np.array([self.data.graphs[i].n_atoms for i in index])
        index = index[np.argsort(sizes, kind="stable")]
        chosen = ConformerSet([self.data.graphs[i] for i in index], [], [], [])
        plan = [index[rows] for rows in size_buckets(chosen, self.atoms)]
        return [plan[k] for k in rng.permutation(len(plan))]

    def __call__(self, step: int) -> Example:
        """Batch number `step`."""
        while step >= self.starts_at[-1]:  # plan epochs until this step is covered
            self.epoch = len(self.starts_at) - 1
            self.plan = self._epoch_plan(self.epoch)
            self.starts_at.append(self.starts_at[-1] + len(self.plan))
        epoch = bisect_right(self.starts_at, step) - 1
        if epoch != self.epoch:  # a step of an earlier epoch
            self.epoch, self.plan = epoch, self._epoch_plan(epoch)
        return self.example(
            self.plan[step - self.starts_at[epoch]],
            np.random.default_rng((self.seed, 1 << 32, step)),
        )

    def example(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Example:
        """The conformers of these rows, moved or noised."""
        batch = collate([self.data.graphs[i] for i in rows])
        n = batch.mask.shape[1]
        start, target = (
            np.zeros((len(rows), n, 3), np.float32),
            np.zeros((len(rows), n, 3), np.float32),
        )
        sigma = np.zeros(len(rows), np.float32)
        for k, i in enumerate(rows):
            clean = self.data.targets[i] - self.data.targets[i].mean(0)
            if self.sigma is None:
                moved = refiner_start(self.data.targets[i], self.data.starts[i], rng)
            else:
                sigma[k] = np.exp(self.sigma[0] + self.sigma[1] * rng.standard_normal())
                moved = clean + sigma[k] * rng.standard_normal(clean.shape)
            start[k, : len(clean)], target[k, : len(clean)] = moved - moved.mean(0), clean
        level = torch.tensor([self.data.levels[i] for i in rows], device="cpu")
        recycle = self.sigma is None and rng.random() < RECYCLED
        return Example(
            batch,
            torch.from_numpy(start),
            torch.from_numpy(target),
            level,
            torch.from_numpy(sigma),
            recycle,
        )


def _starts_in_basin(
    graph: GraphCodes, starts: list[NDArray[Any]], target: NDArray[Any]
) -> list[NDArray[Any]]:
    """The starts that lie in the basin of the target, superposed on it."""
    torsions = basin_torsions(graph) if starts else None
    return [
        align(start, target)
        for start in starts
        if torsions is not None and same_basin(torsions, start, target)
    ]


def refiner_start(
    clean: NDArray[Any], starts: list[NDArray[Any]], rng: np.random.Generator
) -> NDArray[Any]:
    """A geometry that the refiner may be given: a start as it is, one on the way to the
    target, or noise on the target.
    """
    kind = rng.random()
    if not starts or kind < 0.12:
        return clean + rng.uniform(0.0, 0.25) * rng.standard_normal(clean.shape)
    chosen = starts[0 if len(starts) == 1 or rng.random() < 0.65 else 1]
    share = 1.0 if kind < 0.7 else rng.uniform(0.0, 1.0)
    noise_A = float(rng.choice([0.0, 0.01, 0.04])) * rng.standard_normal(clean.shape)
    start: NDArray[Any] = clean + share * (chosen - clean) + noise_A
    return start


def refiner_loss(network: nn.Module, example: Example) -> Tensor:
    """Huber error of all distances, by hops, and of aligned coordinates, of each
    stage's estimate.
    """
    start = example.start
    if example.recycle:
        with torch.no_grad():
            start = network(example.batch, start, example.level)[-1]
    outs = network(example.batch, start, example.level)
    scale = [0.3] * (len(outs) - 1) + [1.0]
    return sum(
        (s * geometry_loss(example, x) for s, x in zip(scale, outs, strict=True)),
        start=start.new_zeros(()),
    )


def geometry_loss(example: Example, x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over molecules, with `weights` (b,), of `geometry_errors`."""
    error = geometry_errors(example.batch, x, example.target)
    return (error if weights is None else weights * error).mean()
