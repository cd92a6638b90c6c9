"""Simulations that have been minimised, the trajectories they write, and energies of a
System.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import app, unit

from equidrift.adapters.openmm.pdb import graph_of, read_pdb
from equidrift.adapters.openmm.prepare import closest_pair, prepare
from equidrift.adapters.openmm.stepping import explained, take_steps
from equidrift.errors import InputError, UnknownNameError
from equidrift.outputs import topology_beside
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A, PS_PER_FS

__all__ = [
    "Langevin",
    "State",
    "SystemEnergy",
    "close_writers",
    "closest_pair",
    "energy_of",
    "graph_of",
    "make_simulation",
    "positions",
    "prepare",
    "put",
    "read_pdb",
    "replica_exchange",
    "simulation_with",
    "write_to",
]

REPORTERS = {".xtc": app.XTCReporter, ".dcd": app.DCDReporter}
# up to this size the Reference platform is faster than CPU: 18,600 against 2,400 steps/s
# for 31 atoms in MMFF94
REFERENCE_ATOMS = 150
RELAXED_KJ_MOL_NM = 10.0  # root mean square force at which `Langevin.relax` ends


def check_platform(platform: str | None) -> None:
    """Refuse a platform that OpenMM does not have here.

    Raises
    ------
    UnknownNameError
        With the names of those it has.
    """
    known = [
        openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())
    ]
    if platform is not None and platform not in known:
        raise UnknownNameError("OpenMM platform", platform, known)


def _platform(name: str | None, threads: int | None) -> tuple[Any, ...]:
    """What `app.Simulation` takes after the integrator."""
    if name is None:
        return ()
    platform = openmm.Platform.getPlatform(name)
    return (platform, {"Threads": str(threads)}) if name == "CPU" and threads else (platform,)


def make_simulation(  # noqa: PLR0913 - what a simulation is made of
    topology: app.Topology,
    system: openmm.System,
    positions_A: NDArray[np.float64],
    *,
    temperature_K: float,
    timestep_fs: float,
    friction_per_ps: float,
    seed: int,
    platform: str | None = None,
    threads: int | None = None,
) -> app.Simulation:
    """A minimised Simulation with a LangevinMiddle integrator and velocities.

    Parameters
    ----------
    platform : str, optional
        None takes Reference for small systems and OpenMM's fastest for others.
    threads : int, optional
        Of the platform "CPU"; None takes OPENMM_CPU_THREADS, or all cores.

    Raises
    ------
    InputError
        If the structure cannot be simulated, or there is no such platform.
    """
    check_platform(platform)
    if platform is None and system.getNumParticles() <= REFERENCE_ATOMS:
        platform = "Reference"
    integrator = openmm.LangevinMiddleIntegrator(
        temperature_K, friction_per_ps, timestep_fs * PS_PER_FS
    )
    integrator.setRandomNumberSeed(seed % (2**31 - 2) + 1)
    extra = _platform(platform, threads)
    try:
        simulation = app.Simulation(topology, system, integrator, *extra)
    except openmm.OpenMMException as error:
        raise InputError(
            f"OpenMM cannot simulate this System on the platform {platform or 'it prefers'}: "
            f"{error}"
        ) from error
    prepare(simulation, positions_A * NM_PER_A, temperature_K=temperature_K, seed=seed)
    return simulation


def positions(simulation: app.Simulation) -> NDArray[np.float64]:
    """(n, 3) positions in A."""
    state = simulation.context.getState(positions=True)
    return np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom), np.float64)


def put(simulation: app.Simulation, positions_A: NDArray[np.float64]) -> None:
    """Place the particles."""
    simulation.context.setPositions(positions_A * NM_PER_A)


def energy_of(simulation: app.Simulation) -> Callable[[NDArray[np.float64]], float]:
    """positions_A (n, 3) -> potential energy in eV; the Context is left there."""

    def energy(positions_A: NDArray[np.float64]) -> float:
        put(simulation, positions_A)
        found = simulation.context.getState(energy=True).getPotentialEnergy()
        return float(found.value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV

    return energy


def write_to(
    simulation: app.Simulation, path: str | os.PathLike[str], every: int, *, append: bool
) -> None:
    """Add a reporter for a .xtc or .dcd file, and write the topology beside it
    (run.top.pdb).
    """
    file = Path(path)
    if not append:
        file.unlink(missing_ok=True)
        with open(topology_beside(file), "w") as handle:
            app.PDBFile.writeFile(
                simulation.topology, positions(simulation) * unit.angstrom, handle, keepIds=True
            )
    simulation.reporters.append(
        REPORTERS[file.suffix.lower()](str(file), every, append=append, enforcePeriodicBox=False)
    )


def close_writers(simulation: app.Simulation) -> None:
    """Drop the reporters, so that what they hold is on disk."""
    simulation.reporters.clear()


@dataclass(frozen=True)
class State:
    """Positions_A, velocities_A_fs and, if asked for, forces_eV_A, (n, 3) each."""

    positions_A: NDArray[np.float64]
    velocities_A_fs: NDArray[np.float64]
    forces_eV_A: NDArray[np.float64] | None


class Langevin:
    """A run of a System under LangevinMiddle on the Reference platform, whose random
    numbers a seed fixes.

    Parameters
    ----------
    positions_A : array
        (n, 3), where it starts; velocities are drawn from the temperature unless given
        as velocities_A_fs.
    """

    def __init__(
        self,
        system: openmm.System,
        positions_A: NDArray[np.float64],
        *,
        temperature_K: float,
        friction_per_fs: float,
        step_fs: float,
        seed: int,
        velocities_A_fs: NDArray[np.float64] | None = None,
    ):
        number = seed % (2**31 - 2) + 1
        self.integrator = openmm.LangevinMiddleIntegrator(
            temperature_K, friction_per_fs / PS_PER_FS, step_fs * PS_PER_FS
        )
        self.integrator.setRandomNumberSeed(number)
        self.context = openmm.Context(
            system, self.integrator, openmm.Platform.getPlatformByName("Reference")
        )
        self.context.setPositions(positions_A * NM_PER_A)
        if velocities_A_fs is None:
            self.context.setVelocitiesToTemperature(temperature_K, number)
        else:
            self.context.setVelocities(velocities_A_fs * NM_PER_A / PS_PER_FS)

    @property
    def masses_amu(self) -> NDArray[np.float64]:
        """Masses (n,)."""
        system = self.context.getSystem()
        masses = [system.getParticleMass(k) for k in range(system.getNumParticles())]
        return np.array([mass.value_in_unit(unit.dalton) for mass in masses])

    def put(self, positions_A: NDArray[np.float64], velocities_A_fs: NDArray[np.float64]) -> None:
        """Go on from another state, (n, 3) each."""
        self.context.setPositions(positions_A * NM_PER_A)
        self.context.setVelocities(velocities_A_fs * NM_PER_A / PS_PER_FS)

    def relax(self, positions_A: NDArray[np.float64], steps: int) -> None:
        """Go on from positions (n, 3) after up to `steps` steps of a minimiser."""
        self.context.setPositions(positions_A * NM_PER_A)
        openmm.LocalEnergyMinimizer.minimize(self.context, RELAXED_KJ_MOL_NM, steps)

    def warm(self, temperature_K: float, seed: int) -> None:
        """Draw velocities of a temperature."""
        self.context.setVelocitiesToTemperature(temperature_K, seed % (2**31 - 2) + 1)

    def forces_at(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Forces (n, 3) in eV/A at positions (n, 3), where the run then stands."""
        self.context.setPositions(positions_A * NM_PER_A)
        return _forces_eV_A(self.context.getState(forces=True))

    def run(self, steps: int, forces: bool = False) -> State:
        """The state `steps` steps later."""
        take_steps(self.integrator.step, steps)
        state = self.context.getState(positions=True, velocities=True, forces=forces)
        velocities = state.getVelocities(asNumpy=True).value_in_unit(
            unit.angstrom / unit.femtosecond
        )
        pull = None
        if forces:
            pull = _forces_eV_A(state)
        return State(
            state.getPositions(asNumpy=True).value_in_unit(unit.angstrom), velocities, pull
        )


