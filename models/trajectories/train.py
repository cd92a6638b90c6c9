"""`equidrift train trajectories CONFIG`: the integrator, the flow or GeoTDM, on molecules, N-body systems or pedestrians.

Where the frames come from (`data`): trajectory files of yours (XTC, DCD, .traj, .extxyz, ... with `topology`), .npz files of
tools/make_md.py, a folder of GFN2-MD17 files, `arrays:FILE.npz` (positions, nodes, edges, spacing), `nbody:charged` (spring, gravity),
or `eth-ucy:FOLDER`, less the scene `leave_out`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.shared.run import reinitialise
from equidrift.models.shared.training import (
    HELD_OUT,
    Names,
    Progress,
    Schedule,
    Trainer,
    check_run,
    config_errors,
    make_schedule,
    split,
)
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.egnn import EGNN, step_loss
from equidrift.models.trajectories.arrays.modes import Modes, modes_loss
from equidrift.models.trajectories.data import (
    EDGE_FEATURES,
    ELEMENTS,
    LEVELS,
    NODE_FEATURES,
    Dynamics,
    FrameBatches,
    ObservationBatches,
    PathBatches,
    RollBatches,
    SegmentBatches,
    array_graph,
    array_source,
    dynamics_source,
    fingerprint,
    load_dynamics,
    load_gfn2_md,
)
from equidrift.models.trajectories.diffusion.egtn import calm
from equidrift.models.trajectories.diffusion.flow import Flow, flow_loss
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM, geotdm_loss
from equidrift.models.trajectories.integrator.field_data import ConstantBatches, ForceBatches, Forces, Known, field_loss
from equidrift.models.trajectories.integrator.integrator import Integrator, advance, shoot
from equidrift.models.trajectories.integrator.objective import Observations, Segments, fine_loss, observer_loss, path_loss
from equidrift.models.trajectories.networks import make_network
from equidrift.records import SYMBOLS
from equidrift.registry import resolve
from equidrift.weights import load_weights, save_weights

LAYERS_PER_FRAME = 8  # sub-steps of the integrator between two frames of plain arrays
LEAST_FRAMES = 40  # of a run's end that is held out
STEP_FS = 1.0  # the integrator's sub-step on molecules; forces are learned for half of it too


class TrajectoryTraining(BaseModel):
    """What a training YAML may say. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["integrator", "flow", "geotdm", "egnn", "modes"] = "integrator"
    data: Names
    topology: str | None = None
    level: str = "MMFF94"
    temperature_K: float = Field(default=300.0, gt=0)
    friction_per_fs: float = Field(default=0.0, ge=0)
    dt_fs: float | None = Field(default=None, gt=0)
    leave_out: str | None = None
    share: tuple[float, float] = (0.0, 1.0)
    trajectories: int = Field(default=3000, ge=2)
    stride: int = Field(default=10, ge=1)
    frames: int = Field(default=30, ge=2)
    given: Literal["forecast", "any", "none"] = "any"
    context: int = Field(default=10, ge=1)
    learn: Literal["force", "field"] = "force"
    constants: str | None = None
    constants_steps: int = Field(default=1500, ge=0)
    name: str = Field(default="my-trajectory-model", pattern=r"^[\w.+-]+$")
    init: str | None = None
    network: dict[str, Any] = {}
    options: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    pairs_per_batch: int = Field(default=16000, ge=16)
    interpolate_steps: int = Field(default=600, ge=0)
    horizon: int = Field(default=4, ge=1)
    held_out: float = Field(default=HELD_OUT, ge=0, lt=0.5)
    seed: int = Field(default=0, ge=0)
    licence: str = "as the training data's owner decides"
    training_data: str = "user data"

    @field_validator("level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value not in LEVELS:
            raise ValueError(f"unknown level of theory {value!r}; known are {', '.join(LEVELS)}")
        return value


@dataclasses.dataclass
class Task:
    """What a run needs: the card's `config`, batches, the loss, and what the card says of the training."""

    config: dict[str, Any]
    batch: Callable[[int], Any]
    loss: Callable[[nn.Module, Any], Tensor]
    training: dict[str, Any]
    prepare: Callable[[nn.Module], None] = lambda network: None
    finish: Callable[[nn.Module], dict[str, Any]] = lambda network: {}  # what the trained network adds to `config`
    held_out: Callable[[int], Any] | None = None


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train by a time budget and write `out/NAME.safetensors` with its card; returns what was done.

    Parameters
    ----------
    config : the fields of `TrajectoryTraining`.
    out : folder of the checkpoint and of the result.
    budget_s : seconds of training in all, those before a resume included; None where `schedule` sets `steps`.
    resume : go on from the checkpoint in `out`.

    Raises
    ------
    InputError
        for a config that does not fit, data that cannot be used, or an output folder that holds a checkpoint when `resume` is not
        given.
    """
    c, schedule = parsed(config)
    budget_s = check_run(out, budget_s, schedule.steps, resume)
    path, trainer = train(c, make_task(c), schedule, out, budget_s, resume, progress)
    return {"weights": str(path), **trainer.summary()}


def parsed(config: dict[str, Any]) -> tuple[TrajectoryTraining, Schedule]:
    """The config and its schedule. Raises `InputError` where it does not fit."""
    with config_errors():
        c = TrajectoryTraining.model_validate(config)
        schedule = make_schedule(c.schedule)
    return c, schedule


def train(
    c: TrajectoryTraining, task: Task, schedule: Schedule, out: Path, budget_s: float, resume: bool, progress: Progress | None
) -> tuple[Path, Trainer]:
    """Train a task and write its weights and card; errors as `run_training`."""
    network = _network(c, task.config)
    task.prepare(network)
    trainer = Trainer(network, schedule, out, task.held_out)
    if resume:
        trainer.resume()
    trainer.fit(task.batch, task.loss, budget_s, progress)
    network.load_state_dict(trainer.ema)
    task.config |= task.finish(network)
    return save_weights(out / f"{c.name}.safetensors", trainer.ema, make_card(c, task, trainer)), trainer


def make_task(c: TrajectoryTraining) -> Task:
    """The task of a config: N-body, pedestrians and .npz of one's own are plain arrays, all else molecules."""
    head, _, rest = c.data[0].partition(":")
    if head == "nbody":
        return _nbody_task(c, rest)
    if head == "arrays":
        return array_task(c, *load_arrays(rest))
    if c.kind in ("egnn", "modes") and not (head == "eth-ucy" and c.kind == "modes"):
        raise InputError(f"kind: {c.kind} learns from plain arrays (nbody:SYSTEM, arrays:FILE), not {c.data[0]}; take integrator or flow")
    if head == "eth-ucy":
        if c.kind == "integrator":
            raise InputError("pedestrians obey no force between pairs that could be integrated; take kind: modes or flow")
        source = resolve("equidrift.models.trajectories.arrays.pedestrians:training_source")(rest, c.leave_out)
        return _window_task(c, source, {"node_features": source.node_features, "edge_features": source.edge_features}, "m")
    runs = molecular_runs(c)
    if c.kind == "integrator":
        return _field_task(c, runs) if c.learn == "field" else _molecule_task(c, runs)
    sizes = {"node_features": NODE_FEATURES, "edge_features": EDGE_FEATURES}
    runs, held = part_runs(runs, c.held_out, c.frames * c.stride, c.seed)
    source, unseen = (dynamics_source(part, stride=c.stride, frames=c.frames) if part else None for part in (runs, held))
    return _window_task(c, source, sizes, "A", runs, unseen)


def part_runs(runs: Sequence[Dynamics], share: float, length: int, seed: int) -> tuple[list[Dynamics], list[Dynamics]]:
    """Runs to train on and runs to hold out: whole molecules of many, else the end of each run that leaves `length` frames twice."""
    rows, held = split([run.molecule for run in runs], share, seed)
    if len(held) or share == 0:
        return [runs[k] for k in rows], [runs[k] for k in held]
    kept, ends = [], []
    for run in runs:
        bursts, frames = run.positions_A.shape[:2]
        available = bursts if bursts > 1 else frames
        count = round(share * bursts) if bursts > 1 else max(round(share * frames), length)
        if count == 0 or available < 4 * count:
            kept.append(run)
            continue
        kept.append(run.part(0.0, 1 - count / available))
        ends.append(run.part(1 - count / available, 1.0))
    return kept, ends


def load_arrays(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Positions (k, t, n, 2 or 3), nodes (k, n, f), edges (k, n, n, e) and the spacing (1 where it is not there) of an .npz.

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
        raise InputError(f"arrays:{path} lacks {', '.join(missing)}; it holds {', '.join(held) or 'nothing'}")
    x, nodes, edges = resolve("equidrift.models.trajectories.arrays.arrays:checked")(held["positions"], held["nodes"], held["edges"])
    return x, nodes, edges, float(held.get("spacing", 1.0))


def molecular_runs(c: TrajectoryTraining) -> list[Dynamics]:
    """The molecular dynamics that `data` names, the time from `share[0]` to `share[1]` of each.

    Raises
    ------
    InputError
        for a missing file, or trajectory files without a topology.
    """
    runs: list[Dynamics] = []
    for text in c.data:
        path = Path(text)
        if path.is_dir():
            runs += load_gfn2_md(path).values()
        elif path.suffix == ".npz":
            runs += load_dynamics(path)
        else:
            t = resolve("equidrift.trajectory_formats:load_trajectory")(path, c.topology, dt_fs=c.dt_fs)
            spacing = float(t.dt_fs)
            positions = np.asarray(t.positions_A, np.float32)[None]
            runs.append(Dynamics(t.molecule, positions, spacing, c.level, c.temperature_K, c.friction_per_fs))
    return [run.part(*c.share) for run in runs]


def _molecule_task(c: TrajectoryTraining, runs: Sequence[Dynamics]) -> Task:
    """The integrator on molecules: forces from runs of close frames, and the observer's gains in every fourth batch."""
    coarse = [r for r in runs if r.spacing_fs > 2 * STEP_FS]
    if coarse:
        raise InputError(
            f"the integrator learns forces from frames at most {2 * STEP_FS:g} fs apart, and {coarse[0].molecule!r} has them "
            f"{coarse[0].spacing_fs:g} fs apart; save frames more often, or train `kind: flow`, which takes any spacing"
        )
    runs, held = part_runs(runs, c.held_out, LEAST_FRAMES, c.seed)
    segments = SegmentBatches(runs, pairs=c.pairs_per_batch, seed=c.seed, step_fs=STEP_FS)
    unseen = SegmentBatches(held, pairs=c.pairs_per_batch, seed=c.seed, step_fs=STEP_FS) if held else None
    observations = ObservationBatches(runs, pairs=max(c.pairs_per_batch // 6, 16), seed=c.seed, step_fs=STEP_FS)
    usable = len(observations) > 0
    config = _integrator_config(c)

    def batch(step: int) -> Segments | Observations:
        return observations(step) if usable and step % 4 == 3 else segments(step)

    def loss(network: nn.Module, data: Any) -> Tensor:
        model = cast(Integrator, network)
        return observer_loss(model, data) if isinstance(data, Observations) else fine_loss(model.force, data)

    return Task(config, batch, loss, _training_of(runs, (0.5, 100.0), 1.0), held_out=unseen)


def _field_task(c: TrajectoryTraining, runs: Sequence[Dynamics]) -> Task:
    """The learned force field of an integrator: MMFF94's constants of the molecules of `constants` first, then the forces of the runs."""
    runs, held = part_runs(runs, c.held_out, LEAST_FRAMES, c.seed)
    forces = ForceBatches(runs, seed=c.seed)
    unseen = ForceBatches(held, seed=c.seed) if held else None
    known = ConstantBatches(Path(c.constants), seed=c.seed) if c.constants else None
    task = _integrator_config(c) | {"field": {"node_features": NODE_FEATURES, "edge_features": EDGE_FEATURES}}

    def batch(step: int) -> Forces | Known:
        return known(step) if known is not None and step < c.constants_steps else forces(step)

    training = _training_of(runs, (0.5, 100.0), 1.0)
    return Task(task, batch, lambda network, data: field_loss(cast(Any, network).field, data), training, held_out=unseen)


def _integrator_config(c: TrajectoryTraining) -> dict[str, Any]:
    """The card's `config` of an integrator on molecules."""
    force = {"node_features": NODE_FEATURES, "edge_features": EDGE_FEATURES, "radial": 32, "shortest": 0.8, "step_input": True, "blocks": 2}
    return {"kind": "integrator", "longest_step": STEP_FS, "observer": True, "force": force | c.network}


def _nbody_task(c: TrajectoryTraining, system: str) -> Task:
    """An N-body system, simulated anew."""
    data = nbody.simulate(system, 0, min(nbody.PARTS["train"][1], c.trajectories))
    return array_task(c, data.positions, data.nodes, data.edges, nbody.SPACING)


def array_task(
    c: TrajectoryTraining, x: NDArray[np.float64], nodes: NDArray[np.float64], edges: NDArray[np.float64], spacing: float
) -> Task:
    """Plain arrays: pair forces by path matching, steps of a whole frame, or windows for the others."""
    sizes = {"node_features": nodes.shape[-1], "edge_features": edges.shape[-1]}
    rows, held = split(range(len(x)), c.held_out, c.seed)
    unseen_x, unseen_nodes, unseen_edges = x[held], nodes[held], edges[held]
    x, nodes, edges = x[rows], nodes[rows], edges[rows]
    if c.kind in ("flow", "geotdm", "modes"):
        unseen = array_source(unseen_x, unseen_nodes, unseen_edges, frames=c.frames) if len(held) else None
        return _window_task(c, array_source(x, nodes, edges, frames=c.frames), sizes, "1", unseen=unseen)
    training = {"spacing": spacing, "trajectories": len(x)}
    if c.kind == "egnn":
        rolls = RollBatches(x, nodes, edges, pairs=c.pairs_per_batch, seed=c.seed, single=c.interpolate_steps, horizon=c.horizon)
        further: dict[str, Any] = {"pairs": c.pairs_per_batch, "seed": c.seed, "single": 0, "horizon": c.horizon}
        held_rolls = RollBatches(unseen_x, unseen_nodes, unseen_edges, **further) if len(held) else None
        return Task({"kind": "egnn"} | sizes | c.network, rolls, step_loss, training, held_out=held_rolls)
    batches = PathBatches(x, nodes, edges, spacing, c.pairs_per_batch, c.seed, c.interpolate_steps)
    held_paths = PathBatches(unseen_x, unseen_nodes, unseen_edges, spacing, c.pairs_per_batch, c.seed, 0) if len(held) else None
    apart = np.linalg.norm(x[:64, 0, :, None] - x[:64, 0, None], axis=-1)
    apart = apart[apart > 0]
    reach = {"shortest": float(0.5 * np.quantile(apart, 0.01)), "longest": float(4.0 * apart.max())}
    force = sizes | {"blocks": 0} | reach | c.network
    config = {"kind": "integrator", "longest_step": spacing / LAYERS_PER_FRAME, "observer": False, "force": force}

    def finish(made: nn.Module) -> dict[str, Any]:
        return {"fastest": fastest(cast(Integrator, made), x[:256], nodes[:256], edges[:256], spacing)}

    return Task(config, batches, lambda network, data: path_loss(network.force, data), training, finish=finish, held_out=held_paths)


@torch.no_grad()
def fastest(
    network: Integrator, x: NDArray[np.float64], nodes: NDArray[np.float64], edges: NDArray[np.float64], spacing: float
) -> float | None:
    """The bound on speeds, if any, with which training trajectories (k, t, n, d) are forecast best from their first two frames.

    Where two nodes nearly collide, a small error slings them off, and a mean over trajectories is decided by these few.
    """
    frames = torch.from_numpy(x[:, :22])
    speed = np.linalg.norm(np.diff(x, axis=1), axis=-1) / spacing
    _, force = network.bound(array_graph(nodes, edges))
    found: dict[float | None, float] = {}
    for bound in (None, *(float(factor * np.quantile(speed, 0.999)) for factor in (1.0, 1.25, 1.5))):
        clock = dataclasses.replace(network.clock(spacing), fastest=bound)
        v, _ = shoot(force, frames[:, 0], frames[:, 1], clock)
        here, error = frames[:, 1], 0.0
        for k in range(2, frames.shape[1]):
            here, v = advance(force, here, v, clock)
            error += float((here - frames[:, k]).norm(dim=-1).mean())
        found[bound] = error
    best = min(found, key=lambda bound: found[bound])
    return best if found[best] < 0.98 * found[None] else None


def fit_arrays(
    x: NDArray[np.float64],
    nodes: NDArray[np.float64],
    edges: NDArray[np.float64],
    spacing: float,
    kind: str,
    budget_s: float,
    out: Path,
    resume: bool,
    progress: Progress | None,
    settings: dict[str, Any],
) -> Path:
    """Train on plain arrays; returns the weights file. Errors as `run_training`."""
    c, schedule = parsed({"frames": min(30, x.shape[1]), "pairs_per_batch": 3200} | settings | {"kind": kind, "data": "arrays"})
    check_run(out, budget_s, schedule.steps, resume)
    return train(c, array_task(c, x, nodes, edges, spacing), schedule, out, budget_s, resume, progress)[0]


def _window_task(
    c: TrajectoryTraining, source: Any, sizes: dict[str, int], unit: str, runs: Sequence[Dynamics] = (), unseen: Any = None
) -> Task:
    """Windows with masks, for the flow, GeoTDM and alternatives. Lengths are divided by the spread of the data."""
    batches = FrameBatches(source, frames=c.frames, context=c.context, given=c.given, pairs=c.pairs_per_batch, seed=c.seed)
    how: dict[str, Any] = {"frames": c.frames, "context": c.context, "given": c.given, "pairs": c.pairs_per_batch, "seed": c.seed}
    held_out = None if unseen is None else FrameBatches(unseen, **how)
    if c.kind == "modes":
        return _modes_task(c, batches, sizes, unit, held_out)
    length = batches.length()
    batches.scale = 1.0 / length
    if held_out is not None:
        held_out.scale = batches.scale
    training = (_training_of(runs, None, length) if runs else {"length": length, "unit": unit}) | {"given": c.given}
    if c.kind == "geotdm":
        network = sizes | {"width": 128, "layers": 6} | c.network
        config = {"kind": "geotdm", "frames": c.frames, "network": network} | c.options
        return Task(config, batches, geotdm_loss, training, held_out=held_out)
    network = sizes | {"width": 64, "layers": 4, "heads": 4, "scaled": True, "velocities": True} | c.network
    config = {"kind": "flow", "frames": c.frames, "network": network} | c.options

    def prepare(made: nn.Module) -> None:
        flow = cast(Flow, made)
        if not c.init:
            flow.spread.copy_(batches.spread(flow))

    return Task(config, batches, flow_loss, training, prepare, held_out=held_out)


def _modes_task(
    c: TrajectoryTraining, batches: FrameBatches, sizes: dict[str, int], unit: str, held_out: FrameBatches | None
) -> Task:
    """`context` frames in, the rest of the window out. Lengths stay as they are; the network knows the ordinary step."""
    if c.context >= c.frames:
        raise InputError(f"alternatives need frames to come: context {c.context} must be below frames {c.frames}")
    config = {"kind": "modes", "past": c.context, "future": c.frames - c.context} | sizes | c.network

    def prepare(made: nn.Module) -> None:
        if not c.init:
            modes = cast(Modes, made)
            with torch.no_grad():  # alternatives that begin apart are all found useful
                modes.futures.bias.normal_(0.0, 0.4, generator=torch.Generator().manual_seed(c.seed))
            steps = [batches(step).frames.diff(dim=1).square().sum(-1).mean() for step in range(8)]
            modes.unit.copy_(torch.stack(steps).mean().sqrt().clamp_min(1e-9))

    return Task(config, batches, modes_loss, {"length": 1.0, "unit": unit, "given": "forecast"}, prepare, held_out=held_out)


def _training_of(runs: Sequence[Dynamics], spacing_fs: tuple[float, float] | None, length_A: float) -> dict[str, Any]:
    """What a card says of the dynamics: spacing, thermostat, length, levels, molecules."""
    if spacing_fs is None:
        each = [r.spacing_fs for r in runs]
        spacing_fs = (0.9 * min(each), 1.1 * 10 * max(each))
    levels = sorted({r.level for r in runs})
    return {
        "spacing_fs": spacing_fs,
        "temperature_K": float(np.median([r.temperature_K for r in runs])),
        "friction_per_fs": float(np.median([r.friction_per_fs for r in runs])),
        "length_A": length_A,
        "levels": levels,
        "molecules": {level: len({r.molecule for r in runs if r.level == level}) for level in levels},
        "known": {
            level: found for level in levels if len(found := sorted({fingerprint(r.molecule) for r in runs if r.level == level})) <= 50
        },
        "frames": int(sum(r.positions_A.shape[0] * r.positions_A.shape[1] for r in runs)),
    }


def _network(c: TrajectoryTraining, config: dict[str, Any]) -> Integrator | Flow | GeoTDM | EGNN | Modes:
    """The network of a config, with the weights of `init` or random ones; the user's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(c.seed)
        network = make_network(config)
    if c.init:
        state, card = load_weights(c.init)
        extras = ("field", "table")  # what single molecules were fitted to is no part of a training; a force field may be
        if {k: v for k, v in card["config"].items() if k not in extras} != {k: v for k, v in config.items() if k not in extras}:
            raise InputError(f"init: {c.init} has another network than the config asks for; leave `network` and `options` as in its card")
        own = network.state_dict()
        network.load_state_dict(own | {key: value for key, value in state.items() if key in own})
    else:
        reinitialise(network, torch.Generator().manual_seed(c.seed))
        calm(network)
    return network


def make_card(c: TrajectoryTraining, task: Task, trainer: Trainer) -> dict[str, Any]:
    """The model card of a run."""
    molecular = "spacing_fs" in task.training
    what = {
        "integrator": "a learned integrator",
        "flow": "a few-step flow",
        "geotdm": "GeoTDM as published",
        "egnn": "EGNN, frame to frame",
        "modes": "alternative futures in one network call",
    }[c.kind]
    return {
        "name": c.name,
        "family": "trajectories",
        "task": "trajectory" if molecular else "trajectory-arrays",
        "description": f"{what}; trained for {trainer.step} steps on {trainer.samples} samples",
        "config": task.config,
        "training": task.training,
        "elements": [SYMBOLS[z] for z in ELEMENTS] if molecular else [],
        "max_atoms": 200,
        "units": "A, fs" if molecular else "none",
        "dtype": "float32" if c.kind in ("integrator", "egnn") else "bfloat16",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
        **trainer.card(),
    }
