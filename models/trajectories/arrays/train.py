"""What is learned from plain arrays: pair forces by path matching, steps of a whole
frame, or windows.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from equidrift.errors import InputError
from equidrift.models.shared.split import split
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.egnn import step_loss
from equidrift.models.trajectories.arrays.inputs import Arrays, checked, checked_vectors
from equidrift.models.trajectories.config import Plan, TrajectoryTraining
from equidrift.models.trajectories.data import PathBatches, RollBatches
from equidrift.models.trajectories.diffusion.train import window_plan
from equidrift.models.trajectories.integrator.integrator import Integrator, advance, shoot
from equidrift.models.trajectories.integrator.objective import path_loss
from equidrift.models.trajectories.sources import Source, array_source

LAYERS_PER_FRAME = 8  # sub-steps of the integrator between two frames of plain arrays


def load_arrays(path: str | Path) -> Arrays:
    """The arrays of an .npz; the spacing is 1 if it is not there.

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
            f"arrays:{path} cannot be read as .npz ({error}); np.savez(path, positions=..., "
            "nodes=..., edges=...) writes one"
        ) from error
    if missing := [key for key in ("positions", "nodes", "edges") if key not in held]:
        raise InputError(
            f"arrays:{path} lacks {', '.join(missing)}; it holds {', '.join(held) or 'nothing'}"
        )
    x, nodes, edges = checked(held["positions"], held["nodes"], held["edges"])
    axes = checked_vectors(held.get("vectors"), len(x), x.shape[-1])
    return Arrays(x, nodes, edges, float(held.get("spacing", 1.0)), axes)


def nbody_plan(c: TrajectoryTraining, system: str) -> Plan:
    """An N-body system, simulated anew; what is to be drawn from no frame begins where the
    simulation does.
    """
    frames = c.frames if c.given == "none" else max(c.frames, nbody.FRAMES)
    data = nbody.simulate(system, 0, min(nbody.PARTS["train"][1], c.trajectories), frames=frames)
    arrays = Arrays(data.positions, data.nodes, data.edges, nbody.SPACING, data.vectors)
    return array_plan(c, arrays)


def array_plan(c: TrajectoryTraining, arrays: Arrays) -> Plan:
    """Plain arrays: pair forces by path matching, steps of a whole frame, or windows
    for the others.
    """
    rows, held = split(range(len(arrays)), c.held_out, c.seed)
    data, unseen = arrays.part(rows), arrays.part(held) if len(held) else None
    if c.kind == "egnn":
        return egnn_plan(c, data, unseen)
    if c.kind == "integrator":
        return pair_force_plan(c, data, unseen)
    source, unseen_source = windows_of(c, data), windows_of(c, unseen) if unseen else None
    return window_plan(c, source, sizes_of(data), "1", unseen=unseen_source)


def windows_of(c: TrajectoryTraining, data: Arrays) -> Source:
    """Windows of plain arrays."""
    return array_source(data.x, data.nodes, data.edges, frames=c.frames, vectors=data.vectors)


def sizes_of(data: Arrays) -> dict[str, int]:
    """The numbers of features."""
    sizes = {"node_features": data.nodes.shape[-1], "edge_features": data.edges.shape[-1]}
    return sizes if data.vectors is None else sizes | {"global_vectors": data.vectors.shape[1]}


def egnn_plan(c: TrajectoryTraining, data: Arrays, unseen: Arrays | None) -> Plan:
    """Steps of a whole frame."""
    how = {"pairs": c.pairs_per_batch, "seed": c.seed, "horizon": c.horizon}
    trunk = {"backbone": c.backbone} if c.backbone is not None else {}
    config = {"kind": "egnn"} | sizes_of(data) | trunk | c.network
    training = {"spacing": data.spacing, "trajectories": len(data)}
    held_out = RollBatches(unseen, single=0, **how) if unseen is not None else None
    batches = RollBatches(data, single=c.interpolate_steps, **how)
    return Plan(config, batches, step_loss, training, held_out=held_out)


def pair_force_plan(c: TrajectoryTraining, data: Arrays, unseen: Arrays | None) -> Plan:
    """Forces between pairs, by path matching."""
    how = {"pairs": c.pairs_per_batch, "seed": c.seed}
    apart = np.linalg.norm(data.x[:64, 0, :, None] - data.x[:64, 0, None], axis=-1)
    apart = apart[apart > 0]
    reach = {"shortest": float(0.5 * np.quantile(apart, 0.01)), "longest": float(4.0 * apart.max())}
    config = {
        "kind": "integrator",
        "longest_step": data.spacing / LAYERS_PER_FRAME,
        "observer": False,
        "force": sizes_of(data) | {"blocks": 0} | reach | c.network,
    }

    def finish(made: nn.Module) -> dict[str, Any]:
        return {"fastest": fastest(cast(Integrator, made), data.part(np.arange(len(data))[:256]))}

    return Plan(
        config,
        PathBatches(data, interpolate_steps=c.interpolate_steps, **how),
        lambda network, batch: path_loss(network.force, batch),
        {"spacing": data.spacing, "trajectories": len(data)},
        finish=finish,
        held_out=PathBatches(unseen, interpolate_steps=0, **how) if unseen is not None else None,
    )


@torch.no_grad()
def fastest(network: Integrator, data: Arrays) -> float | None:
    """The bound on speeds, if any, with which training trajectories (k, t, n, d) are
    forecast best from their first two frames.

    Where two nodes nearly collide, a small error slings them off, and a mean over
    trajectories is decided by these few.
    """
    frames = torch.from_numpy(data.x[:, :22])
    speed = np.linalg.norm(np.diff(data.x, axis=1), axis=-1) / data.spacing
    _, force = network.bound(data.graph())
    found: dict[float | None, float] = {}
    for bound in (
        None,
        *(float(factor * np.quantile(speed, 0.999)) for factor in (1.0, 1.25, 1.5)),
    ):
        clock = dataclasses.replace(network.clock(data.spacing), fastest=bound)
        v, _ = shoot(force, frames[:, :2], clock)
        here, error = frames[:, 1], 0.0
        for k in range(2, frames.shape[1]):
            here, v = advance(force, here, v, clock)
            error += float((here - frames[:, k]).norm(dim=-1).mean())
        found[bound] = error
    best = min(found, key=lambda bound: found[bound])
    return best if found[best] < 0.98 * found[None] else None
