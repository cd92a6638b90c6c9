"""What `equidrift md` needs of OpenMM: a System from a PDB and force field files, a
Simulation that has been minimised, trajectories.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import app, unit

from equidrift.adapters.openmm.topology import _positions_A, residue_id
from equidrift.errors import InputError, InputTypeError, UnknownNameError
from equidrift.outputs import topology_beside
from equidrift.records import Molecule
from equidrift.seeds import check_seed
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A, PS_PER_FS

REPORTERS = {".xtc": app.XTCReporter, ".dcd": app.DCDReporter}
REFERENCE_ATOMS = 150  # below, the Reference platform is faster than CPU: 18,600 against 2,400 steps/s for 31 atoms in MMFF94
_ORDERS = {app.Single: 1.0, app.Double: 2.0, app.Triple: 3.0, app.Aromatic: 1.5, app.Amide: 1.0}

NO_BOX_A = 1.001
PME_CUTOFF_NM = 0.9
# what OpenMM raises for files and residues that it cannot use
_OPENMM_ERRORS = (
    openmm.OpenMMException,
    ValueError,
    KeyError,
    OSError,
    IndexError,
    AttributeError,
    TypeError,
)


def read_pdb(
    path: str | os.PathLike[str], forcefield: Sequence[str], constraints: str | None
) -> tuple[app.Topology, openmm.System, NDArray[np.float64], Molecule]:
    """Topology, System, positions_A (n, 3) and graph of a PDB file with any OpenMM
    force field files.

    Parameters
    ----------
    path : a PDB file with every hydrogen.
    forcefield : files for `app.ForceField`, for example amber14-all.xml and
        implicit/obc2.xml.
    constraints : "HBonds", "AllBonds", "HAngles" or None.

    Raises
    ------
    InputError
        for a file that cannot be read, or residues the force field has no parameters
        for.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {os.fspath(path)!r}")
    try:
        pdb = app.PDBFile(os.fspath(path))
        field = app.ForceField(*forcefield)
    except _OPENMM_ERRORS as error:
        raise _unusable(path, forcefield, error) from error
    topology = pdb.topology
    if not _is_a_box(topology):
        topology.setPeriodicBoxVectors(None)
    options = {"constraints": None if constraints is None else getattr(app, constraints)}
    try:
        system = field.createSystem(topology, nonbondedMethod=app.NoCutoff, **options)
        if _is_implicit(system):
            topology.setPeriodicBoxVectors(None)  # a continuum has no box
        elif topology.getPeriodicBoxVectors() is not None:
            _check_box(path, topology)
            pme = {"nonbondedMethod": app.PME, "nonbondedCutoff": PME_CUTOFF_NM * unit.nanometer}
            system = field.createSystem(topology, **pme, **options)
    except _OPENMM_ERRORS as error:
        raise _unusable(path, forcefield, error) from error
    positions_A = np.asarray(
        pdb.getPositions(asNumpy=True).value_in_unit(unit.angstrom), np.float64
    )
    return topology, system, positions_A, graph_of(topology)


def _unusable(
    path: str | os.PathLike[str], forcefield: Sequence[str], error: Exception
) -> InputError:
    return InputError(
        f"{os.fspath(path)!r} with {', '.join(forcefield)}: {type(error).__name__}: {error} Add "
        "missing hydrogens (openmm.app.Modeller), or give other --forcefield files"
    )


def _is_a_box(topology: app.Topology) -> bool:
    """Whether a CRYST1 record is a box: 1 x 1 x 1 A stands for none in PDB files."""
    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return False
    edges = np.linalg.norm(np.array(vectors.value_in_unit(unit.angstrom)), axis=1)
    return bool((edges > NO_BOX_A).all())


def _is_implicit(system: openmm.System) -> bool:
    """Whether a System has a continuum as its solvent."""
    kinds = (openmm.GBSAOBCForce, openmm.CustomGBForce)
    return any(isinstance(force, kinds) for force in system.getForces())


