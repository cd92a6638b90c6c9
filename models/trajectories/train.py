"""`equidrift train trajectories CONFIG`: the integrator, the flow or GeoTDM, on
molecules, N-body systems or pedestrians.

Where the frames come from (`data`): trajectory files of yours (XTC, DCD, .traj,
.extxyz, ... with `topology`), .npz files of tools/make_md.py, a folder of GFN2-MD17
files, `arrays:FILE.npz` (positions, nodes, edges, spacing), `nbody:charged` (spring,
gravity), or `eth-ucy:FOLDER`, less the scene `leave_out`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from equidrift.errors import InputError
from equidrift.models.shared.config import check_run, config_errors
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.run import (
    Request,
    Task,
    either,
    entry,
    fresh,
    own_random_state,
    run,
    training_of,
)
from equidrift.models.trajectories.arrays.inputs import Arrays
from equidrift.models.trajectories.arrays.pedestrians import training_source
from equidrift.models.trajectories.arrays.train import array_plan, load_arrays, nbody_plan
from equidrift.models.trajectories.config import Plan, TrajectoryTraining
from equidrift.models.trajectories.diffusion.egtn import calm
from equidrift.models.trajectories.diffusion.residual import RESIDUAL
from equidrift.models.trajectories.diffusion.train import window_plan
from equidrift.models.trajectories.graphs import EDGE_FEATURES, HOPS, NODE_FEATURES
from equidrift.models.trajectories.integrator.table import fit_table
from equidrift.models.trajectories.integrator.train import (
    field_plan,
    molecular_runs,
    molecule_plan,
    part_runs,
)
from equidrift.models.trajectories.leap.train import run_training as leap_training
from equidrift.models.trajectories.networks import Network, make_network
from equidrift.models.trajectories.sources import dynamics_source
from equidrift.records import SYMBOLS
from equidrift.weights import load_weights

WHAT = {
    "integrator": "a learned integrator",
    "flow": "a few-step flow",
    "geotdm": "GeoTDM as published",
    "egnn": "EGNN, frame to frame",
    "modes": "alternative futures in one network call",
}
RESIDUAL_FORM = "a diffusion of what a prior path leaves out"


def fit_arrays(arrays: Arrays, request: Request) -> Path:
    """Train on plain arrays; returns the weights file. Errors as `run_training`."""
    with config_errors():
        usual = {"frames": min(30, arrays.x.shape[1]), "pairs_per_batch": 3200}
        c = TrajectoryTraining.model_validate(usual | request.config | {"data": "arrays"})
        schedule = c.make_schedule()
    check_run(request.out, request.budget_s, schedule.steps, request.resume)
    return run(c, task_of(c, array_plan(c, arrays)), schedule, request)[0]


def plan_of(c: TrajectoryTraining) -> Plan:
    """The plan of a config: N-body, pedestrians and .npz of one's own are plain arrays,
    all else molecules.
    """
    head, _, rest = c.data[0].partition(":")
    if head == "nbody":
        return nbody_plan(c, rest)
    if head == "arrays":
        return array_plan(c, load_arrays(rest))
    if c.kind in ("egnn", "modes") and not (head == "eth-ucy" and c.kind == "modes"):
        raise InputError(
            f"kind: {c.kind} learns from plain arrays (nbody:SYSTEM, arrays:FILE), not "
            f"{c.data[0]}; take integrator or flow"
        )
    if head == "eth-ucy":
        if c.kind == "integrator":
            raise InputError(
                "pedestrians obey no force between pairs that could be integrated; take kind: "
                "modes or flow"
            )
        source = training_source(rest, c.leave_out)
        # people walk on ground, which is a frame of reference of its own
        still = {} if c.kind == "modes" else {"comoving": False}
        return window_plan(
            c.model_copy(update={"options": still | c.options}),
            source,
            {"node_features": source.node_features, "edge_features": source.edge_features},
            "m",
        )
    runs = molecular_runs(c)
    if c.kind == "integrator":
        return field_plan(c, runs) if c.learn == "field" else molecule_plan(c, runs)
    sizes = {"node_features": NODE_FEATURES, "edge_features": EDGE_FEATURES}
    cut: dict[str, Any] = {"stride": c.stride, "frames": c.frames, "spacing_fs": c.spacing_fs}
    # as samples are drawn: the published form sees near atoms alone
    published = c.kind == "geotdm" and c.options.get("form") != RESIDUAL
    cut["hops"] = HOPS if published else None
    runs, held = part_runs(runs, c.held_out, c.frames * c.stride, c.seed)
    unseen = dynamics_source(held, **cut) if held else None
    return window_plan(c, dynamics_source(runs, **cut), sizes, "A", runs, unseen)


def task_of(c: TrajectoryTraining, plan: Plan) -> Task:
    """A plan with its network."""
    with config_errors():
        network = first_network(c, plan.config)
    plan.prepare(network)
    molecular = "spacing_fs" in plan.training
    card = {
        "family": "trajectories",
        "task": "trajectory" if molecular else "trajectory-arrays",
        "what": RESIDUAL_FORM if c.options.get("form") == RESIDUAL else WHAT[c.kind],
        "config": plan.config,
        "training": plan.training,
        "elements": [SYMBOLS[z] for z in ELEMENTS] if molecular else [],
        "max_atoms": 200,
        "units": "A, fs" if molecular else "none",
        "dtype": "float32" if c.kind in ("integrator", "egnn") else "bfloat16",
    }

    def finish(made: nn.Module) -> dict[str, Any]:
        return {"config": plan.config | plan.finish(made)}

    return Task(network, plan.batch, plan.loss, card, plan.held_out, finish=finish)


def first_network(c: TrajectoryTraining, config: dict[str, Any]) -> Network:
    """The network of a config, with the weights of `init` or random ones; the user's
    random state is left alone.
    """
    if c.init is None:
        network: Network = fresh(lambda: make_network(config), c.seed)
        calm(network)
        return network
    state, card = load_weights(c.init)
    # what single molecules were fitted to is no part of a training; a force field may be
    extras = ("field", "table")
    had, asked = (
        {"comoving": False} | {k: v for k, v in sizes.items() if k not in extras}
        for sizes in (card["config"], config)  # cards of before have no `comoving`
    )
    if had != asked:
        raise InputError(
            f"init: {c.init} has another network than the config asks for; leave `network` and "
            "`options` as in its card"
        )
    with own_random_state(c.seed):
        network = make_network(config)
    own = network.state_dict()
    network.load_state_dict(own | {key: value for key, value in state.items() if key in own})
    return network


run_training = either(
    "kind",
    {"leap": leap_training},
    either(
        "learn",
        {"table": entry(fit_table)},
        training_of(TrajectoryTraining, lambda c, _begun, _folder: task_of(c, plan_of(c))),
    ),
)
