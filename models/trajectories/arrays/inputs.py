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
    n, n, e), the time between frames, and global vectors (k, g, d), if there are any.
    """

    x: NDArray[np.float64]
    nodes: NDArray[np.float64]
    edges: NDArray[np.float64]
    spacing: float = 1.0
    vectors: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def part(self, rows: NDArray[np.int64]) -> Arrays:
        """Some of the trajectories."""
        axes = None if self.vectors is None else self.vectors[rows]
        return Arrays(self.x[rows], self.nodes[rows], self.edges[rows], self.spacing, axes)

    def graph(self) -> Graph:
        """The graphs of all trajectories."""
        return array_graph(self.nodes, self.edges, vectors=self.vectors)


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


def checked_vectors(vectors: ArrayLike | None, count: int, d: int) -> NDArray[np.float64] | None:
    """Global vectors (count, g, d) as float64; those of one system, (g, d), are all
    systems'.

    Raises `InputError` for shapes that do not fit or numbers that are not finite.
    """
    if vectors is None:
        return None
    found = np.asarray(vectors, np.float64)
    if found.ndim == 2:
        found = np.broadcast_to(found, (count, *found.shape))
    if found.ndim != 3 or found.shape[0] != count or found.shape[2] != d:
        raise InputError(
            f"vectors must be ({count}, vectors, {d}), or (vectors, {d}) for all trajectories, "
            f"got {np.shape(vectors)}"
        )
    if not np.isfinite(found).all():
        raise InputError("vectors hold NaN or infinity; leave such trajectories out")
    return found


def masked_graph(
    nodes: NDArray[Any],
    edges: NDArray[Any],
    real: NDArray[np.bool_],
    vectors: NDArray[Any] | None = None,
) -> Graph:
    """The graphs of node features (b, n, f) and edge features (b, n, n, e), of which
    the nodes `real` (b, n) are there; global vectors (b, g, d).
    """
    graph = array_graph(nodes, edges, vectors=vectors)
    graph.mask = torch.from_numpy(real)
    return graph
