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


def acetonitrile_in_cage() -> tuple[Any, Any, NDArray[np.float64]]:
    """(Topology, System, positions_A (17, 3)) of acetonitrile in a cage of 14 sites that
    stand still: it lies along z, with N up or down, and has no room to turn over.

    Atoms 0 to 2 are CH3, C and N. Two rings of six sites and two lids, the upper one of
    charge +.02 e and the lower one of -.02, make the two wells unequal. Nothing holds
    the molecule's shape: it is for moves of rigid bodies.

    References
    ----------
    Jorgensen and Briggs, Mol. Phys. 1988, 63, 547 (acetonitrile); the cage's sites are
    aromatic carbons of OPLS without charges, Jorgensen and Severance, J. Am. Chem. Soc.
    1990, 112, 4768.
    """
    turns = np.arange(6) * np.pi / 3
    rings = [
        np.stack([4.0 * np.cos(by), 4.0 * np.sin(by), np.full(6, z)], axis=1)
        for z, by in ((-1.6, turns), (1.6, turns + np.pi / 6))
    ]
    molecule = np.array([[0, 0, -1.458], [0, 0, 0], [0, 0, 1.157]])
    lids = [[0, 0, -5.2], [0, 0, 5.2]]
    positions_A = np.concatenate([molecule - molecule.mean(axis=0), *rings, lids])
    cage = [("C", 0.0, 0.0, 0.355, 0.29288)] * 12
    cage += [("C", 0.0, charge, 0.355, 0.29288) for charge in (-0.02, 0.02)]
    system, pairs = openmm.System(), openmm.NonbondedForce()
    topology = app.Topology()
    chain = topology.addChain()
    residues = [topology.addResidue(name, chain) for name in ("ACN", "CGE")]
    for k, (symbol, mass, charge, sigma_nm, epsilon_kJ_mol) in enumerate(
        [
            ("C", 15.035, 0.15, 0.3775, 0.866088),
            ("C", 12.011, 0.28, 0.365, 0.6276),
            ("N", 14.007, -0.43, 0.32, 0.71128),
            *cage,
        ]
    ):
        system.addParticle(mass)
        pairs.addParticle(charge, sigma_nm, epsilon_kJ_mol)
        element = app.Element.getBySymbol(symbol)
        topology.addAtom(f"{symbol}{k}", element, residues[k > 2])
    for i in range(len(positions_A)):
        for j in range(i):
            if i < 3 or j > 2:  # what does not change while both stand still
                pairs.addException(i, j, 0, 1, 0)
    methyl, carbon, nitrogen, *_ = topology.atoms()
    topology.addBond(methyl, carbon)
    topology.addBond(carbon, nitrogen)
    system.addForce(pairs)
    return topology, system, positions_A