def _check_box(path: str | os.PathLike[str], topology: app.Topology) -> None:
    """Refuse a box that PME's cutoff does not fit into."""
    box = np.array(topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
    width = float(np.diag(box).min())
    if width < 2 * PME_CUTOFF_NM:
        raise InputError(
            f"the box of {os.fspath(path)!r} (CRYST1) is {10 * width:.1f} A wide, and the cutoff of "
            f"{10 * PME_CUTOFF_NM:.0f} A needs {20 * PME_CUTOFF_NM:.0f}; remove the CRYST1 record for a "
            "molecule in vacuum, add an implicit solvent (--forcefield ...,implicit/obc2.xml), or "
            "solvate it in a larger box"
        )


def graph_of(topology: app.Topology) -> Molecule:
    """The atoms and bonds of a Topology; orders it does not have are 0, charges 0."""
    atoms = list(topology.atoms())
    missing = [atom.name for atom in atoms if atom.element is None]
    if missing:
        raise InputError(
            f"atom {missing[0]} has no element; remove virtual sites and extra particles from the PDB file"
        )
    bonds = [
        (bond.atom1.index, bond.atom2.index, _ORDERS.get(bond.type, float(bond.order or 0)))
        for bond in topology.bonds()
    ]
    return Molecule(
        numbers=np.array([atom.element.atomic_number for atom in atoms]),
        bonds=np.array([bond[:2] for bond in bonds], np.int64),
        bond_orders=np.array([bond[2] for bond in bonds]),
        formal_charges=np.array([atom.formalCharge or 0 for atom in atoms]),
        atom_names=tuple(atom.name for atom in atoms),
        residue_names=tuple(atom.residue.name for atom in atoms),
        residue_ids=tuple(residue_id(atom.residue) for atom in atoms),
        chain_ids=tuple(atom.residue.chain.id for atom in atoms),
        insertion_codes=tuple(atom.residue.insertionCode.strip() for atom in atoms),
    )


def make_simulation(
    topology: app.Topology,
    system: openmm.System,
    positions_A: NDArray[np.float64],
    *,
    temperature_K: float,
    timestep_fs: float,
    friction_per_ps: float,
    seed: int,
    platform: str | None = None,
) -> app.Simulation:
    """A minimised Simulation with a LangevinMiddle integrator and velocities.

    Parameters
    ----------
    platform : None takes Reference for small systems and OpenMM's fastest for others.

    Raises
    ------
    InputError
        where the structure cannot be simulated, or there is no such platform.
    """
    known = [
        openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())
    ]
    if platform is not None and platform not in known:
        raise UnknownNameError("OpenMM platform", platform, known)
    if platform is None and system.getNumParticles() <= REFERENCE_ATOMS:
        platform = "Reference"
    integrator = openmm.LangevinMiddleIntegrator(
        temperature_K, friction_per_ps, timestep_fs * PS_PER_FS
    )
    integrator.setRandomNumberSeed(seed % (2**31 - 2) + 1)
    extra = () if platform is None else (openmm.Platform.getPlatform(platform),)
    try:
        simulation = app.Simulation(topology, system, integrator, *extra)
    except openmm.OpenMMException as error:
        raise InputError(
            f"OpenMM cannot simulate this System on the platform {platform or 'it prefers'}: {error}"
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
    """Positions_A, velocities_A_fs and, where asked for, forces_eV_A, (n, 3) each."""

    positions_A: NDArray[np.float64]
    velocities_A_fs: NDArray[np.float64]
    forces_eV_A: NDArray[np.float64] | None


class Langevin:
    """A run of a System under LangevinMiddle on the Reference platform, whose random
    numbers a seed fixes.

    Parameters
    ----------
    positions_A : (n, 3), where it starts; velocities are drawn from the temperature
        unless given as velocities_A_fs.
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

    def run(self, steps: int, forces: bool = False) -> State:
        """The state `steps` steps later."""
        self.integrator.step(steps)
        state = self.context.getState(positions=True, velocities=True, forces=forces)
        velocities = state.getVelocities(asNumpy=True).value_in_unit(
            unit.angstrom / unit.femtosecond
        )
        pull = None
        if forces:
            pull = (
                state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
                / KJ_MOL_PER_EV
            )
        return State(
            state.getPositions(asNumpy=True).value_in_unit(unit.angstrom), velocities, pull
        )


class SystemEnergy:
    """(k, n, 3) positions in A -> (k,) potential energies in eV; NaN where there is
    none.

    Parameters
    ----------
    system : an openmm System, without constraints: a density of all Cartesian
        coordinates says nothing of a constrained one.
    platform : name; CPU uses the threads of OPENMM_CPU_THREADS.

    Raises
    ------
    InputError
        for a System with constraints.
    """

    def __init__(self, system: openmm.System, platform: str = "CPU") -> None:
        if system.getNumConstraints():
            raise InputError(
                f"the System has {system.getNumConstraints()} constraints, and a density of Cartesian coordinates has no weights there; "
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
) -> app.Simulation:
    """A minimised Simulation on a platform."""
    simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform(platform))
    simulation.context.setPositions(positions_A * NM_PER_A)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(temperature_K, 1)
    return simulation


def replica_exchange(
    simulation: app.Simulation, temperatures_K: Sequence[float], steps: int
) -> Callable[[], NDArray[np.float64]]:
    """OpenMM's replica exchange: each call runs an iteration of `steps` steps a replica
    and gives positions_A of the coldest state.
    """
    states: list[dict[str, Any]] = [
        {"temperature": temperature * unit.kelvin} for temperature in temperatures_K
    ]
    exchange = app.ReplicaExchangeSampler(states, simulation, steps)

    def advance() -> NDArray[np.float64]:
        exchange.simulate(1)
        conformation = exchange.replicaConformation[exchange.replicaStateIndex.index(0)]
        return np.asarray(
            conformation.getPositions(asNumpy=True).value_in_unit(unit.angstrom), np.float64
        )

    return advance


STAGES_KJ_MOL_NM = (
    1000.0,
    100.0,
    10.0,
)  # force tolerances: clashes first, the shape of the minimum last


def prepare(
    simulation: app.Simulation | openmm.Context,
    positions: Any,
    *,
    temperature_K: float | None = None,
    seed: int | None = None,
    min_distance_A: float = 0.5,
    minimize: bool = True,
) -> float:
    """Set positions in a Context, minimise in stages, and draw velocities; look for
    trouble before and after.

    Parameters
    ----------
    simulation : app.Simulation or openmm.Context; left at the minimum.
    positions : (n_particles, 3) Quantity, or bare numbers in nm as everywhere in
        OpenMM.
    temperature_K : velocities are drawn at this temperature; None leaves them zero.
    seed : of the velocities; None lets OpenMM choose.
    min_distance_A : closer pairs are refused (virtual sites and periodic images are not
        looked at); 0 switches the check off.
    minimize : False sets the positions as they are.

    Returns
    -------
    float
        potential energy in eV.

    Raises
    ------
    InputError
        where positions have the wrong shape, hold NaN or overlapping atoms (the pair is
        named), where the energy or a force is not finite before or after minimisation,
        or where temperature, seed or distance cannot be used.
    """
    context = getattr(simulation, "context", simulation)
    if not isinstance(context, openmm.Context):
        raise InputTypeError(
            f"expected an openmm.app.Simulation or an openmm.Context, not {type(simulation).__name__}"
        )
    if temperature_K is not None:
        _positive("temperature_K", temperature_K, 300)
    if not 0 <= min_distance_A < math.inf:
        raise InputError(
            f"min_distance_A must be 0 or a positive length, not {min_distance_A}; give for example 0.5"
        )
    velocity_seed = None if seed is None else _openmm_seed(seed)
    system = context.getSystem()
    placed = _positions_A(positions, system.getNumParticles())
    if len(placed) != 1:
        raise InputError(
            f"positions hold {len(placed)} conformers, and a Context takes one; call prepare once for each"
        )
    _check_positions(system, placed[0], min_distance_A)
    try:
        energy = _minimised_eV(context, placed[0], minimize)
    except openmm.OpenMMException as error:
        raise InputError(
            f"OpenMM cannot start from these positions: {error}; check that the System belongs to "
            "this molecule, and that it fits into its box"
        ) from error
    if temperature_K is None:
        context.setVelocities(np.zeros_like(placed[0]))
    else:
        context.setVelocitiesToTemperature(
            temperature_K, *(() if velocity_seed is None else (velocity_seed,))
        )
    return energy


def _minimised_eV(
    context: openmm.Context, positions_A: NDArray[np.float64], minimize: bool
) -> float:
    """Potential energy at the positions, or at the minimum near them."""
    context.setPositions(positions_A * NM_PER_A)
    context.computeVirtualSites()
    context.applyConstraints(context.getIntegrator().getConstraintTolerance())
    energy = _finite_energy_eV(context, "before minimisation")
    if not minimize:
        return energy
    for tolerance in STAGES_KJ_MOL_NM:
        openmm.LocalEnergyMinimizer.minimize(context, tolerance)
        energy = _finite_energy_eV(context, f"after minimisation to {tolerance:g} kJ/mol/nm")
    return energy


def _check_positions(
    system: openmm.System, positions_A: NDArray[np.float64], min_distance_A: float
) -> None:
    bad = np.flatnonzero(~np.isfinite(positions_A).all(axis=1))
    if len(bad):
        raise InputError(
            f"positions of atom {bad[0]} are not finite ({len(bad)} such atoms); leave this conformer out or generate it again"
        )
    real = np.array([k for k in range(len(positions_A)) if not system.isVirtualSite(k)], np.int64)
    pair = closest_pair(positions_A[real], min_distance_A)
    if pair is not None:
        i, j, distance = pair
        raise InputError(
            f"atoms {real[i]} and {real[j]} lie {distance:.3f} A apart, closer than min_distance_A={min_distance_A:g}; leave this "
            "conformer out or generate it again (min_distance_A=0 switches the check off)"
        )


def closest_pair(positions_A: NDArray[np.float64], below_A: float) -> tuple[int, int, float] | None:
    """The closest two atoms, (i, j, distance) with i < j, where they are closer than
    `below_A`, else None.

    A sweep along x: in this order only atoms a few places apart can be close, so memory
    stays linear for solvated systems too.
    """
    order = np.argsort(positions_A[:, 0], kind="stable")
    sorted_A = positions_A[order]
    best: tuple[int, int, float] | None = None
    for step in range(1, len(order)):
        close = np.flatnonzero(sorted_A[step:, 0] - sorted_A[:-step, 0] < below_A)
        if not len(close):
            break
        distances = np.linalg.norm(sorted_A[close + step] - sorted_A[close], axis=1)
        k = int(distances.argmin())
        if distances[k] < (below_A if best is None else best[2]):
            i, j = sorted((int(order[close[k]]), int(order[close[k] + step])))
            best = (i, j, float(distances[k]))
    return best


def _finite_energy_eV(context: openmm.Context, when: str) -> float:
    """The potential energy, or InputError that names the atom with the worst force."""
    state = context.getState(energy=True, forces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    size = np.linalg.norm(
        state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer),
        axis=1,
    )
    if math.isfinite(energy) and np.isfinite(size).all():
        return float(energy) / KJ_MOL_PER_EV
    broken = np.flatnonzero(~np.isfinite(size))
    where = (
        f"the force on atom {broken[0]} is not finite" if len(broken) else "the forces are finite"
    )
    raise InputError(
        f"the energy {when} is {energy} kJ/mol and {where}; check that the System belongs to this molecule and atom order, "
        "and leave this conformer out or generate it again"
    )


def _openmm_seed(seed: int) -> int:
    """A seed OpenMM takes: 31 bits, and never 0, which asks OpenMM for a seed of its
    own.
    """
    return check_seed(seed) % (2**31 - 2) + 1


def _positive(name: str, value: Any, example: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InputTypeError(
            f"{name} must be a number without OpenMM units, not {value!r}; give for example {name}={example}"
        )
    if not 0 < value < math.inf:
        raise InputError(
            f"{name} must be positive and finite, not {value}; give for example {name}={example}"
        )
    return float(value)


def _platform(platform: str | openmm.Platform | None) -> openmm.Platform | None:
    if platform is None or isinstance(platform, openmm.Platform):
        return platform
    known = [
        openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())
    ]
    if platform not in known:
        raise UnknownNameError("OpenMM platform", str(platform), known)
    return openmm.Platform.getPlatform(platform)
