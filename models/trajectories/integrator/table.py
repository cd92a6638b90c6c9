"""`equidrift train trajectories CONFIG` with `learn: table`: a force field fitted to
single molecules in closed form.

The coefficients go into a trained integrator, of which everything else is kept. It
takes a core-minute for eight molecules, most of it GFN2-xTB forces of frames that come
without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from equidrift.errors import ConfigError, InputError
from equidrift.models.shared.config import (
    LICENCE,
    TRAINING_DATA,
    Name,
    Names,
    TrainingConfig,
    config_errors,
    initial,
)
from equidrift.models.shared.run import Request
from equidrift.models.shared.trainer import Progress
from equidrift.models.trajectories.dynamics import Dynamics, load_dynamics, load_gfn2_md
from equidrift.models.trajectories.graphs import EDGE_FEATURES, NODE_FEATURES, molecule_graph
from equidrift.models.trajectories.integrator.skeleton import skeleton_of
from equidrift.models.trajectories.integrator.valence import (
    Coordinates,
    colours,
    coordinates,
    fit,
    fitted,
)
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.units import AMU_A2_PER_FS2_EV, BOLTZMANN_AMU_A2_PER_FS2_K
from equidrift.weights import save_weights

WORST = 6.0  # frames whose forces are this many times as large as usual are of no use
HOT_K = 550.0  # temperature of the field's own dynamics: it meets its holes in training
APART = 100  # steps of 1 fs between frames of the field's own dynamics
STARTS = 12  # of the field's own dynamics
Array = NDArray[np.float64]
Labels = Callable[[Molecule, Array], Array]  # frames (k, n, 3) in A -> forces (k, n, 3) in eV/A


class TableTraining(TrainingConfig):
    """What a training YAML with `learn: table` may say. Unknown keys are errors.

    Attributes
    ----------
    data : a folder of GFN2-MD17 files, or .npz files of `save_dynamics` with forces.
    init : the integrator whose force field is replaced.
    frames : of each molecule, from the share `share` of the time. own_frames : of the
        fitted field's own dynamics that are labelled by GFN2-xTB and added in one
        further round; 0 for none.
    leave_out : molecules that keep the network, by name: a force field with fixed bonds
        does not describe a proton that changes its partner.
    ridge : of the regression.
    """

    kind: Literal["integrator"] = "integrator"
    learn: Literal["table"]
    name: Name = "my-table"
    data: Names
    init: str = "trajectory"
    share: tuple[float, float] = (0.0, 0.6)
    frames: int = Field(default=700, ge=10)
    own_frames: int = Field(default=60, ge=0)
    leave_out: list[str] = Field(default=[])
    ridge: float = Field(default=3e-5, gt=0)


def fit_table(request: Request) -> dict[str, Any]:
    """Fit a force field to each molecule in closed form, whatever the budget, and write
    `out/NAME.safetensors` with its card; returns what was done.

    Raises
    ------
    ConfigError
        for a config that does not fit.
    InputError
        for missing data, or weights to begin with that are no integrator on molecules.
    """
    with config_errors():
        c = TableTraining.model_validate(request.config)
        state, card = initial(c.init, ("trajectory",), {})
    if c.network or c.schedule:
        raise ConfigError(
            ["learn: table is fitted in closed form; leave `network` and `schedule` out"]
        )
    if card["config"].get("kind") != "integrator":
        raise InputError(
            f"init: {c.init} is a model of kind {card['config'].get('kind')!r}, expected an "
            "integrator"
        )
    runs = [run for run in read_runs(c) if run.molecule.name not in c.leave_out]
    table, frames = _fit_all(c, runs, request.progress)
    keys = sorted(table)
    state |= {
        "keys": torch.tensor(keys, device="cpu"),
        "coefficients": torch.tensor([table[key] for key in keys], device="cpu"),
    }
    card["config"] |= {"table": len(keys)}
    card["config"].setdefault(
        "field", {"node_features": NODE_FEATURES, "edge_features": EDGE_FEATURES}
    )
    card["name"], card["quality"] = c.name, {}
    card |= {key: value for key, value, usual in _said(c) if value != usual}
    path = save_weights(request.out / f"{c.name}.safetensors", state, card)
    counts = {"molecules": len(runs), "frames": frames, "coefficients": len(keys)}
    return {"weights": str(path), **counts}


def _fit_all(
    c: TableTraining, runs: Sequence[Dynamics], progress: Progress | None
) -> tuple[dict[int, float], int]:
    """Coefficients of all molecules, and the frames they were fitted to."""
    table: dict[int, float] = {}
    frames = 0
    for k, run in enumerate(runs):
        found, used = fit_molecule(c, run.part(*c.share))
        table, frames = table | found, frames + used
        if progress is not None:
            share = {"molecules": len(runs), "share": (k + 1) / len(runs)}
            progress({"step": k + 1, "frames": frames, **share})
    return table, frames


def _said(c: TableTraining) -> tuple[tuple[str, str, str], ...]:
    """What the config says for the card, beside what it says if the user says nothing:
    then the old card's stays.
    """
    return ("licence", c.licence, LICENCE), ("training_data", c.training_data, TRAINING_DATA)


def read_runs(c: TableTraining) -> list[Dynamics]:
    """The dynamics that `data` names. Raises `InputError` for a missing file."""
    runs: list[Dynamics] = []
    for name in c.data:
        runs += load_gfn2_md(name).values() if Path(name).is_dir() else load_dynamics(name)
    return runs


def fit_molecule(
    c: TableTraining, run: Dynamics, labels: Labels | None = None
) -> tuple[dict[int, float], int]:
    """(coefficients of one molecule's force field, frames it was fitted to).

    Raises
    ------
    InputError
        where frames of another level than GFN2-xTB come without forces, or are to be
        added.
    """
    graph = molecule_graph(run.molecule, run.level)
    own = coordinates(skeleton_of(graph), colours(graph.node[0].numpy(), graph.edge[0].numpy()))
    flat = run.positions_A.reshape(-1, *run.positions_A.shape[2:]).astype(np.float64)
    rows = np.linspace(0, len(flat) - 1, min(c.frames, len(flat))).astype(int)
    x = flat[rows]
    if labels is None and (run.forces_eV_A is None or c.own_frames):
        labels = labels_of(run.level)
    if run.forces_eV_A is not None:
        f = run.forces_eV_A.reshape(flat.shape)[rows].astype(np.float64)
    else:
        f = labels(run.molecule, x)  # type: ignore[misc]
    x, f = finite(x, f)
    found = fit(own, x, f * AMU_A2_PER_FS2_EV, c.ridge)
    if c.own_frames and labels is not None:
        more = own_frames(own, found, x, c.own_frames)
        more, forces = finite(more, labels(run.molecule, more))
        use = np.sqrt((forces**2).mean((1, 2))) < WORST * np.sqrt((f**2).mean())
        x, f = np.concatenate([x, more[use]]), np.concatenate([f, forces[use]])
        found = fit(own, x, f * AMU_A2_PER_FS2_EV, c.ridge)
    return found, len(x)


def finite(x: Array, f: Array) -> tuple[Array, Array]:
    """The frames (k, n, 3) whose forces are known."""
    kept = np.isfinite(f).all((1, 2))
    return x[kept], f[kept]


def labels_of(level: str) -> Labels:
    """Who gives the forces of new frames at a level of theory.

    Raises `InputError` where nobody does.
    """
    if level != "GFN2-xTB":
        raise InputError(
            f"forces of {level} frames are not made here; give .npz files with forces, and "
            f"own_frames: 0"
        )
    labels: Labels = host_function("ase", "gfn2_forces")
    return labels


def own_frames(own: Coordinates, table: dict[int, float], start: Array, count: int) -> Array:
    """About `count` frames (k, n, 3) of Langevin dynamics of a fitted field, `APART`
    steps apart, from a dozen starts.
    """
    field, mass = fitted(own, table), own.mass[:, None]
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(start[np.linspace(0, len(start) - 1, STARTS).astype(int)])
    size, decay = (BOLTZMANN_AMU_A2_PER_FS2_K * HOT_K / mass).sqrt(), math.exp(-0.01)
    v, kept = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device) * size, []
    for step in range(1, APART * max(1, count // STARTS) + 1):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        v = (decay * (v + field.accelerations(x)) + (1 - decay**2) ** 0.5 * size * noise).clamp(
            -0.3, 0.3
        )
        x = x + v
        if step % APART == 0:
            kept.append(x.numpy().copy())
    made = np.concatenate(kept)
    return made[np.isfinite(made).all((1, 2))]
