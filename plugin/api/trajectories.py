"""Trajectories: what comes next, what lies between, what was meant."""

from __future__ import annotations

from typing import Any

from equidrift.arguments import check_count
from equidrift.engine.trajectories import (
    forecast_job,
    interpolation_job,
    make_settings,
    masked_job,
    refinement_job,
    run,
)
from equidrift.errors import InputError
from equidrift.inputs import as_trajectory
from equidrift.records import Trajectory


def forecast(
    trajectory: object,
    n_frames: int,
    n: int = 1,
    *,
    every: int = 1,
    model: object = "default",
    seed: int = 0,
    progress: bool = False,
    charge: int | None = None,
    **options: Any,
) -> list[Trajectory]:
    """Continuations of a trajectory, n of them, by n_frames each.

    Parameters
    ----------
    trajectory : Trajectory, MDAnalysis Universe or AtomGroup, or list of ase.Atoms
        Frames evenly spaced, in A; `ase.Atoms` with their time in `info["time_fs"]`.
        Across periodic boundaries it is unwrapped if it has a box. Files are read by
        `equidrift.load_trajectory`.
    n_frames : int
        New frames, at the spacing of the given ones (for a model that leaps, at its lag)
        times `every`.
    n : int
        Samples, 1 or more.
    every : int
        Keep one frame of so many that are made; the model draws them all.
    model : str or TrajectoryModel
        "default", "leap" (of which one given frame is enough; it is the default where the
        option `lag_ps` is given), "md" (plain dynamics), "geotdm", "last-frame",
        "constant-velocity", the path of a trained model, or an object with `complete` and
        `continue_` (see `equidrift.protocols.TrajectoryModel`).
    seed : int
        Of the run. Sample k depends on it and on k alone, not on n or the batch size.
    progress : bool
        Show a progress bar on stderr.
    charge : int, optional
        Total charge in e. `ase.Atoms` without bonds need it unless they carry it; any
        other trajectory's molecule must have it.
    **options
        `steps`, network calls of a window (None: the model's own default); `broken`,
        what happens to a draw in which a bond length, stereo or distance fails the
        check that the given frames pass: "redraw", or "report", which keeps it (the
        provenance counts both); `max_attempts`, draws of a sample before it is given up
        (20); `batch_size`, samples in one call of the model; and whatever the model
        takes.

    Returns
    -------
    list of Trajectory
        The new frames alone, n times, their times going on from the given
        ones. Their provenance tells model, weights hash, seeds, draws rejected by
        reason, broken frames kept by reason, and exact=False.

    Raises
    ------
    InputError
        For too few frames, NaN, units that look like nm, unequal times, a spacing the
        model was not trained on, frames that do not follow each other (unrelated
        conformers), or jumps across a periodic boundary without a box; MoleculeError
        for elements or sizes that the model does not know.
    NoValidSamplesError
        If a sample stays broken, with the reasons counted.
    InputTypeError, UnknownNameError
        For another object, an unknown model.

    Notes
    -----
    Plain dynamics in MMFF94 (`model="md"`) often makes as many frames in less time;
    `equidrift forecast` says so at the end of a run. Frames 100 fs and more apart say
    so little about the next ones that repeating the last frame (`model="last-frame"`)
    has a smaller error than any draw.

    Examples
    --------
    >>> import equidrift
    >>> start = equidrift.sample("CCO", 1, model="etkdg")
    >>> frames = start.positions_A.repeat(3, axis=0)
    >>> past = equidrift.Trajectory(start.molecule, frames, [0.0, 5.0, 10.0])
    >>> (future,) = equidrift.forecast(past, 4, model="last-frame")
    >>> future.time_fs.tolist()
    [15.0, 20.0, 25.0, 30.0]
    """
    check_count("n", n)
    trajectory = as_trajectory(trajectory, charge=charge)
    asked = "leap" if model == "default" and "lag_ps" in options else model
    settings = make_settings(asked, seed=seed, **options)
    return run(forecast_job(trajectory, n_frames, settings, every=every), n, progress)


