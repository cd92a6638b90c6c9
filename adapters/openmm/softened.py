"""An OpenMM System in two parts, stiff and soft, and moves at any softness between them:
what `equidrift.montecarlo.annealing` climbs.

Stiff are bonds, angles, impropers, and torsions about bonds that do not turn (rings,
double bonds, amides, guanidinium); they stay what they are. Soft is the rest: pairs,
implicit solvent, and torsions about single bonds. At a softness of a fifth every basin
is a few kT from the next, while bonds and angles vibrate as at the end.

A move is a trajectory of hybrid Monte Carlo (Duane et al., Phys. Lett. B 1987, 195, 216)
and a series of heat-bath turns, each accepted by the energy at that softness, so that
both keep exp(-U / kT) exactly whatever their steps. Velocities and acceptance are drawn
by the caller's generator: the same numbers on the same platform.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from equidrift.adapters.openmm.prepare import positive
from equidrift.adapters.openmm.surroundings import number
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.annealing import SoftenedPath
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics, accept
from equidrift.protocols import Proposer
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV, NM_PER_A, PS_PER_FS

STIFF, SOFT = 0, 1  # force groups
# Heights of all cosines about a bond, added up: 42 kJ/mol about an amide's, 6 about an ethane's
STIFF_KJ_MOL = 25.0
# of the Coulomb terms of turns in implicit solvent, which weakens them: accepted most often
# on Ace-Ala-Phe-NMe and Ace-Arg-Trp-NMe
SCREENED = 0.3
# Turns of two bonds together pass through clashes of 1e8 eV where amides turn, and rounding
# there looks like irreversibility; trajectories couple the bonds instead
PAIRS = 0.0
_NEAR = 0.05  # turns drawn for one softness are used for those within half of this
_TOLERANCE = 1e-7  # of constraints: a trajectory must be reversible
_BONDED = (openmm.HarmonicBondForce, openmm.HarmonicAngleForce)
_IMPLICIT = (openmm.GBSAOBCForce, openmm.CustomGBForce)
_IGNORED = (openmm.CMMotionRemover,)


def softened_system(system: openmm.System, tree: TorsionTree) -> openmm.System:
    """A copy with the stiff terms in force group 0 and the soft ones in group 1.

    Their sum is the energy of the System. What removes the motion of the centre of mass
    is left out.

    Parameters
    ----------
    system : openmm.System
        Of one molecule.
    tree : TorsionTree
        Its torsions; those about bonds with high barriers stay stiff.
    """
    made = copy.deepcopy(system)
    for k in reversed(range(made.getNumForces())):
        if isinstance(made.getForce(k), _IGNORED):
            made.removeForce(k)
    soft = openmm.PeriodicTorsionForce()
    for force in list(made.getForces()):
        if isinstance(force, openmm.PeriodicTorsionForce):
            _move_soft_torsions(force, soft, tree)
        stiff = isinstance(force, (*_BONDED, openmm.PeriodicTorsionForce))
        force.setForceGroup(STIFF if stiff else SOFT)
    soft.setForceGroup(SOFT)
    made.addForce(soft)
    return made


def _move_soft_torsions(
    force: openmm.PeriodicTorsionForce, soft: openmm.PeriodicTorsionForce, tree: TorsionTree
) -> None:
    """Take the terms about low barriers over from one force to the other."""
    rows = [force.getTorsionParameters(k) for k in range(force.getNumTorsions())]
    is_soft = soft_torsions(
        np.array([row[:4] for row in rows], np.int64).reshape(-1, 4),
        np.array([number(row[6]) for row in rows]),
        tree,
    )
    for k in np.flatnonzero(is_soft).tolist():
        soft.addTorsion(*rows[k])
        force.setTorsionParameters(k, *rows[k][:6], 0.0)


def soft_torsions(
    atoms: NDArray[np.int64], heights_kJ_mol: Floats, tree: TorsionTree
) -> NDArray[np.bool_]:
    """Which cosine terms (t, 4) are proper torsions about a bond of the tree whose terms
    add up to less than `STIFF_KJ_MOL`.
    """
    bonded = {frozenset(pair) for pair in tree.bonds.tolist()}
    turned = {frozenset(pair) for pair in tree.atoms[:, 1:3].tolist()}
    about = [
        frozenset((b, c))
        if {frozenset((a, b)), frozenset((b, c)), frozenset((c, d))} <= bonded
        else frozenset[int]()
        for a, b, c, d in atoms.tolist()
    ]
    barrier: dict[frozenset[int], float] = {}
    for bond, height in zip(about, heights_kJ_mol.tolist(), strict=True):
        barrier[bond] = barrier.get(bond, 0.0) + abs(height)
    return np.array([bond in turned and barrier[bond] < STIFF_KJ_MOL for bond in about], bool)


def trajectory_integrator(timestep_fs: float, steps: int) -> openmm.CustomIntegrator:
    """One step is a trajectory of `steps` leapfrog steps in U_stiff + softness U_soft,
    constraints kept; `stiff` and `soft` are then the energies in kJ/mol of its end.
    """
    made = openmm.CustomIntegrator(timestep_fs * PS_PER_FS)
    made.setConstraintTolerance(_TOLERANCE)
    for name in ("softness", "stiff", "soft"):
        made.addGlobalVariable(name, 1.0)
    made.addPerDofVariable("pull", 0.0)
    made.addPerDofVariable("new", 0.0)
    made.addComputePerDof("pull", f"f{STIFF}")
    made.addComputePerDof("pull", f"pull + softness * f{SOFT}")
    for k in range(steps):
        made.addComputePerDof("v", f"v + {0.5 if k == 0 else 1.0} * dt * pull / m")
        made.addComputePerDof("new", "x + dt * v")
        made.addComputePerDof("v", "x")  # where it was, until the constraints are met
        made.addComputePerDof("x", "new")
        made.addConstrainPositions()
        made.addComputePerDof("v", "(x - v) / dt")
        if k == steps - 1:  # beside the forces energies cost nothing
            made.addComputeGlobal("stiff", f"energy{STIFF}")
        made.addComputePerDof("pull", f"f{STIFF}")
        if k == steps - 1:
            made.addComputeGlobal("soft", f"energy{SOFT}")
        made.addComputePerDof("pull", f"pull + softness * f{SOFT}")
    made.addComputePerDof("v", "v + 0.5 * dt * pull / m")
    made.addConstrainVelocities()
    return made


class SoftenedContext(SoftenedPath):
    """Energies and moves of one molecule at any softness.

    Parameters
    ----------
    system : openmm.System
        Of the molecule alone, with or without constraints and implicit solvent. Masses
        decide speed alone: heavy hydrogens allow longer steps.
    tree : TorsionTree
        The bonds that heat-bath turns are about: take amides and hydrogens in.
    temperature_K : float
        Of everything.
    timestep_fs, steps : float, int
        Of a trajectory.
    turns : int
        Heat-bath turns of a move; 0 leaves trajectories alone.
    platform : str
        Reference is the fastest up to some 60 atoms.

    Attributes
    ----------
    trajectories, turned : Statistics
        What became of the two kinds of moves.

    Raises
    ------
    InputError
        If a number is not positive, or no turns can be read from the System.
    """

    def __init__(
        self,
        system: openmm.System,
        tree: TorsionTree,
        *,
        temperature_K: float = 300.0,
        timestep_fs: float = 3.0,
        steps: int = 10,
        turns: int = 2,
        platform: str = "Reference",
    ) -> None:
        self.kT_eV = BOLTZMANN_EV_PER_K * positive("temperature_K", temperature_K, 300)
        self.tree, self.turns = tree, check_count("turns", turns, 0)
        self.integrator = trajectory_integrator(
            positive("timestep_fs", timestep_fs, 3), check_count("steps", steps)
        )
        self.context = openmm.Context(
            softened_system(system, tree), self.integrator, openmm.Platform.getPlatform(platform)
        )
        masses = [system.getParticleMass(k) for k in range(system.getNumParticles())]
        self._masses = np.array([mass.value_in_unit(unit.dalton) for mass in masses])[:, None]
        self.trajectories, self.turned = Statistics(), Statistics()
        self._at: Floats | None = None
        self._energies = (0.0, 0.0)
        self._turns = SoftenedTurns(system, tree, turns) if turns else None

    def minimised(self, positions_A: Floats) -> Floats:
        """Positions (n_atoms, 3) at the minimum of the full energy near them, which is
        asked there whether turns are reversible.
        """
        self.integrator.setGlobalVariableByName("softness", 1.0)
        self.context.setPositions(positions_A * NM_PER_A)
        self.context.applyConstraints(_TOLERANCE)
        openmm.LocalEnergyMinimizer.minimize(self.context)
        state = self.context.getState(positions=True)
        found = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        if self._turns is not None:
            self._turns.check(found, self.kT_eV)
        return found

    def soft_eV(self, positions_A: Floats) -> float:
        """See `SoftenedPath.soft_eV`."""
        return self._parts(positions_A)[1]

    def energy_eV(self, positions_A: Floats) -> float:
        """See `SoftenedPath.energy_eV`."""
        return sum(self._parts(positions_A))

    def move(self, positions_A: Floats, softness: float, rng: np.random.Generator) -> Floats:
        """A trajectory, and a series of turns; see `SoftenedPath.move`."""
        x = self._trajectory(positions_A, softness, rng)
        return x if self._turns is None else self._turn(x, softness, rng)

    def _parts(self, positions_A: Floats) -> tuple[float, float]:
        """(stiff, soft) energies in eV."""
        if positions_A is not self._at:
            self.context.setPositions(positions_A * NM_PER_A)
            self._keep(positions_A, (self._group(STIFF), self._group(SOFT)))
        return self._energies

    def _keep(self, positions_A: Floats, energies: tuple[float, float]) -> Floats:
        self._at, self._energies = positions_A, energies
        return positions_A

    def _group(self, group: int) -> float:
        energy = self.context.getState(energy=True, groups={group}).getPotentialEnergy()
        return float(energy.value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV

    def _kinetic_eV(self, velocities: Floats) -> float:
        return 0.5 * float((self._masses * velocities**2).sum()) / KJ_MOL_PER_EV

    def _trajectory(self, x: Floats, softness: float, rng: np.random.Generator) -> Floats:
        """Hybrid Monte Carlo."""
        context, here = self.context, self._parts(x)
        self.integrator.setGlobalVariableByName("softness", softness)
        sigma = np.sqrt(self.kT_eV * KJ_MOL_PER_EV / self._masses)
        context.setPositions(x * NM_PER_A)
        context.setVelocities(sigma * rng.standard_normal(x.shape))
        context.applyVelocityConstraints(_TOLERANCE)
        begun = self._kinetic_eV(_velocities(context.getState(velocities=True)))
        self.integrator.step(1)
        state = context.getState(positions=True, velocities=True)
        ended = self._kinetic_eV(_velocities(state))
        there = (
            self.integrator.getGlobalVariableByName("stiff") / KJ_MOL_PER_EV,
            self.integrator.getGlobalVariableByName("soft") / KJ_MOL_PER_EV,
        )
        change = (ended - begun + _total(there, softness) - _total(here, softness)) / self.kT_eV
        accepted = accept(change, 0.0, rng)
        self.trajectories.record(accepted, change, None)
        if not accepted:
            return self._keep(x, here)
        new = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        return self._keep(np.array(new, np.float64), there)

    def _turn(self, x: Floats, softness: float, rng: np.random.Generator) -> Floats:
        """Heat-bath turns, judged by the full energy at this softness."""
        if self._turns is None:
            return x
        here = self._parts(x)
        made = self._turns.at(softness).propose(x, kT_eV=self.kT_eV, rng=rng)
        there = self._parts(made.positions_A)
        change = (_total(there, softness) - _total(here, softness)) / self.kT_eV
        accepted = accept(change, float(made.log_q_ratio or 0.0), rng)
        self.turned.record(accepted, change, None)
        return made.positions_A if accepted else self._keep(x, here)


class SoftenedTurns:
    """Heat-bath proposers of a System, one for each softness.

    Parameters
    ----------
    system, tree : openmm.System, TorsionTree
        Of the molecule; in implicit solvent Coulomb terms count `SCREENED`.
    turns : int
        Of one proposal.

    Raises
    ------
    InputError
        If no pair terms can be read from the System.
    """

    def __init__(self, system: openmm.System, tree: TorsionTree, turns: int) -> None:
        terms = turn_terms(system)
        if terms is None:
            raise InputError(
                "no pair terms can be read from this System, and heat-bath turns need them; "
                "give turns=0 for trajectories alone"
            )
        screened = any(isinstance(force, _IMPLICIT) for force in system.getForces())
        self.terms = replace(
            terms, coulomb_eV_A=terms.coulomb_eV_A * (SCREENED if screened else 1.0)
        )
        self.tree, self.turns = tree, turns
        self.soft = soft_torsions(terms.torsions, terms.heights_eV * KJ_MOL_PER_EV, tree)
        self._made: dict[int, Proposer] = {}

    def at(self, softness: float) -> Proposer:
        """Turns in the terms at about a softness."""
        key = round(softness / _NEAR)
        if key not in self._made:
            self._made[key] = self._proposer(key * _NEAR)
        return self._made[key]

    def _proposer(self, softness: float) -> HeatBathProposer:
        terms = self.terms
        heights = terms.heights_eV * np.where(self.soft, softness, 1.0)
        scaled = replace(
            terms,
            epsilon_eV=terms.epsilon_eV * softness,
            coulomb_eV_A=terms.coulomb_eV_A * softness,
            heights_eV=heights,
        )
        return HeatBathProposer(self.tree, scaled, turns=self.turns, pairs=PAIRS)

    def check(self, positions_A: Floats, kT_eV: float) -> None:
        """Take uniform turns if these are not reversible here."""
        trusted = self._proposer(1.0).trusted(positions_A, kT_eV)
        if not isinstance(trusted, HeatBathProposer):
            self._made = dict.fromkeys(range(round(1 / _NEAR) + 1), trusted)


def _total(energies: tuple[float, float], softness: float) -> float:
    return energies[0] + softness * energies[1]


def _velocities(state: openmm.State) -> Floats:
    found = state.getVelocities(asNumpy=True)
    return np.asarray(found.value_in_unit(unit.nanometer / unit.picosecond), np.float64)
