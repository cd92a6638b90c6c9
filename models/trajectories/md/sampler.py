"""`model="md"`: plain Langevin dynamics of MMFF94, or of a System of yours, through the
same door as the learned models. It needs OpenMM and no weights.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.mmff import mmff_system
from equidrift.models.trajectories.graphs import molecule_graph
from equidrift.models.trajectories.integrator.run import OBSERVABLE_FS, blended
from equidrift.models.trajectories.md.velocities import Bath, normal_modes, observed
from equidrift.models.trajectories.model import link_seed
from equidrift.models.trajectories.task import Task, TaskModel
from equidrift.models.trajectories.windows import CONTEXT, gaps, run_of
from equidrift.records import Molecule, Trajectory
from equidrift.registry import host_function
from equidrift.seeds import sample_rng
from equidrift.text import counted

if TYPE_CHECKING:
    import openmm

STEP_FS = 0.5  # the longest sub-step: a tenth of the fastest stretch's period is 0.9
Array = NDArray[np.float64]


class DynamicsModel(TaskModel):
    """Langevin dynamics in OpenMM, gone on with from given frames.

    Frames at most 15 fs apart tell the velocities (`velocities.observed`), and what they
    do not tell is drawn for each sample; from frames further apart, or a single one, all
    are thermal. A gap is filled from both sides, and the two runs are blended.

    Parameters
    ----------
    temperature_K, friction_per_fs : float
        Of the thermostat.
    step_fs : float
        The longest time step.
    system : openmm.System or None
        Of the molecule, in its atom order and without constraints; None: MMFF94.

    Raises
    ------
    InputError
        For settings outside their range, or a System with constraints.
    """

    name = "md"
    min_frames = 1
    dt_range_fs = (0.1, math.inf)

    def __init__(
        self,
        *,
        temperature_K: float = 300.0,
        friction_per_fs: float = 0.01,
        step_fs: float = STEP_FS,
        system: openmm.System | None = None,
    ):
        checks = (
            ("temperature_K", temperature_K, 5000.0),
            ("friction_per_fs", friction_per_fs, 1.0),
            ("step_fs", step_fs, 4.0),
        )
        for name, value, most in checks:
            if not 0 < value <= most:
                raise InputError(f"{name} must lie above 0 and up to {most:g}, not {value}")
        if system is not None and system.getNumConstraints():
            raise InputError(
                f"the System has {system.getNumConstraints()} constraints, and the velocities "
                "that frames tell are those of free atoms; build it with constraints=None, "
                "rigidWater=False"
            )
        self.bath, self.step_fs, self.system = Bath(temperature_K, friction_per_fs), step_fs, system
        self._systems: dict[Molecule, openmm.System] = {}

    def _completed(self, task: Task) -> Array:
        given, positions = _whole_frames(task.given), np.asarray(task.trajectory.positions_A)
        x = np.where(given[:, None, None], positions.astype(np.float64), 0.0)
        out = np.repeat(x[None], len(task.seeds), axis=0)
        for number, (first, last) in enumerate(gaps(given)):
            self._fill(task.trajectory, out, given, (first, last), task.seeds, number)
            if task.callback is not None:
                task.callback({"frames": last - first + 1})
        return out

    def _fill(
        self,
        trajectory: Trajectory,
        out: Array,
        given: NDArray[np.bool_],
        gap: tuple[int, int],
        seeds: NDArray[np.int64],
        number: int,
    ) -> None:
        """Fill frames gap[0] to gap[1] of samples (s, t, n, 3) in place."""
        first, last = gap
        count, dt_fs, molecule = last - first + 1, float(trajectory.dt_fs), trajectory.molecule
        sides = []
        for way, edge in ((-1, first - 1), (1, last + 1)):
            known = run_of(given, edge, way)
            if known is not None:
                frames = out[0, known][::-way]  # in the order in which time runs towards the gap
                link = 2 * number + (way > 0)
                own = [link_seed(int(seed), link) for seed in seeds]
                made = self._carried(molecule, frames[-CONTEXT:], dt_fs, count, own)
                sides.append(made[:, ::-way])
        out[:, first : last + 1] = sides[0] if len(sides) == 1 else _joined(molecule, *sides)

    def _carried(
        self, molecule: Molecule, frames_A: Array, dt_fs: float, count: int, seeds: list[int]
    ) -> Array:
        """`count` frames (s, count, n, 3) after frames (t, n, 3), one run a seed."""
        run = _Run(self._system_of(molecule), self.bath, dt_fs, self.step_fs)
        rest, drift = run.at_rest(frames_A)
        mean, modes, spread = run.state(rest)
        made = []
        for seed in seeds:
            noise = sample_rng(seed).standard_normal(len(spread))
            velocity = mean + modes.vectors(np.sqrt(spread) * noise)
            made.append(run.frames(rest[-1], velocity, count, seed))
        ahead = np.arange(1, count + 1)[:, None, None] * drift
        carried: Array = np.reshape(made, (len(seeds), count, *rest.shape[1:])) + ahead
        return carried

    def _system_of(self, molecule: Molecule) -> openmm.System:
        if self.system is not None:
            if self.system.getNumParticles() != molecule.n_atoms:
                raise InputError(
                    "the System has "
                    f"{counted(self.system.getNumParticles(), 'particle')}, and {molecule!r} "
                    f"has {counted(molecule.n_atoms, 'atom')}; give the System of this molecule"
                )
            return self.system
        if molecule not in self._systems:
            self._systems[molecule] = mmff_system(molecule)
        return self._systems[molecule]

    def _provenance(self, seed: int) -> dict[str, Any]:
        return super()._provenance(seed) | {
            "force_field": "MMFF94" if self.system is None else "a System",
            "temperature_K": self.bath.temperature_K,
            "friction_per_fs": self.bath.friction_per_fs,
        }


class _Run:
    """Dynamics of a System by frames `dt_fs` apart."""

    def __init__(self, system: openmm.System, bath: Bath, dt_fs: float, longest_fs: float):
        self.system, self.bath, self.dt_fs = system, bath, dt_fs
        self.count = max(1, math.ceil(dt_fs / longest_fs - 1e-6))
        nowhere = np.zeros((system.getNumParticles(), 3))
        self.cold = self.langevin(nowhere, nowhere, 0, False)
        self.masses_amu: Array = self.cold.masses_amu

    def langevin(self, positions_A: Array, velocities_A_fs: Array, seed: int, hot: bool) -> Any:
        """The host's run from a state; with noise only if `hot`."""
        return host_function("openmm", "Langevin")(
            self.system,
            positions_A,
            temperature_K=self.bath.temperature_K if hot else 0.0,
            friction_per_fs=self.bath.friction_per_fs,
            step_fs=self.dt_fs / self.count,
            seed=seed,
            velocities_A_fs=velocities_A_fs,
        )

    def at_rest(self, frames_A: Array) -> tuple[Array, Array]:
        """Frames (t, n, 3) of which the centre of mass stands still, and its move (3,) from
        frame to frame before; the last frame stays.
        """
        weight = self.masses_amu / self.masses_amu.sum()
        centre = np.einsum("tnd,n->td", frames_A, weight)
        drift = centre[-1] - centre[-2] if len(frames_A) > 1 else np.zeros(3)
        return frames_A - (centre - centre[-1])[:, None], drift

    def state(self, frames_A: Array) -> tuple[Array, Any, Array]:
        """Mean velocities (n, 3) at the last frame, and the modes with the variances that
        are left of theirs.
        """
        still = np.zeros_like(frames_A[0])
        modes = normal_modes(self.cold.forces_at, frames_A[-1], self.masses_amu)
        if len(frames_A) == 1 or self.dt_fs > OBSERVABLE_FS:
            return still, modes, np.full(len(modes.omega), self.bath.kT)

        def step(x: Array, v: Array) -> tuple[Array, Array]:
            self.cold.put(x, v)
            state = self.cold.run(self.count)
            return state.positions_A, state.velocities_A_fs

        mean, spread = observed(frames_A, self.dt_fs, modes, step, self.bath)
        return mean, modes, spread

    def frames(self, positions_A: Array, velocities_A_fs: Array, count: int, seed: int) -> Array:
        """The next `count` frames (count, n, 3)."""
        hot = self.langevin(positions_A, velocities_A_fs, seed, True)
        return np.array([hot.run(self.count).positions_A for _ in range(count)])


def _whole_frames(given: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which frames are given (t,). Raises `InputError` for none, and for single atoms."""
    if given.ndim == 2 and (given.all(1) == given.any(1)).all():
        given = np.asarray(given.all(1))
    if given.ndim == 2:
        raise InputError(
            "md fills whole frames, and here single atoms are given; give whole frames, or "
            "take the default model, which is steered through single atoms"
        )
    if not given.any():
        raise InputError("md needs 1 given frame, and there are 0; give a frame")
    return given


def _joined(molecule: Molecule, forward: Array, backward: Array) -> Array:
    """The path (s, g, n, 3) from one side of a gap to the other."""
    graph = molecule_graph(molecule, "MMFF94", len(forward))
    made = blended(graph, torch.from_numpy(forward.copy()), torch.from_numpy(backward.copy()))
    joined: Array = made.numpy()
    return joined
