"""Trajectories of a molecule from nothing: the unconditional models, or thermal motion
from a geometry.

A model that was trained with `given: none` draws all frames at once. The learned
integrator has an equivariant prior of another kind: any geometry (a conformer, say)
with velocities of the wanted temperature, warmed up and carried on.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError, ModelError
from equidrift.models.trajectories.graphs import molecule_graph
from equidrift.models.trajectories.integrator.run import IntegratorRun
from equidrift.models.trajectories.integrator.sampler import IntegratorModel
from equidrift.models.trajectories.model import ChemistryModel
from equidrift.records import Molecule, Trajectory

WARM_UP_FS = 500.0


def invent(
    model: ChemistryModel,
    molecule: Molecule,
    n_frames: int,
    seeds: NDArray[np.int64],
    *,
    dt_fs: float = 5.0,
    start_A: ArrayLike | None = None,
    warm_up_fs: float = WARM_UP_FS,
) -> list[Trajectory]:
    """One plausible trajectory of n_frames per seed, in no relation to any given one;
    centred where the model has no start.

    Parameters
    ----------
    start_A : geometries (n, 3) or (len(seeds), n, 3) to begin from: integrators need
        them (`equidrift.sample` draws conformers), unconditional diffusion takes none.
    warm_up_fs : time that an integrator forgets the start in, before the first frame.

    Raises
    ------
    InputError
        for a model that only continues, a start that is missing, not wanted or of
        another shape, or fewer than 1 frame.
    ModelError
        where a badly trained model runs away.
    """
    seeds = np.asarray(seeds, np.int64)
    if n_frames < 1 or dt_fs <= 0:
        raise InputError(
            f"n_frames must be 1 or more and dt_fs positive, got {n_frames} and {dt_fs}"
        )
    time_fs = dt_fs * np.arange(n_frames, dtype=np.float64)
    if isinstance(model, IntegratorModel):
        made = _thermal(model, molecule, n_frames, seeds, dt_fs, start_A, warm_up_fs)
    else:
        _check_unconditional(model, start_A)
        blank = Trajectory(molecule, np.zeros((n_frames, molecule.n_atoms, 3)), time_fs)
        made = model.complete(blank, np.zeros(n_frames, bool), seeds)
    if not np.isfinite(made).all():
        raise ModelError(
            f"{model.name} ran away to infinity; train it longer, or give an integrator a "
            f"start_A nearer to rest"
        )
    common = {"model": model.name, "weights_sha256": model.weights_sha256, "exact": False}
    return [
        Trajectory(molecule, x, time_fs, provenance=common | {"seed": int(seed)})
        for x, seed in zip(made, seeds, strict=True)
    ]


def _check_unconditional(model: ChemistryModel, start_A: ArrayLike | None) -> None:
    """Raise `InputError` for a model that only continues, or a start that is not wanted."""
    if model.training.get("given") != "none":
        raise InputError(
            f"{model.name} was trained to continue given frames; train it with `given: none`, or "
            "use the default model"
        )
    if start_A is not None:
        raise InputError(
            f"{model.name} draws all frames from noise and takes no start_A; leave it out, or use "
            "the default model"
        )


def _thermal(
    model: IntegratorModel,
    molecule: Molecule,
    n_frames: int,
    seeds: NDArray[np.int64],
    dt_fs: float,
    start_A: ArrayLike | None,
    warm_up_fs: float,
) -> NDArray[np.float64]:
    """Frames (s, n_frames, n, 3) of the integrator from a geometry with thermal
    velocities.
    """
    if start_A is None:
        raise InputError(
            f"{model.name} begins from a geometry; give start_A, for example "
            f"equidrift.sample(molecule, n).positions_A"
        )
    start = np.asarray(start_A, np.float64)
    start = (
        np.broadcast_to(start, (len(seeds), molecule.n_atoms, 3))
        if start.ndim == 2 and len(start) == molecule.n_atoms
        else start
    )
    if start.shape != (len(seeds), molecule.n_atoms, 3) or not np.isfinite(start).all():
        raise InputError(
            f"start_A must be finite and ({molecule.n_atoms}, 3) or ({len(seeds)}, "
            f"{molecule.n_atoms}, 3), got {start.shape}"
        )
    graph = molecule_graph(molecule, model.level_of(molecule), len(seeds)).to(model.device)
    skipped = round(max(0.0, warm_up_fs) / dt_fs)
    run = IntegratorRun(model, graph, molecule, dt_fs, seeds)
    made = run.carry(torch.tensor(start, device=model.device)[:, None], skipped + n_frames, 0)
    frames: NDArray[np.float64] = made[:, skipped:].cpu().numpy()
    return frames
