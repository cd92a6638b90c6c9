"""`DiffusionDynamics`: a dynamics of ASE whose steps come from a trajectory model."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.logger import MDLogger
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from equidrift.adapters.ase.atoms import from_atoms
from equidrift.adapters.ase.frames import trajectory_of
from equidrift.adapters.ase.settle import settle_by, thermal
from equidrift.adapters.ase.typed import attach, closed_later
from equidrift.api import forecast
from equidrift.arguments import check_count
from equidrift.engine.trajectories import make_settings
from equidrift.errors import InputError, InputTypeError
from equidrift.protocols import LeapingTrajectoryModel, TrajectoryModel
from equidrift.records import Molecule, Trajectory
from equidrift.seeds import check_seed, sample_seeds
from equidrift.text import counted

USUAL_FRAMES = 10  # made before the model goes on from them
HISTORY = 64  # frames kept
BLOCK = 20  # frames drawn at a time
LONGEST_STEP_FS = 0.5  # of the plain dynamics that makes the first frames
SAME_A = 1e-8  # atoms moved by less were not moved by the user


class DiffusionDynamics(MolecularDynamics):
    """Molecular dynamics whose frames a model draws; observers, trajectory and logfile
    work as for any other dynamics.

    The first frames, which the model needs, are `history`; without it they are made by
    velocity Verlet with the atoms' calculator, one per step. A calculator is otherwise
    only asked for what is logged and written; without one, energies are logged as nan.
    Momenta follow from the differences of positions. No rule of statistics
    underlies the steps: `exact` is False.

    A model that leaps (the path of trained leaps, timestep 20000 * units.fs) goes on from
    the present frame alone. Its leaps settle in the calculator's potential, in MMFF94
    without a calculator, and its momenta are drawn at its temperature.

    Parameters
    ----------
    atoms : Atoms
        Every hydrogen explicit, no constraints; bonds as `equidrift` stored them, else
        perceived.
    timestep : float
        Time between two frames, in ASE's units: 10 * units.fs.
    model : str or TrajectoryModel, optional
        Name of a trajectory model (`equidrift.forecast`), or an object.
    history : Trajectory or sequence of Atoms, optional
        Trajectory, or list of `ase.Atoms` one timestep apart, the last of them the
        present: the atoms are put there.
    frames : int, optional
        Made by velocity Verlet before the model goes on from them, or more if it
        needs more; velocities come from them.
    seed : int, optional
        Of the draws.
    block : int, optional
        Frames drawn at a time.
    options : mapping, optional
        `steps`, `broken`, `max_attempts`, and whatever the model takes, as in
        `equidrift.forecast`.
    trajectory, logfile, loginterval, **kwargs : object, optional
        As for `ase.md.md.MolecularDynamics`.

    Raises
    ------
    InputError
        For constraints, a history of other atoms or another spacing, a time step that
        the model was not trained on, or, at the first step, if there is neither
        history nor calculator; MoleculeError if bonds cannot be told.
    """

    exact = False

    def __init__(  # noqa: PLR0913 - public: what ASE's dynamics take, and the model's
        self,
        atoms: Atoms,
        timestep: float,
        model: str | TrajectoryModel = "default",
        *,
        history: Trajectory | Sequence[Atoms] | None = None,
        frames: int = USUAL_FRAMES,
        seed: int = 0,
        block: int = BLOCK,
        options: dict[str, Any] | None = None,
        trajectory: Any = None,
        logfile: Any = None,
        loginterval: int = 1,
        **kwargs: Any,
    ) -> None:
        _check_free(atoms)
        self.settings = make_settings(model, **(options or {}))
        self.block = check_count("block", block)
        asked = check_count("frames", frames) if history is None else 0
        self.needed = max(2, int(self.settings.model.min_frames), asked)
        self.seed, self.draws = check_seed(seed), 0
        self.molecule: Molecule = from_atoms(atoms)
        self.timestep_fs = float(timestep) / units.fs
        self._set_leaps(atoms)
        self._past: deque[NDArray[np.float64]] = deque(maxlen=HISTORY)
        self._coming: deque[NDArray[np.float64]] = deque()
        if history is not None:
            self._past.extend(_frames(history, self.molecule, self.timestep_fs))
            atoms.positions = self._past[-1]
        else:
            self._past.append(atoms.positions.copy())
        super().__init__(
            atoms, timestep, trajectory=trajectory, logfile=None, loginterval=loginterval, **kwargs
        )
        if len(self._past) > 1:
            self._set_momenta()
        if logfile:
            logger = _Logger(dyn=self, atoms=atoms, logfile=logfile, comm=self.comm)
            attach(self, closed_later(self, logger), loginterval)

    def _set_leaps(self, atoms: Atoms) -> None:
        """Let each step of a model that leaps be a leap from the present frame."""
        model, settle = self.settings.model, None
        if not isinstance(model, LeapingTrajectoryModel):
            return
        if atoms.calc is not None:
            settle = settle_by(atoms, temperature_K=model.temperature_K, settle_fs=model.settle_fs)
        made = model.leaping(lag_fs=self.timestep_fs, settle=settle)
        self.settings, self.needed = dataclasses.replace(self.settings, model=made), 1

    def todict(self) -> dict[str, Any]:
        """What a trajectory's header says."""
        return {
            **MolecularDynamics.todict(self),
            "model": str(self.settings.model.name),
            "seed": self.seed,
            "exact": False,
        }

    def step(self) -> None:
        """One frame on."""
        moved = np.abs(self.atoms.positions - self._past[-1]).max() > SAME_A
        if moved:  # by the user: what was drawn, and the motion before, are of another place
            self._past.clear()
            self._coming.clear()
            self._past.append(self.atoms.positions.copy())
        if len(self._past) < self.needed:
            self._plain_step()
            return
        if not self._coming:
            self._draw()
        self._past.append(self._coming.popleft())
        self.atoms.positions = self._past[-1]
        self._set_momenta()

    def _draw(self) -> None:
        """Let the model draw the frames to come."""
        seed = int(sample_seeds(self.seed, self.draws, self.draws + 1)[0])
        self.draws += 1
        box_A = self.atoms.cell.array if self.atoms.pbc.all() else None
        times_fs = self.timestep_fs * np.arange(1 - len(self._past), 1)
        past = Trajectory(
            self.molecule, np.array(self._past), times_fs.astype(np.float64), box_A=box_A
        )
        (made,) = forecast(
            past,
            self.block,
            model=self.settings.model,
            seed=seed,
            steps=self.settings.steps,
            broken=self.settings.broken,
            max_attempts=self.settings.max_attempts,
        )
        self._coming.extend(made.positions_A)

    def _plain_step(self) -> None:
        """A frame by velocity Verlet."""
        if self.atoms.calc is None:
            raise InputError(
                f"{counted(self.needed, 'frame', 'is', 'are')} needed before the model "
                f"{self.settings.model.name!r} goes on from them, there are "
                f"{len(self._past)}, and the atoms have no calculator to make more; give history=, "
                "or set atoms.calc"
            )
        parts = math.ceil(self.timestep_fs / LONGEST_STEP_FS - 1e-6)
        VelocityVerlet(self.atoms, self.dt / parts).run(parts)
        self._past.append(self.atoms.positions.copy())

    def _set_momenta(self) -> None:
        model = self.settings.model
        if isinstance(model, LeapingTrajectoryModel):  # whose frames tell no velocities
            rng = np.random.default_rng([self.seed, self.nsteps])
            thermal(self.atoms, model.temperature_K, rng)
            return
        self.atoms.set_momenta(self.masses * (self._past[-1] - self._past[-2]) / self.dt)

    def _refresh_properties(self) -> None:
        if self.atoms.calc is not None:
            super()._refresh_properties()  # type: ignore[no-untyped-call] # ASE's, private


