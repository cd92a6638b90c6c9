"""Monte Carlo moves in OpenMM: `ProposalSampler` around a Simulation, and replica
exchange with proposals.

The System, forces, integrator and platform are the user's. A move sets positions, has
virtual sites recomputed, compares energies of the force groups the integrator
integrates, and is accepted or rejected (`equidrift.montecarlo.metropolis`). After an
accepted move velocities are drawn anew from Maxwell and Boltzmann's distribution,
constraints respected: their density does not depend on the rejected ones, so the joint
distribution of positions and velocities stays exact. After rejections positions and
velocities are what they were, to the last bit.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import app, unit

from equidrift.adapters.openmm.integrators import check_integrator, sampled_temperature
from equidrift.arguments import check_count
from equidrift.errors import InputError, InputTypeError
from equidrift.files.npz import load_arrays
from equidrift.montecarlo.metropolis import (
    ConstraintMetric,
    MoveCheck,
    Statistics,
    check_bonds,
    check_proposer,
    check_whole,
    metropolis,
    trusted,
)
from equidrift.protocols import Proposer
from equidrift.seeds import check_seed
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV, NM_PER_A

Floats = NDArray[np.float64]
Progress = Callable[[dict[str, Any]], None]
_HEAD = 512  # bytes at the front of a trajectory file that writers change later (DCD counts its frames there)
_FORGETS_PER_PS = 1e7  # friction of a step that keeps nothing of its velocity


class ContextMoves:
    """Metropolis moves on the positions of one Context.

    Parameters
    ----------
    context : an openmm Context; its System decides what is held fixed.
    proposer : see `equidrift.protocols.Proposer`; it must have a density.
    atoms : particles the proposer moves, in its order; None: all of them, or all that
        are no virtual sites.
    bonds : (b, 2) bonds between particles, to refuse rings; None takes those of a
        HarmonicBondForce and constraints.
    energy : () -> potential energy in kJ/mol of the Context as it stands; None takes
        the integrator's force groups.

    Raises
    ------
    InputError
        where proposer and System do not fit: the number of atoms, rings, virtual sites
        as ends of torsions, constraints to other atoms.
    InexactProposalError
        where the proposer has no density.
    """

    def __init__(
        self,
        context: openmm.Context,
        proposer: Any,
        *,
        atoms: ArrayLike | None = None,
        bonds: ArrayLike | None = None,
        energy: Callable[[], float] | None = None,
    ) -> None:
        self.context, self._energy = context, energy
        system = context.getSystem()
        n = system.getNumParticles()
        virtual = np.array([system.isVirtualSite(k) for k in range(n)], bool)
        self.proposer = proposer = check_proposer(proposer)
        self.atoms = _moved_atoms(proposer, virtual, atoms)
        check_proposer(proposer, len(self.atoms))
        self.virtual = bool(virtual.any())
        masses = np.array([system.getParticleMass(k).value_in_unit(unit.dalton) for k in range(n)])
        local = np.full(n, -1)
        local[self.atoms] = np.arange(len(self.atoms))
        known = _local_pairs(_system_bonds(system) if bonds is None else bonds, local)
        _check_sites(proposer, virtual[self.atoms])
        check_bonds(proposer, known, len(self.atoms))
        self.bonds = known if len(known) or proposer.tree is None else proposer.tree.bonds
        pairs = np.array(
            [system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())],
            np.int64,
        ).reshape(-1, 2)
        crossing = pairs[(local[pairs] >= 0).sum(axis=1) == 1]
        if len(crossing):
            raise InputError(
                f"atoms {crossing[0]} are constrained to each other, but the proposer moves only one; put both in atoms"
            )
        constraints = _local_pairs(pairs, local)
        frozen = np.flatnonzero((masses[self.atoms] == 0) & ~virtual[self.atoms])
        self.check = MoveCheck(len(self.atoms), constraints, frozen)
        self.metric = ConstraintMetric(constraints, masses[self.atoms])
        self.periodic = system.usesPeriodicBoundaryConditions()
        self._asked = False  # whether the proposer has said that it can be used here

    def apply(
        self,
        n: int,
        *,
        temperature_K: float,
        rng: np.random.Generator,
        statistics: Statistics,
        velocities: bool = True,
    ) -> tuple[int, float, Floats]:
        """n moves from where the Context stands.

        Parameters
        ----------
        n : moves; 0 does nothing.
        temperature_K : of the distribution to keep.
        rng : draws proposals, acceptance, and the seed of new velocities.
        statistics : counts are added here.
        velocities : draw new ones after an accepted move; False leaves them to the
            caller.

        Returns
        -------
        accepted, energy_eV, positions_A
            how many moves were accepted, and where the Context stands; positions
            (n_moved_atoms, 3) are the proposer's atoms.

        Raises
        ------
        InputError
            where the energy of the Context as it stands is not finite, or a molecule is
            split across the periodic box.
        """
        state = self.context.getState(positions=True)
        everything = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        x = everything[self.atoms] / NM_PER_A
        if self.periodic:
            box = (
                np.array(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer))
                / NM_PER_A
            )
            check_whole(x, self.bonds, box)
        self.metric.prepare(self.proposer, x)
        kT = BOLTZMANN_EV_PER_K * temperature_K
        if not self._asked:
            self.proposer, self._asked = trusted(self.proposer, x, kT), True
        at, shown = everything.copy(), everything

        def place(positions_A: Floats) -> None:
            at[self.atoms] = positions_A * NM_PER_A
            self.context.setPositions(at)
            if self.virtual:
                self.context.computeVirtualSites()

        def energy(positions_A: Floats) -> float:
            nonlocal shown
            shown = positions_A
            try:
                place(positions_A)
                return self._energy_eV() + kT * self.metric(positions_A)
            except openmm.OpenMMException:
                return math.nan

        begun = time.perf_counter()
        u = self._energy_eV() + kT * self.metric(x)
        statistics.spent("energies", time.perf_counter() - begun)
        if not math.isfinite(u):
            raise InputError(
                f"the energy is {u} eV before any move; minimise first, say with equidrift.adapters.openmm.simulation.prepare"
            )
        options: dict[str, Any] = {
            "kT_eV": kT,
            "rng": rng,
            "statistics": statistics,
            "check": self.check,
        }
        try:
            new, u, accepted = metropolis(self.proposer, x, u, energy, n, **options)
        except BaseException:  # a refused proposal, or Ctrl-C: the Context is left where it was
            self.context.setPositions(everything)
            raise
        if not accepted:
            if shown is not everything:
                self.context.setPositions(everything)
        elif shown is not new:
            place(new)
        if accepted and velocities:
            self.context.setVelocitiesToTemperature(temperature_K, int(rng.integers(1, 2**31 - 1)))
        return accepted, u - kT * self.metric(new), new

    def _energy_eV(self) -> float:
        """Potential energy of the Context as it stands."""
        if self._energy is not None:
            return self._energy() / KJ_MOL_PER_EV
        groups = self.context.getIntegrator().getIntegrationForceGroups()
        energy = self.context.getState(energy=True, groups=groups).getPotentialEnergy()
        return float(energy.value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV


def _moved_atoms(
    proposer: Proposer, virtual: NDArray[np.bool_], atoms: ArrayLike | None
) -> NDArray[np.int64]:
    """The particles a proposer moves."""
    n, tree = len(virtual), proposer.tree
    if atoms is not None:
        chosen = np.asarray(atoms, np.int64)
        if (
            chosen.ndim != 1
            or len(np.unique(chosen)) < len(chosen)
            or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < n)
        ):
            raise InputError(
                f"atoms must be different particles 0 to {n - 1}, got {chosen.tolist()}"
            )
        return chosen
    if tree is not None and tree.n_atoms == n - virtual.sum():
        return np.flatnonzero(~virtual)
    return np.arange(n)


def _system_bonds(system: openmm.System) -> NDArray[np.int64]:
    """Harmonic bonds and constraints; none where there are no harmonic bonds, for then
    others hold the molecule together.
    """
    harmonic = [
        force for force in system.getForces() if isinstance(force, openmm.HarmonicBondForce)
    ]
    pairs = [
        force.getBondParameters(k)[:2] for force in harmonic for k in range(force.getNumBonds())
    ]
    pairs += (
        [system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())]
        if pairs
        else []
    )
    return np.array(pairs, np.int64).reshape(-1, 2)


def _local_pairs(pairs: ArrayLike, local: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of particles as pairs of the moved atoms; others are left out."""
    own = local[np.asarray(pairs, np.int64).reshape(-1, 2)]
    return own[(own >= 0).all(axis=1)]


