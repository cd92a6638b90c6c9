"""Plain arrays as they come from a user: checked, and as a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError
from equidrift.models.trajectories.graphs import array_graph
from equidrift.models.trajectories.integrator.network import Graph


@dataclass(frozen=True)
class Arrays:
    """Trajectories x (k, t, n, 2 or 3) with node features (k, n, f), edge features (k,
    n, n, e), and the time between frames.
    """

    x: NDArray[np.float64]
    nodes: NDArray[np.float64]
    edges: NDArray[np.float64]
    spacing: float = 1.0

    def __len__(self) -> int:
        return len(self.x)

    def part(self, rows: NDArray[np.int64]) -> Arrays:
        """Some of the trajectories."""
        return Arrays(self.x[rows], self.nodes[rows], self.edges[rows], self.spacing)


def checked(
    positions: ArrayLike, node_features: ArrayLike, edge_features: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The three arrays as float64.

    Raises `InputError` for shapes that do not fit or numbers that are not finite.
    """
    x, nodes, edges = (np.asarray(a, np.float64) for a in (positions, node_features, edge_features))
    if x.ndim != 4 or x.shape[-1] not in (2, 3):
        raise InputError(
            f"positions must be (trajectories, frames, nodes, 2 or 3), got {x.shape}; add an "
            f"axis for a single trajectory"
        )
    k, _, n, _ = x.shape
    if nodes.ndim != 3 or nodes.shape[:2] != (k, n):
        raise InputError(f"node_features must be ({k}, {n}, features), got {nodes.shape}")
    if edges.ndim != 4 or edges.shape[:3] != (k, n, n):
        raise InputError(f"edge_features must be ({k}, {n}, {n}, features), got {edges.shape}")
    for name, array in (("positions", x), ("node_features", nodes), ("edge_features", edges)):
        if not np.isfinite(array).all():
            raise InputError(f"{name} hold NaN or infinity; leave such trajectories out")
    return x, nodes, edges


def masked_graph(nodes: NDArray[Any], edges: NDArray[Any], real: NDArray[np.bool_]) -> Graph:
    """The graphs of node features (b, n, f) and edge features (b, n, n, e), of which
    the nodes `real` (b, n) are there.
    """
    graph = array_graph(nodes, edges)
    graph.mask = torch.from_numpy(real)
    return graph
