"""A short simulation from every conformer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from equidrift.adapters.openmm.prepare import (
    finite_energy_eV,
    openmm_seed,
    platform_of,
    positive,
    prepare,
)
from equidrift.adapters.openmm.stepping import explained, take_steps
from equidrift.adapters.openmm.topology import masses_amu, to_topology, whole_residues
from equidrift.errors import InputError, InputTypeError, NoValidSamplesError, UnknownNameError
from equidrift.outputs import claim
from equidrift.records import Ensemble, Molecule
from equidrift.seeds import check_seed, sample_seeds
from equidrift.simulate import SwarmOptions, SwarmResult
from equidrift.text import counted
from equidrift.units import NM_PER_A, PS_PER_FS

REPORTERS = {"xtc": app.XTCReporter, "dcd": app.DCDReporter}
# less than between any two neighbouring elements up to fluorine, more than isotopic averages
# differ
MASS_TOLERANCE_AMU = 0.5
Progress = Callable[[dict[str, Any]], None]


def swarm(
    ensemble: Ensemble,
    system: openmm.System | app.ForceField,
    time_ps: float,
    options: SwarmOptions,
) -> SwarmResult:
    """Langevin dynamics from every conformer; see `equidrift.simulate.swarm`, which
    also knows a default System.
    """
    if not len(ensemble):
        raise InputError("the ensemble holds no conformers; give one with at least one")
    n_steps, every = _plan(time_ps, options.timestep_fs, options.interval_ps)
    positive("temperature_K", options.temperature_K, 300)
    positive("friction_per_ps", options.friction_per_ps, 1)
    check_seed(options.seed)
    if options.format not in REPORTERS:
        raise UnknownNameError("trajectory format", str(options.format), REPORTERS)
    ensemble, topology, system = _matched(ensemble, system)
    positions = [unit.Quantity(frame * NM_PER_A, unit.nanometer) for frame in ensemble.positions_A]
    dynamics = _Dynamics(topology, system, n_steps, time_ps, platform_of(options.platform), options)
    topology_path, paths = _paths(options.output, options.format, len(ensemble))
    claim([topology_path, *paths], overwrite=options.overwrite)
    _write_topology(topology, positions, topology_path)

    def simulate(k: int) -> float:
        reporter = partial(
            REPORTERS[options.format], str(paths[k]), every, enforcePeriodicBox=False
        )
        return dynamics.run(positions[k], int(sample_seeds(options.seed, k, k + 1)[0]), reporter)

    return _each(simulate, topology_path, paths, options.progress)


def _matched(
    ensemble: Ensemble, system: openmm.System | app.ForceField
) -> tuple[Ensemble, app.Topology, openmm.System]:
    """Ensemble, Topology and System in one order of atoms."""
    if not isinstance(system, openmm.System) or not _fits(ensemble.molecule, system):
        ensemble = whole_residues(ensemble)  # the order of `to_openmm`
    topology = to_topology(ensemble.molecule)
    return ensemble, topology, _system_for(ensemble.molecule, topology, system)


@dataclass(frozen=True, eq=False)
class _Dynamics:
    """Langevin dynamics of one System, the same for every conformer.

    Parameters
    ----------
    topology, system : app.Topology, openmm.System
        Of the molecule, in the same order of atoms.
    steps : int
        Of each run.
    time_ps : float
        Of each run, in ps.
    platform : openmm.Platform or None
        None takes OpenMM's choice.
    options : SwarmOptions
        Temperature, step and friction of the integrator, properties of the platform.
    """

    topology: app.Topology
    system: openmm.System
    steps: int
    time_ps: float
    platform: openmm.Platform | None
    options: SwarmOptions

    def run(self, positions: unit.Quantity, seed: int, reporter: Callable[[], Any]) -> float:
        """Potential energy in eV after a run from these positions; the reporter is made
        after minimisation.
        """
        options = self.options
        chosen = (self.platform, dict(options.platform_properties or {}))
        integrator = openmm.LangevinMiddleIntegrator(
            options.temperature_K, options.friction_per_ps, options.timestep_fs * PS_PER_FS
        )
        integrator.setRandomNumberSeed(openmm_seed(seed))
        with explained("making a Context of this System"):
            simulation = app.Simulation(
                self.topology, self.system, integrator, *(() if self.platform is None else chosen)
            )
        prepare(simulation, positions, temperature_K=options.temperature_K, seed=seed)
        simulation.reporters.append(reporter())
        take_steps(simulation.step, self.steps)
        return finite_energy_eV(simulation.context, f"after {self.time_ps:g} ps")


def _each(
    simulate: Callable[[int], float],
    topology_path: Path,
    paths: list[Path],
    progress: Progress | None,
) -> SwarmResult:
    """Run every conformer; a failing one is noted, and its file removed, so that what
    is on disk is whole.
    """
    energies = np.full(len(paths), np.nan)
    failures: dict[int, str] = {}
    for k, path in enumerate(paths):
        try:
            energies[k] = simulate(k)
        except (InputError, openmm.OpenMMException, ValueError) as error:
            failures[k] = str(error)
            path.unlink(missing_ok=True)
        if progress is not None:
            progress(
                {"stage": "swarm", "done": k + 1, "total": len(paths), "failed": len(failures)}
            )
    if len(failures) == len(paths):
        topology_path.unlink(missing_ok=True)
        raise NoValidSamplesError(
            "dynamics failed for every conformer.", Counter(failures.values())
        )
    return SwarmResult(
        topology_path,
        tuple(None if k in failures else path for k, path in enumerate(paths)),
        energies,
        failures,
    )


def _plan(time_ps: float, timestep_fs: float, interval_ps: float | None) -> tuple[int, int]:
    """(steps, steps between frames)."""
    step_ps = positive("timestep_fs", timestep_fs, 1) * PS_PER_FS
    n_steps = round(positive("time_ps", time_ps, 1) / step_ps)
    if n_steps < 1:
        raise InputError(
            f"time_ps={time_ps:g} is less than one step of timestep_fs={timestep_fs:g}; give "
            f"at least {step_ps:g}"
        )
    every = (
        max(n_steps // 100, 1)
        if interval_ps is None
        else round(positive("interval_ps", interval_ps, 0.01) / step_ps)
    )
    if not 1 <= every <= n_steps:
        raise InputError(
            f"interval_ps={interval_ps:g} must lie between one step ({step_ps:g} ps) and the "
            f"whole time ({time_ps:g} ps), "
            "or no frame would be written"
        )
    return n_steps, every


def _paths(output: str | Path, format: str, n: int) -> tuple[Path, list[Path]]:
    """(topology, one trajectory per conformer); the folder is made, and found writable."""
    folder = str(output).endswith(("/", os.sep)) or Path(output).is_dir()
    base = Path(output) / "conformer" if folder else Path(output)
    topology = base.with_name("topology.pdb" if folder else base.name + ".top.pdb")
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {base.parent} for output={str(output)!r}: "
            f"{error.strerror}; choose another"
        ) from error
    if not os.access(base.parent, os.W_OK):
        raise InputError(
            f"cannot write in the folder {base.parent} of output={str(output)!r}; choose "
            f"another, or change its permissions"
        )
    width = max(4, len(str(n - 1)))
    return topology, [base.with_name(f"{base.name}_{k:0{width}d}.{format}") for k in range(n)]


def _write_topology(topology: app.Topology, positions: list[unit.Quantity], path: Path) -> None:
    """A PDB of the first conformer that has finite coordinates within what its columns
    can hold.
    """
    usable = [
        frame for frame in positions if np.abs(frame.value_in_unit(unit.angstrom)).max() < 1e4
    ]
    n_atoms = topology.getNumAtoms()
    frame = usable[0] if usable else unit.Quantity(np.zeros((n_atoms, 3)), unit.nanometer)
    try:
        with open(path, "w") as handle:
            app.PDBFile.writeFile(topology, frame, handle, keepIds=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another output") from error


def _system_for(
    molecule: Molecule, topology: app.Topology, system: openmm.System | app.ForceField
) -> openmm.System:
    """The System to run: given, and of this molecule; or what a ForceField makes of it."""
    if isinstance(system, app.ForceField):
        try:
            system = system.createSystem(topology, nonbondedMethod=app.NoCutoff)
        except (ValueError, KeyError, openmm.OpenMMException) as error:
            raise InputError(
                f"the ForceField has no parameters for {molecule!r}: {error} Add a residue "
                f"template for it, pass your own System, or "
                "system=None for MMFF94"
            ) from error
        for k in np.flatnonzero(molecule.isotopes).tolist():  # a force field knows elements only
            system.setParticleMass(k, masses_amu(molecule)[k])
    if not isinstance(system, openmm.System):
        raise InputTypeError(
            f"system must be an openmm.System or app.ForceField, not {type(system).__name__}"
        )
    _check_same_atoms(molecule, system)
    return system


def _fits(molecule: Molecule, system: openmm.System) -> bool:
    """Whether a System is of this molecule, in its order of atoms."""
    try:
        _check_same_atoms(molecule, system)
    except InputError:
        return False
    return True


def _check_same_atoms(molecule: Molecule, system: openmm.System) -> None:
    """A System knows masses only; those of each heavy atom and its hydrogens together,
    so that repartitioned masses pass.
    """
    n = molecule.n_atoms
    if system.getNumParticles() != n:
        raise InputError(
            f"the System has {counted(system.getNumParticles(), 'particle')}, but "
            f"{molecule!r} has {n} "
            f"atoms; pass the System of this molecule, "
            "with no solvent"
        )
    masses = np.array([system.getParticleMass(k).value_in_unit(unit.dalton) for k in range(n)])
    wanted = masses_amu(molecule)
    owner = np.arange(n)
    for i, j in molecule.bonds.tolist():
        if molecule.numbers[i] == 1 or molecule.numbers[j] == 1:
            owner[j if molecule.numbers[j] == 1 else i] = i if molecule.numbers[j] == 1 else j
    frozen = np.isin(owner, owner[masses == 0])  # mass 0 is OpenMM's way to hold an atom fixed
    excess = np.bincount(owner, masses - wanted, minlength=n)[owner]
    swapped = (molecule.numbers == 1) & (masses >= masses[owner]) & (molecule.numbers[owner] > 1)
    wrong = np.flatnonzero(~frozen & ((np.abs(excess) > MASS_TOLERANCE_AMU) | swapped))
    if len(wrong):
        k = int(wrong[0])
        raise InputError(
            f"particle {k} of the System weighs {masses[k]:.3f} amu, but atom {k} of {molecule!r} "
            f"is {molecule.symbols[k]} ({wanted[k]:.3f} amu); give the System the molecule's atoms "
            "in its order"
        )
