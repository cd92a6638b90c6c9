"""Ensemble <-> OpenMM Topology and positions, a careful start of a simulation, and short dynamics from every conformer."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import app, unit

from equidrift.errors import InputError, InputTypeError, NoValidSamplesError, UnknownNameError
from equidrift.outputs import claim
from equidrift.records import Ensemble, Molecule
from equidrift.registry import resolve
from equidrift.residues import reordered, residue_keys, residue_order
from equidrift.seeds import check_seed, sample_seeds
from equidrift.simulate import SwarmResult
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A, PS_PER_FS

BOND_TYPES = {1.0: app.Single, 2.0: app.Double, 3.0: app.Triple, 1.5: app.Aromatic}
REPORTERS = {"xtc": app.XTCReporter, "dcd": app.DCDReporter}
STAGES_KJ_MOL_NM = (1000.0, 100.0, 10.0)  # force tolerances: clashes first, the shape of the minimum last
MASS_TOLERANCE_AMU = 0.5  # less than between any two neighbouring elements up to fluorine, more than isotopic averages differ
Progress = Callable[[dict[str, Any]], None]


# Topology ------------------------------------------------------------------------------------------------------------------


def to_openmm(ensemble: Ensemble) -> tuple[app.Topology, list[unit.Quantity]]:
    """The ensemble as OpenMM takes it.

    Returns
    -------
    topology : app.Topology
        chains, residues and atom names as in the Molecule, else one residue MOL with names
        C1, C2, H1, ...; elements, formal charges and bond orders are set (stereo has no place
        in a Topology: `from_openmm` reads it back from the positions).
    positions : list of Quantity
        (n_atoms, 3) in nm, one per conformer.

    Notes
    -----
    OpenMM wants the atoms of a residue in one piece. If they are not, as in an RDKit peptide
    whose hydrogens come last, topology and positions have them in the order of
    `equidrift.residues.residue_order`.
    """
    ensemble = whole_residues(ensemble)
    return to_topology(ensemble.molecule), [unit.Quantity(frame * NM_PER_A, unit.nanometer) for frame in ensemble.positions_A]


def whole_residues(ensemble: Ensemble) -> Ensemble:
    """The ensemble with the atoms of each residue in one piece; itself if they are."""
    order = residue_order(ensemble.molecule)
    if np.array_equal(order, np.arange(len(order))):
        return ensemble
    molecule = reordered(ensemble.molecule, order)
    return ensemble.replace(molecule=molecule, positions_A=ensemble.positions_A[:, order])


def to_topology(molecule: Molecule) -> app.Topology:
    """The molecule as an OpenMM Topology, in its own order of atoms.

    Elements, names, residues, chains, formal charges, bond types and orders are set. A
    residue whose atoms are not in one piece is split; see `whole_residues`.
    """
    topology = app.Topology()
    names = molecule.atom_names or _default_names(molecule)
    keys = residue_keys(molecule)
    atoms: list[Any] = []
    chain = residue = None
    for k, (number, charge) in enumerate(zip(molecule.numbers.tolist(), molecule.formal_charges.tolist())):
        chain_id, residue_id, insertion_code, residue_name = keys[k]
        if chain is None or chain_id != keys[k - 1][0]:
            chain, residue = topology.addChain("A" if molecule.chain_ids is None else chain_id), None
        if residue is None or keys[k] != keys[k - 1]:
            residue = topology.addResidue(residue_name, chain, str(residue_id), insertion_code)
        atoms.append(topology.addAtom(names[k], app.Element.getByAtomicNumber(number), residue, formalCharge=charge))
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist()):
        whole = int(order) if order != 1.5 else None  # OpenMM's orders are integers; aromatic is a type
        topology.addBond(atoms[i], atoms[j], type=BOND_TYPES.get(order), order=whole)
    return topology


def _default_names(molecule: Molecule) -> tuple[str, ...]:
    """C1, C2, H1: unique as long as the element is counted."""
    seen: Counter[str] = Counter()
    names = []
    for symbol in molecule.symbols:
        seen[symbol] += 1
        names.append(f"{symbol}{seen[symbol]}")
    return tuple(names)


def from_topology(topology: app.Topology, positions: Any = None, *, formal_charges: ArrayLike | None = None) -> Molecule | Ensemble:
    """The graph of an OpenMM Topology, without stereo (`equidrift.simulate.from_openmm` adds it); with positions, an Ensemble.

    A Topology has no spin multiplicity either: a closed shell is assumed.

    Parameters
    ----------
    topology : its bonds need orders or types, its atoms elements and formal charges (0 counts, None does not).
    positions : None, or (n_atoms, 3), (k, n_atoms, 3) or a list of the former; Quantities, or bare numbers in nm as everywhere in OpenMM.
    formal_charges : (n_atoms,) for topologies that lack them.

    Raises
    ------
    InputTypeError
        where `topology` is not an app.Topology.
    InputError
        where bond orders, elements or formal charges are missing, or shapes do not fit; the message names the atoms and the way out.
    """
    if not isinstance(topology, app.Topology):
        raise InputTypeError(f"topology must be an openmm.app.Topology, not {type(topology).__name__}")
    atoms = list(topology.atoms())
    for atom in atoms:
        if atom.element is None:
            raise InputError(f"atom {atom.index} ({atom.name}) has no element; remove virtual sites, or set atom.element")
    molecule = Molecule(
        numbers=np.array([atom.element.atomic_number for atom in atoms], np.int64),
        bonds=np.array([(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()], np.int64),
        bond_orders=np.array([_bond_order(bond) for bond in topology.bonds()], np.float64),
        formal_charges=_formal_charges(atoms, formal_charges),
        atom_names=tuple(atom.name for atom in atoms),
        residue_names=tuple(atom.residue.name for atom in atoms),
        residue_ids=tuple(residue_id(atom.residue) for atom in atoms),
        chain_ids=tuple(atom.residue.chain.id for atom in atoms),
        insertion_codes=tuple(atom.residue.insertionCode.strip() for atom in atoms),
    )
    if positions is None:
        return molecule
    return Ensemble(molecule, _positions_A(positions, len(atoms)), provenance={"source": "openmm"})


def _bond_order(bond: Any) -> float:
    for order, kind in BOND_TYPES.items():
        if bond.type is kind:
            return order
    if bond.type is app.Amide:
        return 1.0
    if bond.order is None:
        raise InputError(
            f"the bond {bond.atom1.name}-{bond.atom2.name} (atoms {bond.atom1.index} and {bond.atom2.index}) has no order; set bond.order "
            "or bond.type on every bond, or read the molecule from its SMILES, SDF or PDB with RDKit, which finds the orders"
        )
    return float(bond.order)


def _formal_charges(atoms: Sequence[Any], given: ArrayLike | None) -> NDArray[np.int64]:
    charges = [atom.formalCharge for atom in atoms] if given is None else np.asarray(given).tolist()
    if len(charges) != len(atoms):
        raise InputError(f"formal_charges has {len(charges)} entries for {len(atoms)} atoms")
    missing = [atom for atom, charge in zip(atoms, charges) if charge is None]
    if missing:
        raise InputError(
            f"{len(missing)} atoms have no formal charge, the first is {missing[0].name} (atom {missing[0].index}); set atom.formalCharge "
            "(0 for neutral atoms), or pass formal_charges=[...]"
        )
    return np.array(charges, np.int64)


def residue_id(residue: Any) -> int:
    """The residue's number where it is one (PDB ids may be hexadecimal or letters), else its index counted from 1."""
    try:
        return int(residue.id)
    except ValueError:
        return int(residue.index) + 1


