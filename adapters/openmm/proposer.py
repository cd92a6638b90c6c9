"""`TrajectoryProposer`: an OpenMM Simulation that a trajectory model continues.

Proposals have no density: nothing here is exact.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import app, unit

from equidrift.adapters.openmm.integrators import step_fs, steps_between
from equidrift.adapters.openmm.prepare import prepare
from equidrift.adapters.openmm.settle import settle_in
from equidrift.adapters.openmm.single import (
    check_particles,
    check_simulation,
    integrator_temperature_K,
    molecule_of,
    usual_rise_eV,
)
from equidrift.adapters.openmm.stepping import take_steps
from equidrift.arguments import check_count
from equidrift.engine.trajectories import forecast_job, make_settings, run
from equidrift.errors import InputError, NoValidSamplesError, UnknownNameError
from equidrift.protocols import LeapingTrajectoryModel, TrajectoryModel
from equidrift.records import Molecule, Trajectory
from equidrift.seeds import check_seed, sample_seeds
from equidrift.text import counted
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A, PS_PER_FS

VELOCITIES = ("redraw", "proposal")
CHOICES = ("first", "lowest")
USUAL_FRAMES = 10
HISTORY = 64  # frames kept
OVERLAP, ENERGY = "overlap", "energy"


@dataclass(frozen=True, eq=False)
class TrajectoryProposal:
    """A continuation that has passed the checks.

    Parameters
    ----------
    trajectory : Trajectory
        The new frames; provenance["exact"] is False.
    state : openmm.State
        Of the last one: positions, velocities, time and step count, for
        `context.setState`.
    energy_eV : float
        Its potential energy.
    """

    trajectory: Trajectory
    state: openmm.State
    energy_eV: float
    exact: bool = False


class TrajectoryProposer:
    """Collects the frames a model needs from a Simulation, proposes continuations, and
    moves the Context to one of them.

    It adds a reporter to the Simulation, and so sees every frame that `simulation.step`
    passes. What it proposes is judged by the bonds, by overlap and by the System's own
    energy, but not accepted or refused by any rule that would sample a known
    distribution.

    A model that leaps (`model="leap", lag_ps=20`, or the path of trained leaps) reads the
    present frame alone, so that nothing is collected before it; its leaps settle in the
    Simulation's own System.

    Parameters
    ----------
    simulation : app.Simulation
        Of one molecule.
    model : str or TrajectoryModel
        Name of a trajectory model (`equidrift.forecast`), or an object.
    molecule : Molecule, optional
        Its graph in the order of the particles; None reads it from the Simulation's
        topology, which then needs bond orders.
    interval_fs : float, optional
        Time between frames, a whole number of integration steps; None takes 10 fs, or
        the nearest the model was trained on.
    frames : int
        Collected before the model goes on from them, or more if it needs more;
        velocities come from them.
    velocities : str
        "redraw" at the temperature, or "proposal", by differences of the last frames.
    temperature_K : float, optional
        None takes the integrator's.
    max_rise_eV : float, optional
        How far the energy may rise above the present one; None takes kT (10 + 5 sqrt(3
        N / 2)), five times the spread of the potential energy of N atoms.
    min_distance_A : float
        Closer pairs of atoms are an overlap.
    seed : int
        Of proposals and velocities.
    **options
        `steps`, `broken`, `max_attempts`, `batch_size` and whatever the model takes, as
        in `equidrift.forecast`.

    Raises
    ------
    InputError
        For virtual sites, particles that are not the molecule's, a spacing that is no
        whole number of steps or that the model was not trained on, or no temperature;
        MoleculeError for elements or sizes that the model does not know.
    InputTypeError, UnknownNameError
        If `simulation` is no Simulation, or a name is not known.
    """

    exact = False

    def __init__(  # noqa: PLR0913 - public; each argument is one choice of the user
        self,
        simulation: app.Simulation,
        model: str | TrajectoryModel = "default",
        *,
        molecule: Molecule | None = None,
        interval_fs: float | None = None,
        frames: int = USUAL_FRAMES,
        velocities: str = "redraw",
        temperature_K: float | None = None,
        max_rise_eV: float | None = None,
        min_distance_A: float = 0.5,
        seed: int = 0,
        **options: Any,
    ) -> None:
        check_simulation(simulation)
        if velocities not in VELOCITIES:
            raise UnknownNameError("way with velocities", str(velocities), VELOCITIES)
        self.simulation, self.velocities = simulation, velocities
        self.settings = make_settings(model, **options)
        self.seed, self.calls = check_seed(seed), 0
        self.molecule = molecule_of(simulation) if molecule is None else molecule
        check_particles(simulation.system, self.molecule)
        self.temperature_K = (
            integrator_temperature_K(simulation.integrator)
            if temperature_K is None
            else float(temperature_K)
        )
        usual_eV = usual_rise_eV(self.molecule.n_atoms, self.temperature_K)
        self.max_rise_eV = usual_eV if max_rise_eV is None else float(max_rise_eV)
        self.min_distance_A = float(min_distance_A)
        self._set_spacing(interval_fs, check_count("frames", frames))
        self.rejected: Counter[str] = Counter()
        # (step, time in fs, positions (n, 3) in A)
        self._frames: deque[tuple[int, float, NDArray[np.float64]]] = deque(maxlen=HISTORY)
        simulation.reporters.append(self)

    def _set_spacing(self, interval_fs: float | None, frames: int) -> None:
        """Fix the time between collected frames, and between those that are made."""
        model, integrator = self.settings.model, self.simulation.integrator
        self.every = steps_between(integrator, model.dt_range_fs, interval_fs)
        self.interval_fs = self.every * step_fs(integrator)
        self.needed = max(frames, 2, int(model.min_frames))
        self.spacing_fs, self.leaps = self.interval_fs, False
        if isinstance(model, LeapingTrajectoryModel):
            self._set_leaps(model)

    def _set_leaps(self, model: LeapingTrajectoryModel) -> None:
        """Let leaps settle in the Simulation's System; those with a lag need no history."""
        if self.velocities == "proposal":
            raise InputError(
                f"{model.name!r} leaps over picoseconds, whose frames tell no velocities; take "
                "velocities='redraw'"
            )
        kelvin = self.temperature_K
        settle = settle_in(self.simulation.system, temperature_K=kelvin, settle_fs=model.settle_fs)
        made = model.leaping(temperature_K=kelvin, settle=settle)
        self.settings = dataclasses.replace(self.settings, model=made)
        if model.lag_fs is not None:
            self.spacing_fs, self.leaps, self.needed = model.lag_fs, True, 1

    # OpenMM's reporter protocol

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """Called by OpenMM: the next step at which a frame is due."""
        return {
            "steps": self.every - simulation.currentStep % self.every,
            "periodic": False,
            "include": ["positions"],
        }

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Called by OpenMM: keep a frame.

        One that does not follow the last by one interval begins a new history.
        """
        step = int(simulation.currentStep)
        if self._frames and step != self._frames[-1][0] + self.every:
            self._frames.clear()
        time_fs = state.getTime().value_in_unit(unit.femtosecond)
        self._frames.append((step, time_fs, _positions_A(state)))

    def _keep_present(self) -> None:
        """Keep the present frame alone, whether or not it was due."""
        self._frames.clear()
        self.report(self.simulation, self.simulation.context.getState(positions=True))

    # What a user calls

    def collect(self) -> Trajectory:
        """Run plain dynamics until the frames that the model needs are there and the
        present one is the last; they, as a Trajectory.
        """
        if self.leaps:
            return self.history()
        while len(self._frames) < self.needed or self._frames[-1][0] != self.simulation.currentStep:
            missing = self.every - self.simulation.currentStep % self.every
            take_steps(self.simulation.step, missing)
        return self.history()

    def history(self) -> Trajectory:
        """The frames collected.

        Raises
        ------
        InputError
            If they are too few, or the Simulation has gone on beyond the last.
        """
        if self.leaps:  # from where the Simulation stands
            self._keep_present()
        missing = self.needed - len(self._frames)
        if missing > 0:
            raise InputError(
                f"{counted(self.needed, 'frame')} {self.interval_fs:g} fs apart are needed "
                f"before the model {self.settings.model.name!r} goes on "
                f"from them, and {len(self._frames)} were collected; run "
                f"simulation.step({missing * self.every}), or proposer.collect()"
            )
        beyond = int(self.simulation.currentStep) - self._frames[-1][0]
        if beyond:
            raise InputError(
                f"the Simulation is {counted(beyond, 'step')} beyond the last frame; stop it at a "
                f"multiple of {counted(self.every, 'step')}, or call "
                "proposer.collect()"
            )
        _, time_fs, frames = zip(*self._frames, strict=True)
        grid = time_fs[-1] + self.interval_fs * np.arange(1 - len(frames), 1)
        return Trajectory(self.molecule, np.array(frames), grid, provenance={"source": "openmm"})

    def propose(self, n_frames: int, n: int = 1) -> list[TrajectoryProposal]:
        """n continuations by n_frames each that pass the checks; the Context is left as
        it was.

        Raises
        ------
        InputError
            As `history`. NoValidSamplesError if too few pass, with the reasons
            counted.
        """
        check_count("n_frames", n_frames)
        check_count("n", n)
        history = self.history()
        context = self.simulation.context
        before = context.getState(
            positions=True, velocities=True, energy=True, parameters=True, integratorParameters=True
        )
        passed: list[TrajectoryProposal] = []
        reasons: Counter[str] = Counter()
        try:
            for _ in range(self.settings.max_attempts):
                seed = int(sample_seeds(self.seed, self.calls, self.calls + 1)[0])
                self.calls += 1
                for trajectory in self._drawn(history, n_frames, n - len(passed), seed):
                    verdict = self._judged(trajectory, history, before)
                    if isinstance(verdict, str):
                        reasons[verdict] += 1
                    else:
                        passed.append(verdict)
                if len(passed) == n:
                    return passed
        finally:
            context.setState(before)
            self.rejected.update(reasons)
        raise NoValidSamplesError(
            f"{len(passed)} of {counted(n, 'proposal')} passed the checks in "
            f"{counted(self.settings.max_attempts, 'round')}; propose fewer frames, or raise "
            "max_rise_eV if model and System are different potentials.",
            reasons,
        )

    def apply(self, proposal: TrajectoryProposal) -> None:
        """Move the Context to a proposal: positions, velocities, time and step count."""
        self.simulation.context.setState(proposal.state)
        if self.velocities == "redraw":
            self._frames.clear()  # the motion before the jump is not the one after it
            return
        steps = int(self.simulation.currentStep) + self.every * np.arange(
            1 - len(proposal.trajectory), 1
        )
        for step, time_fs, frame in zip(
            steps.tolist(),
            proposal.trajectory.time_fs.tolist(),
            proposal.trajectory.positions_A,
            strict=True,
        ):
            self._frames.append((step, time_fs, frame))

    def step(self, n_frames: int, n: int = 1, *, choose: str = "first") -> TrajectoryProposal:
        """Propose n continuations, and move the Context to the "first", or to the one
        of "lowest" energy.

        Collects frames by plain dynamics before where they are missing. Errors are
        `propose`'s; then the Context is where it was.
        """
        if choose not in CHOICES:
            raise UnknownNameError("choice", str(choose), CHOICES)
        self.collect()
        proposals = self.propose(n_frames, n)
        chosen = (
            proposals[0]
            if choose == "first"
            else min(proposals, key=lambda proposal: proposal.energy_eV)
        )
        self.apply(chosen)
        return chosen

    def _drawn(self, history: Trajectory, n_frames: int, n: int, seed: int) -> list[Trajectory]:
        settings = dataclasses.replace(self.settings, seed=seed)
        job = forecast_job(history, n_frames, settings)
        try:
            made: list[Trajectory] = run(job, n)
        except NoValidSamplesError as error:
            self.rejected.update(error.reasons)
            raise
        self.rejected.update(
            sum((Counter(trajectory.provenance["rejected"]) for trajectory in made), Counter())
        )
        return made

    def _judged(
        self, trajectory: Trajectory, history: Trajectory, before: openmm.State
    ) -> TrajectoryProposal | str:
        """The proposal, or why it is refused. Leaves the Context at its end."""
        context = self.simulation.context
        seed = int(trajectory.provenance["seeds"][-1])
        temperature_K = self.temperature_K if self.velocities == "redraw" else None
        try:
            energy_eV = prepare(
                context,
                unit.Quantity(trajectory.positions_A[-1], unit.angstrom),
                temperature_K=temperature_K,
                seed=seed,
                min_distance_A=self.min_distance_A,
                minimize=False,
            )
        except InputError:
            return OVERLAP
        if (
            energy_eV
            > before.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KJ_MOL_PER_EV
            + self.max_rise_eV
        ):
            return ENERGY
        if self.velocities == "proposal":
            context.setVelocities(_velocities_A_fs(trajectory, history) * NM_PER_A / PS_PER_FS)
            context.applyVelocityConstraints(context.getIntegrator().getConstraintTolerance())
        context.setTime(before.getTime() + len(trajectory) * self.spacing_fs * unit.femtosecond)
        steps = round(len(trajectory) * self.spacing_fs / self.interval_fs * self.every)
        context.setStepCount(before.getStepCount() + steps)
        return TrajectoryProposal(
            trajectory, context.getState(positions=True, velocities=True, energy=True), energy_eV
        )


def _velocities_A_fs(trajectory: Trajectory, history: Trajectory) -> NDArray[np.float64]:
    """Velocities at the last frame, by one-sided differences of second order over the
    last three.
    """
    a, b, c = np.concatenate([history.positions_A[-2:], trajectory.positions_A])[-3:]
    velocities: NDArray[np.float64] = (3 * c - 4 * b + a) / (2 * history.dt_fs)
    return velocities


def _positions_A(state: openmm.State) -> NDArray[np.float64]:
    return np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom), np.float64)