class _Logger(MDLogger):
    """ASE's logger, which needs no calculator."""

    def _potential_energy(self) -> float:
        if self.atoms.calc is None:
            return math.nan
        return float(super()._potential_energy())  # type: ignore[no-untyped-call] # ASE's, private


def _check_free(atoms: Atoms) -> None:
    """Refuse what is no `Atoms`, and constraints."""
    if not isinstance(atoms, Atoms):
        raise InputTypeError(f"atoms must be an ase.Atoms, not {type(atoms).__name__}")
    if atoms.constraints:
        raise InputError(
            "the atoms have constraints, which a model does not keep; remove them: "
            "atoms.set_constraint()"
        )


def _frames(
    history: Trajectory | Sequence[Atoms], molecule: Molecule, timestep_fs: float
) -> NDArray[np.float64]:
    """Positions (n, n_atoms, 3) of frames one timestep apart."""
    if isinstance(history, Trajectory):
        past = history
    else:
        dt_fs = timestep_fs if any("time_fs" not in atoms.info for atoms in history) else None
        past = trajectory_of(list(history), dt_fs=dt_fs)
    if not np.array_equal(past.molecule.numbers, molecule.numbers):
        raise InputError(
            f"history is of {past.molecule!r}, the atoms are {molecule!r} or come in another "
            "order; give frames of these atoms"
        )
    if len(past) > 1 and abs(past.dt_fs - timestep_fs) > 1e-3 * timestep_fs:
        raise InputError(
            f"the frames of history are {past.dt_fs:g} fs apart, and the time step is "
            f"{timestep_fs:g} fs; make them the same"
        )
    return past.positions_A