def _positions_A(positions: Any, n_atoms: int) -> NDArray[np.float64]:
    """(k, n_atoms, 3) in A from a Quantity, bare nm, or a list of either."""
    if not unit.is_quantity(positions) and len(positions) and unit.is_quantity(positions[0]) and np.ndim(_in_nm(positions[0])) == 2:
        array = np.array([_in_nm(frame) for frame in positions], np.float64)
    else:
        array = np.array(_in_nm(positions), np.float64)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != (n_atoms, 3):
        raise InputError(f"positions have shape {array.shape}, expected ({n_atoms}, 3) or (any, {n_atoms}, 3)")
    return array / NM_PER_A


def _in_nm(value: Any) -> Any:
    """Numbers in nm, also of a list of Vec3 quantities."""
    if unit.is_quantity(value):
        return np.asarray(value.value_in_unit(unit.nanometer), np.float64)
    if len(value) and unit.is_quantity(value[0]):
        return np.array([row.value_in_unit(unit.nanometer) for row in value], np.float64)
    return np.asarray(value, np.float64)


# A careful start -----------------------------------------------------------------------------------------------------------


def prepare(
    simulation: app.Simulation | openmm.Context,
    positions: Any,
    *,
    temperature_K: float | None = None,
    seed: int | None = None,
    min_distance_A: float = 0.5,
    minimize: bool = True,
) -> float:
    """Set positions in a Context, minimise in stages, and draw velocities; look for trouble before and after.

    Parameters
    ----------
    simulation : app.Simulation or openmm.Context; left at the minimum.
    positions : (n_particles, 3) Quantity, or bare numbers in nm as everywhere in OpenMM.
    temperature_K : velocities are drawn at this temperature; None leaves them zero.
    seed : of the velocities; None lets OpenMM choose.
    min_distance_A : closer pairs are refused (virtual sites and periodic images are not looked at); 0 switches the check off.
    minimize : False sets the positions as they are.

    Returns
    -------
    float
        potential energy in eV.

    Raises
    ------
    InputError
        where positions have the wrong shape, hold NaN or overlapping atoms (the pair is named), where the energy or a force is not
        finite before or after minimisation, or where temperature, seed or distance cannot be used.
    """
    context = getattr(simulation, "context", simulation)
    if not isinstance(context, openmm.Context):
        raise InputTypeError(f"expected an openmm.app.Simulation or an openmm.Context, not {type(simulation).__name__}")
    if temperature_K is not None:
        _positive("temperature_K", temperature_K, 300)
    if not 0 <= min_distance_A < math.inf:
        raise InputError(f"min_distance_A must be 0 or a positive length, not {min_distance_A}; give for example 0.5")
    velocity_seed = None if seed is None else _openmm_seed(seed)
    system = context.getSystem()
    placed = _positions_A(positions, system.getNumParticles())
    if len(placed) != 1:
        raise InputError(f"positions hold {len(placed)} conformers, and a Context takes one; call prepare once for each")
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
        context.setVelocitiesToTemperature(temperature_K, *(() if velocity_seed is None else (velocity_seed,)))
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


