"""What is learned from plain arrays: pair forces by path matching, steps of a whole
frame, or windows.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from equidrift.errors import InputError
from equidrift.models.shared.split import split
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import checked
from equidrift.models.trajectories.arrays.egnn import step_loss
from equidrift.models.trajectories.config import Plan, TrajectoryTraining
from equidrift.models.trajectories.data import PathBatches, RollBatches, array_graph, array_source
from equidrift.models.trajectories.diffusion.train import window_plan
from equidrift.models.trajectories.integrator.integrator import Integrator, advance, shoot
from equidrift.models.trajectories.integrator.objective import path_loss

LAYERS_PER_FRAME = 8  # sub-steps of the integrator between two frames of plain arrays


def load_arrays(
    path: str | Path,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Positions (k, t, n, 2 or 3), nodes (k, n, f), edges (k, n, n, e) and the spacing
    (1 where it is not there) of an .npz.

    Raises
    ------
    InputError
        for another file, or arrays that do not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in file.files}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"arrays:{path} cannot be read as .npz ({error}); np.savez(path, positions=..., nodes=..., edges=...) writes one"
        ) from error
    if missing := [key for key in ("positions", "nodes", "edges") if key not in held]:
        raise InputError(
            f"arrays:{path} lacks {', '.join(missing)}; it holds {', '.join(held) or 'nothing'}"
        )
    x, nodes, edges = checked(held["positions"], held["nodes"], held["edges"])
    return x, nodes, edges, float(held.get("spacing", 1.0))


def nbody_plan(c: TrajectoryTraining, system: str) -> Plan:
    """An N-body system, simulated anew."""
    data = nbody.simulate(system, 0, min(nbody.PARTS["train"][1], c.trajectories))
    return array_plan(c, data.positions, data.nodes, data.edges, nbody.SPACING)


def array_plan(
    c: TrajectoryTraining,
    x: NDArray[np.float64],
    nodes: NDArray[np.float64],
    edges: NDArray[np.float64],
    spacing: float,
) -> Plan:
    """Plain arrays: pair forces by path matching, steps of a whole frame, or windows
    for the others.
    """
    sizes = {"node_features": nodes.shape[-1], "edge_features": edges.shape[-1]}
    rows, held = split(range(len(x)), c.held_out, c.seed)
    unseen_x, unseen_nodes, unseen_edges = x[held], nodes[held], edges[held]
    x, nodes, edges = x[rows], nodes[rows], edges[rows]
    if c.kind in ("flow", "geotdm", "modes"):
        unseen = (
            array_source(unseen_x, unseen_nodes, unseen_edges, frames=c.frames)
            if len(held)
            else None
        )
        return window_plan(
            c, array_source(x, nodes, edges, frames=c.frames), sizes, "1", unseen=unseen
        )
    training = {"spacing": spacing, "trajectories": len(x)}
    if c.kind == "egnn":
        rolls = RollBatches(
            x,
            nodes,
            edges,
            pairs=c.pairs_per_batch,
            seed=c.seed,
            single=c.interpolate_steps,
            horizon=c.horizon,
        )
        further: dict[str, Any] = {
            "pairs": c.pairs_per_batch,
            "seed": c.seed,
            "single": 0,
            "horizon": c.horizon,
        }
        held_rolls = (
            RollBatches(unseen_x, unseen_nodes, unseen_edges, **further) if len(held) else None
        )
        return Plan(
            {"kind": "egnn"} | sizes | c.network, rolls, step_loss, training, held_out=held_rolls
        )
    batches = PathBatches(x, nodes, edges, spacing, c.pairs_per_batch, c.seed, c.interpolate_steps)
    held_paths = (
        PathBatches(unseen_x, unseen_nodes, unseen_edges, spacing, c.pairs_per_batch, c.seed, 0)
        if len(held)
        else None
    )
    apart = np.linalg.norm(x[:64, 0, :, None] - x[:64, 0, None], axis=-1)
    apart = apart[apart > 0]
    reach = {"shortest": float(0.5 * np.quantile(apart, 0.01)), "longest": float(4.0 * apart.max())}
    force = sizes | {"blocks": 0} | reach | c.network
    config = {
        "kind": "integrator",
        "longest_step": spacing / LAYERS_PER_FRAME,
        "observer": False,
        "force": force,
    }

    def finish(made: nn.Module) -> dict[str, Any]:
        return {
            "fastest": fastest(cast(Integrator, made), x[:256], nodes[:256], edges[:256], spacing)
        }

    return Plan(
        config,
        batches,
        lambda network, data: path_loss(network.force, data),
        training,
        finish=finish,
        held_out=held_paths,
    )


@torch.no_grad()
def fastest(
    network: Integrator,
    x: NDArray[np.float64],
    nodes: NDArray[np.float64],
    edges: NDArray[np.float64],
    spacing: float,
) -> float | None:
    """The bound on speeds, if any, with which training trajectories (k, t, n, d) are
    forecast best from their first two frames.

    Where two nodes nearly collide, a small error slings them off, and a mean over
    trajectories is decided by these few.
    """
    frames = torch.from_numpy(x[:, :22])
    speed = np.linalg.norm(np.diff(x, axis=1), axis=-1) / spacing
    _, force = network.bound(array_graph(nodes, edges))
    found: dict[float | None, float] = {}
    for bound in (
        None,
        *(float(factor * np.quantile(speed, 0.999)) for factor in (1.0, 1.25, 1.5)),
    ):
        clock = dataclasses.replace(network.clock(spacing), fastest=bound)
        v, _ = shoot(force, frames[:, 0], frames[:, 1], clock)
        here, error = frames[:, 1], 0.0
        for k in range(2, frames.shape[1]):
            here, v = advance(force, here, v, clock)
            error += float((here - frames[:, k]).norm(dim=-1).mean())
        found[bound] = error
    best = min(found, key=lambda bound: found[bound])
    return best if found[best] < 0.98 * found[None] else None
