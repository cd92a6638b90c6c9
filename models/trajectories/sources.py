"""Windows of frames that diffusion networks are trained on: of plain arrays, or of the
dynamics of molecules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.trajectories.diffusion.mean_path import CLOCK_FS
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.models.trajectories.graphs import (
    EDGE_FEATURES,
    NODE_FEATURES,
    array_graph,
    linked,
    molecule_graph,
)
from equidrift.models.trajectories.integrator.network import Graph


@dataclass
class Drawn:
    """Windows of a batch: their graph, frames (b, t, n, d) and clock (t,); `run`: the
    dynamics of a molecule that they come from.
    """

    graph: Graph
    frames: torch.Tensor
    clock: torch.Tensor
    run: Dynamics | None = None


@dataclass
class Source:
    """Windows to train on: `draw(rng, pairs, frames)` draws those of a batch."""

    draw: Callable[[np.random.Generator, int, int], Drawn]
    node_features: int
    edge_features: int


def array_source(
    positions: NDArray[Any],
    nodes: NDArray[Any],
    edges: NDArray[Any],
    *,
    frames: int,
    vectors: NDArray[Any] | None = None,
) -> Source:
    """Windows of plain-array trajectories (k, t, n, d) at any start; the clock counts
    frames.
    """
    graph = array_graph(nodes, edges, vectors=vectors)
    x = torch.from_numpy(np.asarray(positions, np.float32))
    if x.shape[1] < frames:
        raise InputError(
            f"a window has {frames} frames, and the trajectories {x.shape[1]}; set `frames` lower"
        )

    def draw(rng: np.random.Generator, pairs: int, length: int) -> Drawn:
        count = max(2, pairs // (x.shape[2] ** 2 * length))
        i, start = (
            torch.from_numpy(rng.integers(len(x), size=count)),
            int(rng.integers(x.shape[1] - length + 1)),
        )
        return Drawn(
            graph[i],
            x[i, start : start + length],
            torch.arange(length, dtype=torch.float32, device="cpu"),
        )

    return Source(draw, nodes.shape[-1], edges.shape[-1])


def dynamics_source(runs: Sequence[Dynamics], *, stride: int, frames: int) -> Source:
    """Windows of every `stride`-th frame of molecular dynamics, one molecule per batch;
    the clock is in units of 5 fs.
    """
    usable = [r for r in runs if r.positions_A.shape[1] > (frames - 1) * stride]
    if not usable:
        raise InputError(
            f"no run has {frames} frames at stride {stride}; set `frames` or `stride` lower"
        )

    def draw(rng: np.random.Generator, pairs: int, length: int) -> Drawn:
        run = usable[int(rng.integers(len(usable)))]
        bursts, total, n, _ = run.positions_A.shape
        count = max(2, pairs // (n * n * length))
        burst, start = (
            rng.integers(bursts, size=count),
            rng.integers(total - (length - 1) * stride, size=count),
        )
        x = np.stack([run.positions_A[burst, start + k * stride] for k in range(length)], 1)
        x = x - x.mean((1, 2), keepdims=True)
        graph = molecule_graph(run.molecule, run.level, count)
        graph.linked = linked(graph, 3)
        return Drawn(
            graph,
            torch.from_numpy(x),
            torch.arange(length, dtype=torch.float32, device="cpu")
            * (stride * run.spacing_fs / CLOCK_FS),
            run,
        )

    return Source(draw, NODE_FEATURES, EDGE_FEATURES)