def interpolate(
    trajectory: object,
    n_frames: int | None = None,
    n: int = 1,
    *,
    given: object = None,
    model: object = "default",
    seed: int = 0,
    progress: bool = False,
    charge: int | None = None,
    **options: Any,
) -> list[Trajectory]:
    """Trajectories through the given frames, with new frames between them; the given ones
    stay exactly.

    Parameters
    ----------
    trajectory : Trajectory, MDAnalysis Universe or AtomGroup, or list of ase.Atoms
        As for `forecast`.
    n_frames : int, optional
        Frames to put between each two neighbours. None fills in what is missing of an
        even grid: times that are whole multiples of the shortest step, say 0, 5, 10,
        120, 125 fs.
    n : int
        As for `forecast`.
    given : (n_frames, n_atoms) array of bool, optional
        Which atoms are known in which of the trajectory's own, evenly spaced frames;
        positions of the others are not read and may be NaN. It takes the place of
        n_frames.
    model, seed, progress, charge, **options
        As for `forecast`.

    Returns
    -------
    list of Trajectory
        Given frames included, n of them; provenance["given"] lists their places
        (provenance["given_atoms"] counts them with `given`).

    Raises
    ------
    InputError, MoleculeError, NoValidSamplesError, InputTypeError, UnknownNameError
        As `forecast`; InputError also if nothing is missing, times do not lie on a
        grid, or a gap is longer than the model sees.

    Examples
    --------
    >>> import equidrift
    >>> start = equidrift.sample("CCO", 1, model="etkdg")
    >>> frames = start.positions_A.repeat(2, axis=0)
    >>> ends = equidrift.Trajectory(start.molecule, frames, [0.0, 10.0])
    >>> (filled,) = equidrift.interpolate(ends, 1, model="last-frame")
    >>> filled.time_fs.tolist()
    [0.0, 5.0, 10.0]
    """
    check_count("n", n)
    trajectory = as_trajectory(trajectory, charge=charge)
    settings = make_settings(model, seed=seed, **options)
    if given is None:
        return run(interpolation_job(trajectory, n_frames, settings), n, progress)
    if n_frames is not None:
        raise InputError(
            "give either n_frames, to put new frames between the given ones, or given, which "
            "atoms are known, not both"
        )
    return run(masked_job(trajectory, given, settings), n, progress)


def refine_trajectory(
    trajectory: object,
    n: int = 1,
    *,
    level: float = 0.3,
    charge: int | None = None,
    model: object = "default",
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> list[Trajectory]:
    """Refined versions of a coarse trajectory, n of them, by partial noising and denoising
    (arXiv:2410.13027, interpolation and refinement).

    Parameters
    ----------
    trajectory : Trajectory, MDAnalysis Universe or AtomGroup, or list of ase.Atoms
        As for `forecast`; its bonds may be wrong.
    n : int
        As for `forecast`.
    level : float
        How far it is noised: above 0 (little changes) to 1 (nothing is kept).
    charge, model, seed, progress, **options
        As for `forecast`, but frames that stay broken are reported unless
        broken="redraw".

    Returns
    -------
    list of Trajectory
        Refined trajectories, n of them; their provenance counts "broken_frames" and
        "broken_frames_before".

    Raises
    ------
    InputError, MoleculeError, NoValidSamplesError, InputTypeError, UnknownNameError
        As `forecast`; InputError also for a level out of its range, or a model that
        does not refine.

    Examples
    --------
    >>> import equidrift
    >>> start = equidrift.sample("CCO", 1, model="etkdg")
    >>> frames = start.positions_A.repeat(4, axis=0)
    >>> coarse = equidrift.Trajectory(start.molecule, frames, [0.0, 5.0, 10.0, 15.0])
    >>> (refined,) = equidrift.refine_trajectory(coarse, level=0.1, seed=1)
    >>> refined.positions_A.shape
    (4, 9, 3)
    """
    check_count("n", n)
    trajectory = as_trajectory(trajectory, charge=charge)
    settings = make_settings(model, seed=seed, **{"broken": "report", **options})
    return run(refinement_job(trajectory, level, settings), n, progress)