def _check_sites(proposer: Proposer, virtual: NDArray[np.bool_]) -> None:
    tree = proposer.tree
    if tree is not None and virtual[tree.atoms].any():
        row = tree.atoms[virtual[tree.atoms].any(axis=1)][0].tolist()
        raise InputError(
            f"the torsion {row} ends at a virtual site, whose place is recomputed from its parents after every move; use real atoms"
        )


def topology_bonds(topology: app.Topology) -> NDArray[np.int64]:
    """(b, 2) bonds of a Topology."""
    return np.array(
        [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()], np.int64
    ).reshape(-1, 2)


def forgetting_step(integrator: openmm.Integrator, step: Callable[[int], None]) -> int:
    """One step that forgets its velocity in its middle, by `step(1)`; how many were
    taken: 0 for integrators that have no such step.

    A leapfrog step keeps exp(-U / kT) best (BAOAB: Leimkuhler and Matthews, J. Chem.
    Phys. 2013, 138, 174102) where its velocity is drawn in the middle; drawn at whole
    steps only, modes of frequency w end up hotter by (w dt / 2)^2: 8 % for 1,500 / cm
    at 2 fs.
    """
    if not isinstance(integrator, openmm.LangevinMiddleIntegrator):
        return 0
    friction = integrator.getFriction()
    integrator.setFriction(_FORGETS_PER_PS / unit.picosecond)
    try:
        step(1)
    finally:
        integrator.setFriction(friction)
    return 1


