"""Test systems and integrators of openmmtools: what the sampling benchmark runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from openmmtools import integrators, testsystems
from openmmtools.testsystems import app, openmm, unit


def alanine_dipeptide(constrained: bool = True) -> tuple[Any, Any, NDArray[np.float64]]:
    """(Topology, System, positions_A (22, 3)) of alanine dipeptide, ff96 with OBC
    implicit water, bonds to hydrogen constrained or not.
    """
    made = testsystems.AlanineDipeptideImplicit(**({} if constrained else {"constraints": None}))
    positions_A = np.asarray(made.positions.value_in_unit(unit.angstrom), np.float64)
    return made.topology, made.system, positions_A


def hybrid_monte_carlo(temperature_K: float, n_steps: int, timestep_ps: float) -> Any:
    """An integrator each of whose steps is one hybrid Monte Carlo move of `n_steps`
    velocity Verlet steps.
    """
    return integrators.HMCIntegrator(temperature_K, nsteps=n_steps, timestep=timestep_ps)


def water_and_sodium() -> tuple[Any, Any, NDArray[np.float64]]:
    """(Topology, System, positions_A (4, 3)) of a rigid TIP3P water beside a sodium ion
    in vacuum.

    References
    ----------
    Jorgensen et al., J. Chem. Phys. 1983, 79, 926 (water); Joung and Cheatham, J. Phys.
    Chem. B 2008, 112, 9020 (sodium for TIP3P).
    """
    bond_A, half = 0.9572, np.radians(104.52) / 2
    arm = bond_A * np.array([np.sin(half), 0, np.cos(half)])
    positions_A = np.array([np.zeros(3), arm, arm * [-1, 1, 1], [0, 0, -2.4]])
    system, pairs = openmm.System(), openmm.NonbondedForce()
    for mass, charge, sigma_nm, epsilon_kJ_mol in (
        (15.999, -0.834, 0.315061, 0.6364),
        (1.008, 0.417, 1.0, 0.0),
        (1.008, 0.417, 1.0, 0.0),
        (22.99, 1.0, 0.24393, 0.36585),
    ):
        system.addParticle(mass)
        pairs.addParticle(charge, sigma_nm, epsilon_kJ_mol)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        system.addConstraint(i, j, 0.1 * np.linalg.norm(positions_A[i] - positions_A[j]))
        pairs.addException(i, j, 0, 1, 0)
    system.addForce(pairs)
    topology = app.Topology()
    chain = topology.addChain()
    water, ion = (topology.addResidue(name, chain) for name in ("HOH", "NA"))
    oxygen, *hydrogens = (
        topology.addAtom(name, app.Element.getBySymbol(name[0]), water)
        for name in ("O", "H1", "H2")
    )
    for hydrogen in hydrogens:
        topology.addBond(oxygen, hydrogen)
    topology.addAtom("NA", app.Element.getBySymbol("Na"), ion)
    return topology, system, positions_A
