"""What the integrator learns on molecules: forces and gains, or a force field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.files.trajectories import load_trajectory
from equidrift.models.shared.split import split
from equidrift.models.trajectories.config import Plan, TrajectoryTraining
from equidrift.models.trajectories.data import ObservationBatches, SegmentBatches
from equidrift.models.trajectories.dynamics import Dynamics, load_dynamics, load_gfn2_md
from equidrift.models.trajectories.graphs import EDGE_FEATURES, NODE_FEATURES, fingerprint
from equidrift.models.trajectories.integrator.field_data import (
    ConstantBatches,
    ForceBatches,
    Forces,
    Known,
    field_loss,
)
from equidrift.models.trajectories.integrator.integrator import Integrator
from equidrift.models.trajectories.integrator.objective import (
    Observations,
    Segments,
    fine_loss,
    observer_loss,
)

LEAST_FRAMES = 40  # of a run's end that is held out
STEP_FS = 1.0  # the integrator's sub-step on molecules; forces are learned for half of it too


def molecular_runs(c: TrajectoryTraining) -> list[Dynamics]:
    """The molecular dynamics that `data` names, the time from `share[0]` to `share[1]`
    of each.

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
            t = load_trajectory(path, c.topology, dt_fs=c.dt_fs)
            spacing = float(t.dt_fs)
            positions = np.asarray(t.positions_A, np.float32)[None]
            runs.append(
                Dynamics(
                    t.molecule, positions, spacing, c.level, c.temperature_K, c.friction_per_fs
                )
            )
    return [run.part(*c.share) for run in runs]


def part_runs(
    runs: Sequence[Dynamics], share: float, length: int, seed: int
) -> tuple[list[Dynamics], list[Dynamics]]:
    """Runs to train on and runs to hold out: whole molecules of many, else the end of
    each run that leaves `length` frames twice.
    """
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


def molecule_plan(c: TrajectoryTraining, runs: Sequence[Dynamics]) -> Plan:
    """The integrator on molecules: forces from runs of close frames, and the observer's
    gains in every fourth batch.
    """
    coarse = [r for r in runs if r.spacing_fs > 2 * STEP_FS]
    if coarse:
        raise InputError(
            f"the integrator learns forces from frames at most {2 * STEP_FS:g} fs apart, and "
            f"{coarse[0].molecule!r} has them "
            f"{coarse[0].spacing_fs:g} fs apart; save frames more often, or train `kind: "
            f"flow`, which takes any spacing"
        )
    runs, held = part_runs(runs, c.held_out, LEAST_FRAMES, c.seed)
    segments = SegmentBatches(runs, pairs=c.pairs_per_batch, seed=c.seed, step_fs=STEP_FS)
    unseen = (
        SegmentBatches(held, pairs=c.pairs_per_batch, seed=c.seed, step_fs=STEP_FS)
        if held
        else None
    )
    observations = ObservationBatches(
        runs, pairs=max(c.pairs_per_batch // 6, 16), seed=c.seed, step_fs=STEP_FS
    )
    usable = len(observations) > 0
    config = integrator_config(c)

    def batch(step: int) -> Segments | Observations:
        return observations(step) if usable and step % 4 == 3 else segments(step)

    def loss(network: nn.Module, data: Any) -> Tensor:
        model = cast(Integrator, network)
        return (
            observer_loss(model, data)
            if isinstance(data, Observations)
            else fine_loss(model.force, data)
        )

    return Plan(config, batch, loss, training_of(runs, (0.5, 100.0), 1.0), held_out=unseen)


def field_plan(c: TrajectoryTraining, runs: Sequence[Dynamics]) -> Plan:
    """The learned force field of an integrator: MMFF94's constants of the molecules of
    `constants` first, then the forces of the runs.
    """
    runs, held = part_runs(runs, c.held_out, LEAST_FRAMES, c.seed)
    forces = ForceBatches(runs, seed=c.seed)
    unseen = ForceBatches(held, seed=c.seed) if held else None
    known = ConstantBatches(Path(c.constants), seed=c.seed) if c.constants else None
    task = integrator_config(c) | {
        "field": {"node_features": NODE_FEATURES, "edge_features": EDGE_FEATURES}
    }

    def batch(step: int) -> Forces | Known:
        return known(step) if known is not None and step < c.constants_steps else forces(step)

    training = training_of(runs, (0.5, 100.0), 1.0)
    return Plan(
        task,
        batch,
        lambda network, data: field_loss(cast(Any, network).field, data),
        training,
        held_out=unseen,
    )


def integrator_config(c: TrajectoryTraining) -> dict[str, Any]:
    """The card's `config` of an integrator on molecules."""
    force = {
        "node_features": NODE_FEATURES,
        "edge_features": EDGE_FEATURES,
        "radial": 32,
        "shortest": 0.8,
        "step_input": True,
        "blocks": 2,
    }
    return {
        "kind": "integrator",
        "longest_step": STEP_FS,
        "observer": True,
        "force": force | c.network,
    }


def training_of(
    runs: Sequence[Dynamics], spacing_fs: tuple[float, float] | None, length_A: float
) -> dict[str, Any]:
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
        "molecules": {
            level: len({r.molecule for r in runs if r.level == level}) for level in levels
        },
        "known": {
            level: found
            for level in levels
            if len(found := sorted({fingerprint(r.molecule) for r in runs if r.level == level}))
            <= 50
        },
        "frames": int(sum(r.positions_A.shape[0] * r.positions_A.shape[1] for r in runs)),
    }