class ProposalSampler:
    """MD with Monte Carlo moves in between: every cycle runs `md_steps` steps, then
    tries `n_proposals` moves.

    Reporters of the Simulation are called as in MD (moves take no time step). Steps
    sample what the integrator samples, moves leave exp(-U / kT) unchanged.

    Parameters
    ----------
    simulation : app.Simulation with positions set; its System is not changed.
    proposer : with a density, see `equidrift.protocols.Proposer`.
    md_steps : steps a cycle.
    n_proposals : moves a cycle; drawn in one block where the proposer can.
    temperature_K : None takes the integrator's.
    atoms : particles the proposer moves; None takes all but virtual sites.
    seed : of the moves; cycle c has its own stream, whatever came before. The
        integrator's own seed is the user's to set.

    Attributes
    ----------
    statistics : `equidrift.montecarlo.metropolis.Statistics`.
    cycle : cycles done.
    torsions_rad : (cycles, m) of the proposer's torsions behind every cycle;
        energies_eV (cycles,).

    Raises
    ------
    InputError, InexactProposalError
        see `ContextMoves`; also where integrator, thermostat and barostat keep
        different temperatures, or the integrator does not sample exp(-U / kT)
        (`equidrift.adapters.openmm.integrators`).

    Examples
    --------
    >>> sampler = ProposalSampler(simulation, proposer, md_steps=500, n_proposals=20)     # doctest: +SKIP
    >>> sampler.run(1000)                                                                 # doctest: +SKIP
    >>> sampler.statistics.acceptance                                                     # doctest: +SKIP
    """

    def __init__(
        self,
        simulation: app.Simulation,
        proposer: Any,
        md_steps: int = 500,
        n_proposals: int = 10,
        *,
        temperature_K: float | None = None,
        atoms: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(simulation, app.Simulation):
            raise InputTypeError(
                f"simulation must be an openmm.app.Simulation, not {type(simulation).__name__}"
            )
        self.simulation, self.proposer = simulation, check_proposer(proposer)
        self.seed = check_seed(seed)
        self.md_steps, self.n_proposals = (
            check_count("md_steps", md_steps, 0),
            check_count("n_proposals", n_proposals, 0),
        )
        self.temperature_K = sampled_temperature(
            simulation.context, simulation.integrator, temperature_K, steps=self.md_steps > 0
        )
        bonds = topology_bonds(simulation.topology)
        self.moves = ContextMoves(
            simulation.context, proposer, atoms=atoms, bonds=bonds if len(bonds) else None
        )
        self.statistics = Statistics.of(proposer)
        self.cycle = 0
        self._moved = False  # whether the last cycle's moves drew velocities
        self._torsions: list[Floats] = []
        self._energies: list[float] = []

    @property
    def torsions_rad(self) -> Floats:
        """(cycles, m) torsions behind every cycle."""
        tree = self.proposer.tree
        return np.array(self._torsions).reshape(
            len(self._energies), 0 if tree is None else tree.n_torsions
        )

    @property
    def energies_eV(self) -> Floats:
        """(cycles,) potential energy behind every cycle."""
        return np.array(self._energies)

    def run(self, cycles: int, *, progress: Progress | None = None) -> None:
        """So many cycles of MD and moves; `progress` gets {"stage", "done", "total",
        "acceptance"} after each.
        """
        tree = self.proposer.tree
        # thermostats can be set to another temperature at any time
        integrator, steps = self.simulation.integrator, self.md_steps > 0
        sampled_temperature(self.simulation.context, integrator, self.temperature_K, steps=steps)
        for done in range(check_count("cycles", cycles, 0)):
            begun = time.perf_counter()
            self._dynamics()
            self.statistics.spent("dynamics", time.perf_counter() - begun)
            rng = np.random.default_rng([self.seed, self.cycle])
            accepted, energy, x = self.moves.apply(
                self.n_proposals,
                temperature_K=self.temperature_K,
                rng=rng,
                statistics=self.statistics,
            )
            self._moved = accepted > 0
            self._energies.append(energy)
            if tree is not None:
                self._torsions.append(tree.torsions(x))
            self.cycle += 1
            if progress is not None:
                acceptance = self.statistics.acceptance
                progress(
                    {
                        "stage": "sampling",
                        "done": done + 1,
                        "total": cycles,
                        "acceptance": acceptance,
                    }
                )

    def _dynamics(self) -> None:
        """The steps of one cycle; the first behind an accepted move forgets its
        velocity once more, in its middle.
        """
        steps = self.md_steps
        if self._moved and steps:
            steps -= forgetting_step(self.simulation.integrator, self.simulation.step)
        self.simulation.step(steps)

    def save(
        self,
        path: str | Path,
        files: Sequence[str | Path] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint from which `load` continues the identical chain (same
        platform and OpenMM version); old or new, never half.

        The Reference platform has one stream of random numbers for the whole process:
        two Simulations that run in turns there share it.

        Parameters
        ----------
        path : of the checkpoint, an npz file that holds no pickle.
        files : files that reporters append to: their lengths are kept, so that `load`
            cuts off what was written later.
        extra : plain data of the caller, given back by `load`.
        """
        outputs = {str(name): os.path.getsize(name) for name in files}
        heads = {str(name): Path(name).read_bytes()[:_HEAD].hex() for name in files}
        meta = {
            "cycle": self.cycle,
            "seed": self.seed,
            "md_steps": self.md_steps,
            "n_proposals": self.n_proposals,
            "outputs": outputs,
        }
        meta["moved"] = self._moved
        meta |= {
            "heads": heads,
            "statistics": self.statistics.to_dict(),
            "temperature_K": self.temperature_K,
            "extra": dict(extra or {}),
        }
        path, state = Path(path), self.simulation.context.createCheckpoint()
        scratch = path.with_name(path.name + ".part")
        with open(scratch, "wb") as handle:
            np.savez(
                handle,
                meta=np.array(json.dumps(meta)),
                context=np.frombuffer(state, np.uint8),
                torsions_rad=self.torsions_rad,
                energies_eV=self.energies_eV,
            )
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(scratch, path)

    def load(self, path: str | Path) -> dict[str, Any]:
        """Stand where `save` was called; returns its `extra`.

        Reporters that append must be made after this, as files are cut to length.

        Raises
        ------
        InputError
            for a checkpoint of another seed, temperature, number of steps or proposals,
            or one this Context cannot take.
        """
        meta, arrays = read_checkpoint(path)
        for name in ("seed", "md_steps", "n_proposals", "temperature_K"):
            if meta[name] != getattr(self, name):
                raise InputError(
                    f"the checkpoint {path} has {name}={meta[name]}, not {getattr(self, name)}; use the same, or start anew"
                )
        try:
            self.simulation.context.loadCheckpoint(arrays["context"].tobytes())
        except openmm.OpenMMException as error:
            raise InputError(
                f"the checkpoint {path} belongs to another System, platform or OpenMM version: {error}; start anew"
            ) from error
        for name, size in meta["outputs"].items():
            _cut(Path(name), size, bytes.fromhex(meta["heads"][name]))
        self.cycle, self.statistics = meta["cycle"], Statistics(**meta["statistics"])
        self._moved = bool(meta["moved"])
        self._torsions, self._energies = (
            list(arrays["torsions_rad"]),
            arrays["energies_eV"].tolist(),
        )
        extra: dict[str, Any] = meta["extra"]
        return extra


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `ProposalSampler.save` wrote: plain data and arrays, each field checked.

    Raises
    ------
    InputError
        For any other file, and for one of which a field is missing, of another type or
        out of its range. The message names the file and the field.
    """
    from equidrift.stored import StoredCheckpoint, checked, parsed

    try:
        arrays = load_arrays(path)
        meta = str(arrays.pop("meta", np.array("")))
        _check_arrays(arrays)
        stored = checked(parsed(meta, "the array 'meta'"), StoredCheckpoint, "checkpoint")
    except InputError as error:
        raise InputError(
            f"{str(path)!r} is no checkpoint of a ProposalSampler ({error}); "
            "remove it to start anew"
        ) from error
    return stored.model_dump(), arrays


def _check_arrays(arrays: dict[str, NDArray[Any]]) -> None:
    """Refuse arrays of a checkpoint that are missing, or of another type or shape."""
    expected = {"context": ("u", 1), "torsions_rad": ("f", 2), "energies_eV": ("f", 1)}
    if set(arrays) != set(expected):
        raise InputError(f"expected the arrays {', '.join(expected)}, found {', '.join(arrays)}")
    for name, (kind, dimensions) in expected.items():
        array = arrays[name]
        if array.dtype.kind != kind or array.ndim != dimensions:
            raise InputError(
                f"the array {name!r} has the type {array.dtype} and the shape {array.shape}"
            )
    moves, energies = len(arrays["torsions_rad"]), len(arrays["energies_eV"])
    if arrays["torsions_rad"].size and moves != energies:
        raise InputError(f"torsions_rad has {moves} rows, energies_eV {energies}")


def _cut(path: Path, size: int, head: bytes) -> None:
    """Make a trajectory what it was: shorter, and with the head it had."""
    if not path.is_file() or path.stat().st_size < size:
        raise InputError(
            f"{path} is missing or shorter than when the checkpoint was written; put it back, or start anew"
        )
    with open(path, "r+b") as handle:
        handle.write(head)
        handle.truncate(size)


class ProposalReplicaExchange(app.ReplicaExchangeSampler):
    """OpenMM's replica exchange, with moves behind the dynamics of every replica.

    Parameters
    ----------
    states, simulation, stepsPerIteration, reinitializeVelocities : of
        `openmm.app.ReplicaExchangeSampler`.
    proposer, n_proposals, atoms : as for `ProposalSampler`; each replica is moved at
        the temperature and potential of its state.
    seed : of the moves; every replica has its own stream in every iteration. Exchanges
        draw from Python's global `random`, as OpenMM's do.

    Attributes
    ----------
    statistics : one `equidrift.montecarlo.metropolis.Statistics` a state.
    """

    def __init__(
        self,
        states: list[dict[str, Any]],
        simulation: app.Simulation,
        stepsPerIteration: int,
        proposer: Any,
        n_proposals: int = 10,
        *,
        reinitializeVelocities: bool = False,
        atoms: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        check_integrator(simulation.integrator)
        super().__init__(states, simulation, stepsPerIteration, reinitializeVelocities)
        self.n_proposals, self.seed = check_count("n_proposals", n_proposals, 0), check_seed(seed)
        self._state = 0
        bonds = topology_bonds(simulation.topology)
        options: dict[str, Any] = {"atoms": atoms, "bonds": bonds if len(bonds) else None}
        if any("groups" in state for state in states):
            options["energy"] = lambda: self._sampler.computeEnergy(self._state).value_in_unit(
                unit.kilojoule_per_mole
            )
        self.moves = ContextMoves(simulation.context, proposer, **options)
        self.statistics = [Statistics.of(proposer) for _ in states]

    def simulateReplica(self, index: int, steps: int | None = None) -> None:
        """Dynamics, then moves; see
        `openmm.app.ReplicaExchangeSampler.simulateReplica`.
        """
        super().simulateReplica(index, steps)
        self._state = self.replicaStateIndex[index]
        temperature = (
            self.states[self._state].get("temperature", None)
            or self.simulation.integrator.getTemperature()
        )
        kelvin = (
            temperature.value_in_unit(unit.kelvin)
            if unit.is_quantity(temperature)
            else float(temperature)
        )
        rng = np.random.default_rng([self.seed, index, self.currentIteration])
        accepted, _, _ = self.moves.apply(
            self.n_proposals, temperature_K=kelvin, rng=rng, statistics=self.statistics[self._state]
        )
        if accepted:
            forgetting_step(self.simulation.integrator, self.simulation.integrator.step)
            wanted = {
                "positions": True,
                "velocities": True,
                "parameters": True,
                "integratorParameters": True,
            }
            self.replicaConformation[index] = self.simulation.context.getState(**wanted)
