"""A chain of five sites in OpenMM whose torsional density is known by quadrature: the
oracle of heat-bath turns and of foreign terms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openmm

from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV

SITES = 5
BONDS = [(k, k + 1) for k in range(SITES - 1)]
TREE = TorsionTree(SITES, BONDS, [(1, 2), (2, 3)])
START = np.array(
    [[-0.6, 1.4, 0.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [2.1, 1.2, 0.6], [3.5, 1.3, 1.1]]
)
KT_EV = BOLTZMANN_EV_PER_K * 300


def chain() -> openmm.System:
    """Torsions about both inner bonds, Lennard-Jones, charges and 1-4 exceptions; bonds
    and angles, which turning leaves alone.
    """
    system, bonds, angles = openmm.System(), openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    torsions, pairs = openmm.PeriodicTorsionForce(), openmm.NonbondedForce()
    for charge in (0.3, -0.2, 0.1, -0.4, 0.2):
        system.addParticle(12.0)
        pairs.addParticle(charge, 0.25, 0.4)
    for i, j in BONDS:
        bonds.addBond(i, j, 0.15, 250000.0)
    for k in range(SITES - 2):
        angles.addAngle(k, k + 1, k + 2, 1.95, 500.0)
    torsions.addTorsion(0, 1, 2, 3, 3, 0.4, 2.0)
    torsions.addTorsion(1, 2, 3, 4, 1, -0.8, 2.5)
    pairs.createExceptionsFromBonds(BONDS, 0.5, 0.5)
    for force in (bonds, angles, torsions, pairs):
        system.addForce(force)
    return system


def context_of(system: openmm.System) -> openmm.Context:
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(START * 0.1)
    return context


def energy_of(context: openmm.Context) -> Callable[[np.ndarray], float]:
    """positions_A (n, 3) of the particles -> eV."""

    def energy(positions_A: np.ndarray) -> float:
        context.setPositions(positions_A * 0.1)
        return context.getState(energy=True).getPotentialEnergy()._value / KJ_MOL_PER_EV

    return energy


def expectations(context: openmm.Context, points: int = 36) -> np.ndarray:
    """(6,) means of `observables` while all else stands still, by quadrature over
    points x points states.
    """
    energy, axis = energy_of(context), (np.arange(points) + 0.5) / points * 2 * np.pi - np.pi
    phi = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    u = np.array([energy(x) for x in TREE.set_torsions(START, phi)]) / KT_EV
    w = np.exp(u.min() - u)
    context.setPositions(START * 0.1)
    return w @ observables(phi) / w.sum()


def observables(phi: np.ndarray) -> np.ndarray:
    """(k, 6) of torsions (k, 2): what a wrong density changes first."""
    a, b = phi.T
    return np.stack(
        [np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(a - b), np.sin(a + b)], axis=1
    )


def z_scores(phi: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(6,) deviations of a chain's means from quadrature's over their errors, by
    pymbar's statistical inefficiency.
    """
    from pymbar.timeseries import statistical_inefficiency

    series = observables(phi)
    inefficiency = np.array([statistical_inefficiency(column, mintime=20) for column in series.T])
    return (series.mean(axis=0) - expected) / np.sqrt(series.var(axis=0) * inefficiency / len(phi))
