"""Networks of every kind with weights that do something, and what they are asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equidrift.models.trajectories.arrays.carry import Spread, carry_of
from equidrift.models.trajectories.arrays.egnn import EGNN
from equidrift.models.trajectories.diffusion.draw import draw_window
from equidrift.models.trajectories.diffusion.frames import KnownFrames, Sampling
from equidrift.models.trajectories.graphs import array_graph
from equidrift.models.trajectories.integrator.integrator import Integrator
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.networks import make_network
from equidrift.seeds import sample_rng

T, N, GIVEN = 8, 5, 4
SPACING = 0.25
_SIZES: dict[str, Any] = {"width": 16, "layers": 2}
_PATH = {"heads": 2, "scaled": True, "velocities": True}
_FORCE = {"width": 16, "pair_width": 8, "shortest": 0.3, "longest": 12.0, "strength": 1.0}
CONFIGS: dict[str, dict[str, Any]] = {
    "flow": {"kind": "flow", "frames": T, "network": _SIZES | _PATH, "comoving": True},
    "residual": {
        "kind": "geotdm",
        "form": "residual",
        "frames": T,
        "network": _SIZES | _PATH,
        "comoving": True,
    },
    "residual of half the velocity": {
        "kind": "geotdm",
        "form": "residual",
        "line": 0.5,
        "frames": T,
        "network": _SIZES | _PATH,
        "comoving": True,
    },
    "residual of a learned path": {
        "kind": "geotdm",
        "form": "residual",
        "prior": "learned",
        "frames": T,
        "network": _SIZES | _PATH,
        "comoving": True,
    },
    "residual in the path's own spread": {
        "kind": "geotdm",
        "form": "residual",
        "reads_path": True,
        "frames": T,
        "network": _SIZES | _PATH,
        "comoving": True,
    },
    "flow in the path's own spread": {
        "kind": "flow",
        "reads_path": True,
        "frames": T,
        "network": _SIZES | _PATH,
        "comoving": True,
    },
    "geotdm": {
        "kind": "geotdm",
        "steps": 50,
        "frames": T,
        "network": _SIZES,
        "comoving": True,
    },
    "egnn": {"kind": "egnn", "width": 16, "layers": 2, "comoving": True},
    "egnn of a trunk": {
        "kind": "egnn",
        "width": 16,
        "layers": 1,
        "backbone": "radial",
        "comoving": True,
    },
    "integrator": {"kind": "integrator", "longest_step": 0.1, "force": _FORCE | {"blocks": 0}},
    "integrator of blocks": {
        "kind": "integrator",
        "longest_step": 0.1,
        "force": _FORCE | {"blocks": 1},
    },
}


def with_axes(config: dict[str, Any], axes: int) -> dict[str, Any]:
    """The same for so many global vectors."""
    told = {"global_vectors": axes}
    for part in ("network", "force"):
        if part in config:
            return config | {part: config[part] | told}
    return config | told


def awake(config: dict[str, Any], size: float = 0.2) -> nn.Module:
    """A network in double precision whose weights are random, those that begin at zero
    too; what moves positions moves them little.
    """
    network = make_network(config)
    if not isinstance(network, EGNN):  # which works in single precision
        network = network.double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in network.named_parameters():
            small = 0.05 if "move" in name or "push" in name else 1.0
            p.copy_(small * size * torch.randn(p.shape, generator=generator))
        if hasattr(network, "spread"):
            network.spread.fill_(0.3)
    return network.eval()


def system(axes: Tensor | None = None) -> Graph:
    """Two systems of charges; global vectors (2, g, 3)."""
    rng = np.random.default_rng(0)
    charge = rng.choice([-1.0, 1.0], (2, N, 1))
    made = array_graph(charge, charge[:, :, None] * charge[:, None])
    return replace(made, node=made.node.double(), edge=made.edge.double(), vectors=axes)


def walks() -> Tensor:
    """Smooth motions (2, T, N, 3)."""
    rng = np.random.default_rng(1)
    start, speed = (rng.standard_normal((2, 1, N, 3)) for _ in range(2))
    clock = np.arange(T)[:, None, None]
    return torch.from_numpy(2.0 * start + 0.2 * speed * clock + 0.1 * np.sin(clock + start))


def noise() -> Tensor:
    """Standard normal numbers of every frame."""
    return torch.randn(2, T, N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def forecast(network: Any, graph: Graph, x: Tensor, normal: Tensor) -> Tensor:
    """The frames after the first GIVEN of x (2, T, N, 3); a sample, by the same random
    numbers each time, which turn with `normal`.
    """
    if isinstance(network, Integrator | EGNN):
        spread = Spread([sample_rng(k) for k in range(2)], 0.0)
        if isinstance(network, EGNN):
            graph = replace(graph, node=graph.node.float(), edge=graph.edge.float())
        carry = carry_of(network, graph, SPACING, spread)
        return carry(x[:, :GIVEN], T - GIVEN)
    clock, given = torch.arange(T).double(), torch.arange(T) < GIVEN
    known = KnownFrames(graph, x, clock, given)
    return draw_window(network, known, lambda: normal, Sampling(steps=3))[:, GIVEN:]
