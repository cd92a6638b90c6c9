"""Monte Carlo moves on the positions of one OpenMM Context.

A move sets positions, has virtual sites recomputed, compares energies of the force
groups that the integrator integrates, and is accepted or rejected
(`equidrift.montecarlo.metropolis`). After an accepted move velocities are drawn anew
from Maxwell and Boltzmann's distribution, constraints respected: their density does not
depend on the rejected ones, so the joint distribution of positions and velocities stays
exact. Where a part of the System is moved, as a molecule among water, its velocities are
turned along with its atoms (`equidrift.montecarlo.velocities`) and the others keep
theirs: drawing all of them anew costs as much as a step of dynamics, and again and again
it would hold up the water like a friction. After rejections positions and velocities are
what they were, to the last bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import app, unit

from equidrift.adapters.openmm.stepping import explained, take_steps
from equidrift.errors import InputError
from equidrift.montecarlo.metropolis import Statistics, check_proposer, metropolis, trusted
from equidrift.montecarlo.move_checks import ConstraintMetric, MoveCheck, check_bonds, made_whole
from equidrift.montecarlo.velocities import Shells
from equidrift.protocols import Proposer, SurroundedProposer
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV, NM_PER_A

Floats = NDArray[np.float64]
_MD = unit.md_unit_system
# the friction of a step that keeps nothing of its velocity, per ps
_FORGETS_PER_PS = 1e7


class ContextMoves:
    """Metropolis moves on the positions of one Context.

    Parameters
    ----------
    context : openmm.Context
        Its System decides what is held fixed.
    proposer : Proposer
        See `equidrift.protocols.Proposer`; it must have a density.
    atoms : array, optional
        Particles the proposer moves, in its order; None: all of them, or all that are
        no virtual sites.
    bonds : array, optional
        (b, 2) bonds between particles, to refuse rings; None takes those of a
        HarmonicBondForce and constraints.
    energy : callable, optional
        () -> potential energy in kJ/mol of the Context as it stands; None takes the
        integrator's force groups.

    Attributes
    ----------
    shells : Shells or None
        What turns velocities along with the moved atoms; None if they are drawn anew,
        because everything moves, or constraints reach further than bonds and angles.

    Raises
    ------
    InputError
        If proposer and System do not fit: the number of atoms, rings, virtual sites
        as ends of torsions, constraints to other atoms.
    InexactProposalError
        If the proposer has no density.
    """

    def __init__(
        self,
        context: openmm.Context,
        proposer: Proposer,
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
        constraints = _own_constraints(system, local)
        frozen = np.flatnonzero((masses[self.atoms] == 0) & ~virtual[self.atoms])
        self.check = MoveCheck(len(self.atoms), constraints, frozen)
        self.metric = ConstraintMetric(constraints, masses[self.atoms])
        among_others = len(self.atoms) < n - int(virtual.sum())
        told_apart = bonds is not None or not _close_triangles(constraints, self.bonds)
        shells = Shells(len(self.atoms), self.bonds)
        carried = among_others and told_apart and shells.keep(constraints)
        self.shells = shells if carried else None
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
        n : int
            Moves; 0 does nothing.
        temperature_K : float
            Of the distribution to keep.
        rng : np.random.Generator
            Draws proposals, acceptance, and the seed of new velocities.
        statistics : Statistics
            Counts are added here.
        velocities : bool
            Draw new ones after an accepted move, or turn them along (`shells`); False
            leaves them to the caller.

        Returns
        -------
        accepted, energy_eV, positions_A
            how many moves were accepted, and where the Context stands; positions
            (n_moved_atoms, 3) are the proposer's atoms.

        Raises
        ------
        InputError
            If the energy of the Context as it stands is not finite, or no box vectors
            put a molecule together that is split across the periodic box.
        """
        everything, box_A = self._whole_positions_nm()
        x = everything[self.atoms] / NM_PER_A
        self.metric.prepare(self.proposer, x)
        kT = BOLTZMANN_EV_PER_K * temperature_K
        proposer = self._proposer_here(everything, box_A, x, kT)
        begun = time.perf_counter()
        u = self._first_energy_eV() + kT * self.metric(x)
        statistics.spent("energies", time.perf_counter() - begun)
        if not math.isfinite(u):
            raise InputError(
                f"the energy is {u} eV before any move; minimise first, for example with "
                "equidrift.adapters.openmm.simulation.prepare"
            )
        shown = _Shown(self, everything, kT)
        options: dict[str, Any] = {
            "kT_eV": kT,
            "rng": rng,
            "statistics": statistics,
            "check": self.check,
        }
        try:
            new, u, accepted = metropolis(proposer, x, u, shown.energy_eV, n, **options)
        except BaseException:  # a refused proposal, or Ctrl-C: the Context is left where it was
            self.context.setPositions(everything)
            raise
        shown.leave_at(new if accepted else None)
        if accepted and velocities:
            self._new_velocities(x, new, temperature_K, rng)
        return accepted, u - kT * self.metric(new), new

    def _new_velocities(
        self, old_A: Floats, new_A: Floats, temperature_K: float, rng: np.random.Generator
    ) -> None:
        """Drawn anew, or turned along with the moved atoms (n_moved_atoms, 3)."""
        seed = int(rng.integers(1, 2**31 - 1))
        if self.shells is None:
            self.context.setVelocitiesToTemperature(temperature_K, seed)
            return
        state = self.context.getState(velocities=True)
        carried = np.array(state.getVelocities(asNumpy=True).value_in_unit_system(_MD))
        carried[self.atoms] = self.shells.carried(old_A, new_A, carried[self.atoms])
        self.context.setVelocities(carried)

    def _proposer_here(
        self, everything_nm: Floats, box_A: Floats | None, x: Floats, kT_eV: float
    ) -> Proposer:
        """The proposer, told what stands round the moved atoms; the first time it says
        whether it can be used here.
        """
        here = self.proposer
        if isinstance(here, SurroundedProposer):
            here = here.among(everything_nm / NM_PER_A, box_A)
        if not self._asked:
            self._asked, found = True, trusted(here, x, kT_eV)
            if found is not here:
                self.proposer = here = found
        return here

    def _whole_positions_nm(self) -> tuple[Floats, Floats | None]:
        """(n_particles, 3) positions of the Context, in which no molecule that moves is
        split by the box, and the vectors of the box in A. A split one is put together in
        the Context.
        """
        state = self.context.getState(positions=True)
        everything: Floats = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        if not self.periodic:
            return everything, None
        vectors = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        box_A = np.array(vectors) / NM_PER_A
        x = everything[self.atoms] / NM_PER_A
        whole = made_whole(x, self.bonds, box_A)
        if whole is not x:
            everything = np.array(everything)
            everything[self.atoms] = whole * NM_PER_A
            self.context.setPositions(everything)
            if self.virtual:
                self.context.computeVirtualSites()
        return everything, box_A

    def _first_energy_eV(self) -> float:
        """Potential energy before any move."""
        with explained("computing the energy before any move"):
            return self.potential_eV()

    def potential_eV(self) -> float:
        """Potential energy of the Context as it stands."""
        if self._energy is not None:
            return self._energy() / KJ_MOL_PER_EV
        groups = self.context.getIntegrator().getIntegrationForceGroups()
        energy = self.context.getState(energy=True, groups=groups).getPotentialEnergy()
        return float(energy.value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV


class _Shown:
    """Which positions a Context shows while moves are tried.

    Parameters
    ----------
    moves : ContextMoves
        The moves of the Context.
    everything_nm : array
        (n_particles, 3) where it stands.
    kT_eV : float
        The factor of the metric's term in the energy.
    """

    def __init__(self, moves: ContextMoves, everything_nm: Floats, kT_eV: float) -> None:
        self.moves, self.start_nm, self.kT_eV = moves, everything_nm, kT_eV
        self.at_nm = everything_nm.copy()
        self.positions_A: Floats | None = None  # None: where it stood before

    def place(self, positions_A: Floats) -> None:
        """Set the moved atoms, and virtual sites after them."""
        moves = self.moves
        self.at_nm[moves.atoms] = positions_A * NM_PER_A
        moves.context.setPositions(self.at_nm)
        if moves.virtual:
            moves.context.computeVirtualSites()

    def energy_eV(self, positions_A: Floats) -> float:
        """The energy there, in eV; NaN if OpenMM has none."""
        self.positions_A = positions_A
        try:
            self.place(positions_A)
            return self.moves.potential_eV() + self.kT_eV * self.moves.metric(positions_A)
        except openmm.OpenMMException:
            return math.nan

    def leave_at(self, positions_A: Floats | None) -> None:
        """Let the Context show these positions, or, if None, those of before."""
        if self.positions_A is positions_A:
            return
        if positions_A is None:
            self.moves.context.setPositions(self.start_nm)
        else:
            self.place(positions_A)


def _moved_atoms(
    proposer: Proposer, virtual: NDArray[np.bool_], atoms: ArrayLike | None
) -> NDArray[np.int64]:
    """The particles that a proposer moves."""
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
    """Harmonic bonds and constraints; none if there are no harmonic bonds, for then
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


def _own_constraints(system: openmm.System, local: NDArray[np.int64]) -> NDArray[np.int64]:
    """(c, 2) constraints between moved atoms; those to other atoms are refused."""
    pairs = np.array(
        [system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())],
        np.int64,
    ).reshape(-1, 2)
    crossing = pairs[(local[pairs] >= 0).sum(axis=1) == 1]
    if len(crossing):
        raise InputError(
            f"atoms {crossing[0]} are constrained to each other, but the proposer moves only "
            f"one; put both in atoms"
        )
    return _local_pairs(pairs, local)


def _close_triangles(constraints: NDArray[np.int64], bonds: NDArray[np.int64]) -> bool:
    """Whether a constraint ties the ends of an angle, so that what counts as a bond may be
    none.
    """
    near: dict[int, set[int]] = {}
    for i, j in np.concatenate([constraints, bonds]).tolist():
        near.setdefault(i, set()).add(j)
        near.setdefault(j, set()).add(i)
    return any(near[i] & near[j] for i, j in constraints.tolist())


def _local_pairs(pairs: ArrayLike, local: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of particles as pairs of the moved atoms; others are left out."""
    own = local[np.asarray(pairs, np.int64).reshape(-1, 2)]
    return own[(own >= 0).all(axis=1)]


def _check_sites(proposer: Proposer, virtual: NDArray[np.bool_]) -> None:
    tree = proposer.tree
    if tree is not None and virtual[tree.atoms].any():
        row = tree.atoms[virtual[tree.atoms].any(axis=1)][0].tolist()
        raise InputError(
            f"the torsion {row} ends at a virtual site, whose place is recomputed from its "
            f"parents after every move; use real atoms"
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
        take_steps(step, 1)
    finally:
        integrator.setFriction(friction)
    return 1