def _forces_eV_A(state: openmm.State) -> NDArray[np.float64]:
    forces = state.getForces(asNumpy=True)
    pull = forces.value_in_unit(unit.kilojoule_per_mole / unit.angstrom) / KJ_MOL_PER_EV
    return np.asarray(pull, np.float64)


class SystemEnergy:
    """(k, n, 3) positions in A -> (k,) potential energies in eV; NaN if there is
    none.

    Parameters
    ----------
    system : openmm.System
        Without constraints: a density of all Cartesian coordinates
        says nothing of a constrained one.
    platform : str
        Its name; CPU uses the threads of OPENMM_CPU_THREADS.

    Raises
    ------
    InputError
        For a System with constraints.
    """

    def __init__(self, system: openmm.System, platform: str = "CPU") -> None:
        if system.getNumConstraints():
            raise InputError(
                f"the System has {system.getNumConstraints()} constraints, and a density of "
                f"Cartesian coordinates has no weights there; "
                "build it with constraints=None, rigidWater=False"
            )
        self.n_atoms = system.getNumParticles()
        integrator = openmm.VerletIntegrator(0.001)
        try:
            host = openmm.Platform.getPlatformByName(platform)
            self._context = openmm.Context(system, integrator, host)
        except openmm.OpenMMException as error:
            raise InputError(
                f"OpenMM cannot evaluate this System on the platform {platform}: {error}"
            ) from error

    def __call__(self, positions_A: ArrayLike) -> NDArray[np.float64]:
        """Energies (k,) in eV of positions (k, n, 3) in A."""
        x = np.asarray(positions_A, np.float64)
        if x.ndim != 3 or x.shape[1:] != (self.n_atoms, 3):
            raise InputError(
                f"positions_A has shape {x.shape}, expected (k, {self.n_atoms}, 3), in A"
            )
        return np.array([self._one(frame) for frame in x])

    def _one(self, x: NDArray[np.float64]) -> float:
        if not np.isfinite(x).all():
            return np.nan
        try:
            self._context.setPositions(x * NM_PER_A)
            energy = self._context.getState(energy=True).getPotentialEnergy()
        except openmm.OpenMMException:
            return np.nan
        return float(energy.value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV


def simulation_with(
    integrator: openmm.Integrator,
    topology: app.Topology,
    system: openmm.System,
    positions_A: NDArray[np.float64],
    temperature_K: float,
    platform: str,
    threads: int | None = None,
) -> app.Simulation:
    """A minimised Simulation on a platform; `threads` as in `make_simulation`."""
    simulation = app.Simulation(topology, system, integrator, *_platform(platform, threads))
    simulation.context.setPositions(positions_A * NM_PER_A)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(temperature_K, 1)
    return simulation


def replica_exchange(
    simulation: app.Simulation, temperatures_K: Sequence[float], steps: int
) -> Callable[[], NDArray[np.float64]]:
    """OpenMM's replica exchange: each call runs an iteration of `steps` steps per replica
    and gives positions_A of the coldest state.
    """
    states: list[dict[str, Any]] = [
        {"temperature": temperature * unit.kelvin} for temperature in temperatures_K
    ]
    exchange = app.ReplicaExchangeSampler(states, simulation, steps)

    def advance() -> NDArray[np.float64]:
        with explained(f"taking {steps} steps of every replica"):
            exchange.simulate(1)
        conformation = exchange.replicaConformation[exchange.replicaStateIndex.index(0)]
        return np.asarray(
            conformation.getPositions(asNumpy=True).value_in_unit(unit.angstrom), np.float64
        )

    return advance
