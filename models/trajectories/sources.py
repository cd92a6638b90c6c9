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
from equidrift.models.trajectories.dynamics import Dynamics, drawn
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


PriorPath = Callable[[Drawn, torch.Tensor], torch.Tensor]  # of windows, and the frames given (t,)


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


def dynamics_source(
    runs: Sequence[Dynamics],
    *,
    stride: int,
    frames: int,
    spacing_fs: float | None = None,
    hops: int | None = None,
) -> Source:
    """Windows of molecular dynamics, one molecule per batch; the clock is in units of
    5 fs. Each level of theory comes equally often, then each run of it.

    Parameters
    ----------
    stride : int
        Every `stride`-th frame of a run is taken.
    frames : int
        Of a window.
    spacing_fs : float, optional
        Between frames, instead of a stride: runs may be of different spacing.
    hops : int, optional
        Only atoms that so many bonds or fewer keep apart see each other; else all do.

    Raises
    ------
    InputError
        If no run is long enough, or `spacing_fs` is no multiple of a run's.
    """
    strides = [stride if spacing_fs is None else stride_of(run, spacing_fs) for run in runs]
    usable = [
        (run, stride)
        for run, stride in zip(runs, strides, strict=True)
        if run.positions_A.shape[1] > (frames - 1) * stride
    ]
    if not usable:
        at = f"stride {stride}" if spacing_fs is None else f"{spacing_fs:g} fs"
        lower = "stride" if spacing_fs is None else "spacing_fs"
        raise InputError(f"no run has {frames} frames at {at}; set `frames` or `{lower}` lower")

    def draw(rng: np.random.Generator, pairs: int, length: int) -> Drawn:
        run, stride = drawn(usable, rng)
        bursts, total, n, _ = run.positions_A.shape
        count = max(2, pairs // (n * n * length))
        burst, start = (
            rng.integers(bursts, size=count),
            rng.integers(total - (length - 1) * stride, size=count),
        )
        x = np.stack([run.positions_A[burst, start + k * stride] for k in range(length)], 1)
        x = x - x.mean((1, 2), keepdims=True)
        graph = molecule_graph(run.molecule, run.level, count)
        graph.linked = linked(graph, hops) if hops is not None else None
        return Drawn(
            graph,
            torch.from_numpy(x),
            torch.arange(length, dtype=torch.float32, device="cpu")
            * (stride * run.spacing_fs / CLOCK_FS),
            run,
        )

    return Source(draw, NODE_FEATURES, EDGE_FEATURES)


def stride_of(run: Dynamics, spacing_fs: float) -> int:
    """Which frames of a run lie `spacing_fs` apart.

    Raises
    ------
    InputError
        If none do.
    """
    stride = round(spacing_fs / run.spacing_fs)
    if stride < 1 or abs(stride * run.spacing_fs - spacing_fs) > 1e-3 * spacing_fs:
        raise InputError(
            f"spacing_fs: frames of {run.molecule!r} lie {run.spacing_fs:g} fs apart, of which "
            f"{spacing_fs:g} fs is no multiple"
        )
    return stride