def _check_positions(system: openmm.System, positions_A: NDArray[np.float64], min_distance_A: float) -> None:
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
    """The closest two atoms, (i, j, distance) with i < j, where they are closer than `below_A`, else None.

    A sweep along x: in this order only atoms a few places apart can be close, so memory stays linear for solvated systems too.
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
    size = np.linalg.norm(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer), axis=1)
    if math.isfinite(energy) and np.isfinite(size).all():
        return float(energy) / KJ_MOL_PER_EV
    broken = np.flatnonzero(~np.isfinite(size))
    where = f"the force on atom {broken[0]} is not finite" if len(broken) else "the forces are finite"
    raise InputError(
        f"the energy {when} is {energy} kJ/mol and {where}; check that the System belongs to this molecule and atom order, "
        "and leave this conformer out or generate it again"
    )


def _openmm_seed(seed: int) -> int:
    """A seed OpenMM takes: 31 bits, and never 0, which asks OpenMM for a seed of its own."""
    return check_seed(seed) % (2**31 - 2) + 1


def _positive(name: str, value: Any, example: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InputTypeError(f"{name} must be a number without OpenMM units, not {value!r}; give for example {name}={example}")
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be positive and finite, not {value}; give for example {name}={example}")
    return float(value)


# Dynamics from every conformer ---------------------------------------------------------------------------------------------


def swarm(
    ensemble: Ensemble,
    system: openmm.System | app.ForceField,
    time_ps: float,
    *,
    output: str | Path,
    temperature_K: float = 300.0,
    timestep_fs: float = 1.0,
    friction_per_ps: float = 1.0,
    seed: int = 0,
    format: str = "xtc",
    interval_ps: float | None = None,
    platform: str | openmm.Platform | None = None,
    platform_properties: Mapping[str, str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SwarmResult:
    """Langevin dynamics from every conformer; see `equidrift.simulate.swarm`, which also knows a default System.

    Parameters, results and errors are those of `equidrift.simulate.swarm`; `system` must be given.
    """
    if not len(ensemble):
        raise InputError("the ensemble holds no conformers; give one with at least one")
    n_steps, every = _plan(time_ps, timestep_fs, interval_ps)
    _positive("temperature_K", temperature_K, 300)
    _positive("friction_per_ps", friction_per_ps, 1)
    check_seed(seed)
    if format not in REPORTERS:
        raise UnknownNameError("trajectory format", str(format), REPORTERS)
    if not isinstance(system, openmm.System) or not _fits(ensemble.molecule, system):
        ensemble = whole_residues(ensemble)  # the order of `to_openmm`
    topology = to_topology(ensemble.molecule)
    positions = [unit.Quantity(frame * NM_PER_A, unit.nanometer) for frame in ensemble.positions_A]
    system = _system_for(ensemble.molecule, topology, system)
    chosen = _platform(platform)
    topology_path, paths = _paths(output, format, len(ensemble))
    claim([topology_path, *paths], overwrite=overwrite)
    _write_topology(topology, positions, topology_path)

    def simulate(k: int) -> float:
        integrator = openmm.LangevinMiddleIntegrator(temperature_K, friction_per_ps, timestep_fs * PS_PER_FS)
        stream = int(sample_seeds(seed, k, k + 1)[0])
        integrator.setRandomNumberSeed(_openmm_seed(stream))
        extra = () if chosen is None else (chosen, dict(platform_properties or {}))
        simulation = app.Simulation(topology, system, integrator, *extra)
        prepare(simulation, positions[k], temperature_K=temperature_K, seed=stream)
        simulation.reporters.append(REPORTERS[format](str(paths[k]), every, enforcePeriodicBox=False))
        simulation.step(n_steps)
        return _finite_energy_eV(simulation.context, f"after {time_ps:g} ps")

    return _each(simulate, topology_path, paths, progress)


def _each(simulate: Callable[[int], float], topology_path: Path, paths: list[Path], progress: Progress | None) -> SwarmResult:
    """Run every conformer; a failing one is noted, and its file removed, so that what is on disk is whole."""
    energies = np.full(len(paths), np.nan)
    failures: dict[int, str] = {}
    for k, path in enumerate(paths):
        try:
            energies[k] = simulate(k)
        except (InputError, openmm.OpenMMException, ValueError) as error:
            failures[k] = str(error)
            path.unlink(missing_ok=True)
        if progress is not None:
            progress({"stage": "swarm", "done": k + 1, "total": len(paths), "failed": len(failures)})
    if len(failures) == len(paths):
        topology_path.unlink(missing_ok=True)
        raise NoValidSamplesError("dynamics failed for every conformer.", Counter(failures.values()))
    return SwarmResult(topology_path, tuple(None if k in failures else path for k, path in enumerate(paths)), energies, failures)


def _plan(time_ps: float, timestep_fs: float, interval_ps: float | None) -> tuple[int, int]:
    """(steps, steps between frames)."""
    step_ps = _positive("timestep_fs", timestep_fs, 1) * PS_PER_FS
    n_steps = round(_positive("time_ps", time_ps, 1) / step_ps)
    if n_steps < 1:
        raise InputError(f"time_ps={time_ps:g} is less than one step of timestep_fs={timestep_fs:g}; give at least {step_ps:g}")
    every = max(n_steps // 100, 1) if interval_ps is None else round(_positive("interval_ps", interval_ps, 0.01) / step_ps)
    if not 1 <= every <= n_steps:
        raise InputError(
            f"interval_ps={interval_ps:g} must lie between one step ({step_ps:g} ps) and the whole time ({time_ps:g} ps), "
            "or no frame would be written"
        )
    return n_steps, every


def _platform(platform: str | openmm.Platform | None) -> openmm.Platform | None:
    if platform is None or isinstance(platform, openmm.Platform):
        return platform
    known = [openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())]
    if platform not in known:
        raise UnknownNameError("OpenMM platform", str(platform), known)
    return openmm.Platform.getPlatform(platform)


def _paths(output: str | Path, format: str, n: int) -> tuple[Path, list[Path]]:
    """(topology, one trajectory a conformer); the folder is made, and found writable."""
    folder = str(output).endswith(("/", os.sep)) or Path(output).is_dir()
    base = Path(output) / "conformer" if folder else Path(output)
    topology = base.with_name("topology.pdb" if folder else base.name + ".top.pdb")
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {base.parent} for output={str(output)!r}: {error.strerror}; choose another") from error
    if not os.access(base.parent, os.W_OK):
        raise InputError(f"cannot write in the folder {base.parent} of output={str(output)!r}; choose another, or change its permissions")
    width = max(4, len(str(n - 1)))
    return topology, [base.with_name(f"{base.name}_{k:0{width}d}.{format}") for k in range(n)]


def _write_topology(topology: app.Topology, positions: list[unit.Quantity], path: Path) -> None:
    """A PDB of the first conformer that has finite coordinates within what its columns can hold."""
    usable = [frame for frame in positions if np.abs(frame.value_in_unit(unit.angstrom)).max() < 1e4]
    n_atoms = topology.getNumAtoms()
    frame = usable[0] if usable else unit.Quantity(np.zeros((n_atoms, 3)), unit.nanometer)
    try:
        with open(path, "w") as handle:
            app.PDBFile.writeFile(topology, frame, handle, keepIds=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another output") from error


def _system_for(molecule: Molecule, topology: app.Topology, system: openmm.System | app.ForceField) -> openmm.System:
    """The System to run: given, and of this molecule; or what a ForceField makes of it."""
    if isinstance(system, app.ForceField):
        try:
            system = system.createSystem(topology, nonbondedMethod=app.NoCutoff)
        except (ValueError, KeyError, openmm.OpenMMException) as error:
            raise InputError(
                f"the ForceField has no parameters for {molecule!r}: {error} Add a residue template for it, pass your own System, or "
                "system=None for MMFF94"
            ) from error
        for k in np.flatnonzero(molecule.isotopes).tolist():  # a force field knows elements only
            system.setParticleMass(k, _masses_amu(molecule)[k])
    if not isinstance(system, openmm.System):
        raise InputTypeError(f"system must be an openmm.System or app.ForceField, not {type(system).__name__}")
    _check_same_atoms(molecule, system)
    return system


def _masses_amu(molecule: Molecule) -> NDArray[np.float64]:
    """(n,) masses of the atoms: of their isotopes, else OpenMM's of the elements."""
    elements = np.array([app.Element.getByAtomicNumber(int(z)).mass.value_in_unit(unit.dalton) for z in molecule.numbers])
    if not molecule.isotopes.any():
        return elements
    return np.where(molecule.isotopes > 0, resolve("equidrift.adapters.rdkit.molecule:isotope_masses_amu")(molecule), elements)


def _fits(molecule: Molecule, system: openmm.System) -> bool:
    """Whether a System is of this molecule, in its order of atoms."""
    try:
        _check_same_atoms(molecule, system)
    except InputError:
        return False
    return True


def _check_same_atoms(molecule: Molecule, system: openmm.System) -> None:
    """A System knows masses only; those of each heavy atom and its hydrogens together, so that repartitioned masses pass."""
    n = molecule.n_atoms
    if system.getNumParticles() != n:
        raise InputError(
            f"the System has {system.getNumParticles()} particles, but {molecule!r} has {n} atoms; pass the System of this molecule, "
            "with no solvent"
        )
    masses = np.array([system.getParticleMass(k).value_in_unit(unit.dalton) for k in range(n)])
    wanted = _masses_amu(molecule)
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
            f"particle {k} of the System weighs {masses[k]:.3f} amu, but atom {k} of {molecule!r} is {molecule.symbols[k]} "
            f"({wanted[k]:.3f} amu); give the System this molecule's atoms in its order"
        )
