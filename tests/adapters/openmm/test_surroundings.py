"""Moves are exact in whatever stands around a molecule: cutoffs, PME, continuum,
ions, frozen atoms, virtual sites, pressure, other temperatures. Oracles are quadrature
over the torsions in full OpenMM energies, and the gas law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import openmm
import pytest
from openmm import app, unit
from pymbar.timeseries import statistical_inefficiency
from scipy.special import digamma, polygamma

from equidrift.adapters.openmm.replica_exchange import ProposalReplicaExchange
from equidrift.adapters.openmm.sampler import ContextMoves, ProposalSampler
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.errors import InputError
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics
from equidrift.montecarlo.proposals import uniform_proposer
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV
from tests.toy_chain import KT_EV, SITES, START, TREE, chain, observables, z_scores

ATOMS = np.arange(SITES)
Surroundings = tuple[openmm.System, np.ndarray]  # and positions in A of what is not the chain


def pairs_of(system: openmm.System) -> openmm.NonbondedForce:
    return next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))


def boxed(system: openmm.System, edge_nm: float) -> None:
    system.setDefaultPeriodicBoxVectors(*np.diag([edge_nm] * 3))


def pme() -> Surroundings:
    system = chain()
    pairs_of(system).setNonbondedMethod(openmm.NonbondedForce.PME)
    pairs_of(system).setCutoffDistance(0.6)
    boxed(system, 1.3)
    return system, np.zeros((0, 3))


def switched_cutoff() -> Surroundings:
    """A reaction field and switched Lennard-Jones, cut within the molecule."""
    system = chain()
    pairs = pairs_of(system)
    pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    pairs.setCutoffDistance(0.35)
    pairs.setUseSwitchingFunction(True)
    pairs.setSwitchingDistance(0.28)
    boxed(system, 2.0)
    return system, np.zeros((0, 3))


def cutoff() -> Surroundings:
    system = chain()
    pairs_of(system).setNonbondedMethod(openmm.NonbondedForce.CutoffNonPeriodic)
    pairs_of(system).setCutoffDistance(0.4)
    return system, np.zeros((0, 3))


def continuum() -> Surroundings:
    system, solvent = chain(), openmm.GBSAOBCForce()
    for k in range(SITES):
        charge = pairs_of(system).getParticleParameters(k)[0]
        solvent.addParticle(charge, 0.17, 0.72)
    system.addForce(solvent)
    return system, np.zeros((0, 3))


def ions(mass: float = 23.0) -> Surroundings:
    """Another molecule beside the chain."""
    system = chain()
    for charge in (-0.8, 0.8):
        system.addParticle(mass)
        pairs_of(system).addParticle(charge, 0.3, 0.3)
    return system, np.array([[4.5, -2.5, 2.0], [-3.5, 3.0, -1.5]])


def frozen_ions() -> Surroundings:
    return ions(mass=0.0)


def virtual_site() -> Surroundings:
    """A charge between the last two sites, which no term of the surrogate has."""
    system = chain()
    system.addParticle(0.0)
    system.setVirtualSite(SITES, openmm.TwoParticleAverageSite(3, 4, 1.6, -0.6))
    pairs = pairs_of(system)
    pairs.addParticle(-0.5, 0.2, 0.0)
    for k in (2, 3, 4):
        pairs.addException(k, SITES, 0.0, 0.2, 0.0)
    return system, np.zeros((1, 3))


SURROUNDINGS = [
    pme,
    switched_cutoff,
    cutoff,
    continuum,
    ions,
    frozen_ions,
    virtual_site,
]


def context_of(system: openmm.System, rest_A: np.ndarray) -> openmm.Context:
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(np.concatenate([START, rest_A]) * 0.1)
    context.computeVirtualSites()
    return context


def expected(made: Surroundings, points: int) -> np.ndarray:
    """(6,) means of `observables` by quadrature, everything but the torsions held."""
    context, axis = context_of(*made), (np.arange(points) + 0.5) / points * 2 * np.pi - np.pi
    phi = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    energies = []
    for x in TREE.set_torsions(START, phi):
        context.setPositions(np.concatenate([x, made[1]]) * 0.1)
        context.computeVirtualSites()
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    u = np.array(energies) / KJ_MOL_PER_EV / KT_EV
    w = np.exp(u.min() - u)
    return w @ observables(phi) / w.sum()


def sampled(made: Surroundings, n: int) -> tuple[np.ndarray, float]:
    """Torsions (n, 2) along heat-bath moves of the chain, and the share accepted."""
    terms = turn_terms(made[0], ATOMS)
    assert terms is not None and terms.n_atoms == SITES
    proposer = HeatBathProposer(TREE, terms, points=6)
    statistics, rng = Statistics.of(proposer), np.random.default_rng(5)
    moves = ContextMoves(context_of(*made), proposer, atoms=ATOMS)
    rows = []
    for _ in range(n):
        _, _, x = moves.apply(
            3, temperature_K=300, rng=rng, statistics=statistics, velocities=False
        )
        rows.append(TREE.torsions(x))
    return np.array(rows), statistics.acceptance


@pytest.mark.long
@pytest.mark.parametrize("make", SURROUNDINGS, ids=lambda make: make.__name__)
def test_heat_bath_keeps_the_density_in_any_surroundings(
    make: Callable[[], Surroundings],
) -> None:
    phi, acceptance = sampled(make(), 400)
    assert acceptance > 0.1
    assert np.abs(z_scores(phi, expected(make(), 24))).max() < 4.5


@pytest.mark.long
def test_the_surroundings_change_the_density_that_is_asked_for() -> None:
    """What the test above holds: without the ions its chain would be far off."""
    phi, _ = sampled(ions(), 400)
    assert np.abs(z_scores(phi, expected((chain(), np.zeros((0, 3))), 24))).max() > 6
    assert np.abs(free_expected(300) - free_expected(430)).max() > 0.08


@pytest.mark.slow
@pytest.mark.parametrize("make", SURROUNDINGS, ids=lambda make: make.__name__)
def test_heat_bath_keeps_the_density_in_any_surroundings_over_20_000_states(
    make: Callable[[], Surroundings],
) -> None:
    phi, _ = sampled(make(), 20_000)
    assert np.abs(z_scores(phi, expected(make(), 72))).max() < 4


def test_terms_of_some_atoms_are_those_of_the_molecule_alone() -> None:
    """Whatever the number of the particles around it, and their order."""
    alone, crowd = turn_terms(chain()), openmm.System()
    pairs, torsions = openmm.NonbondedForce(), openmm.PeriodicTorsionForce()
    source, first = chain(), 300  # more particles before it than a table may have
    for _ in range(first):
        crowd.addParticle(40.0)
        pairs.addParticle(0.1, 0.3, 0.5)
    for k in range(SITES):
        crowd.addParticle(12.0)
        pairs.addParticle(*pairs_of(source).getParticleParameters(k))
    for k in range(pairs_of(source).getNumExceptions()):
        i, j, *values = pairs_of(source).getExceptionParameters(k)
        pairs.addException(i + first, j + first, *values)
    pairs.addException(0, first, 0.0, 0.3, 0.0)
    for k in range(source.getForce(2).getNumTorsions()):
        *four, order, phase, height = source.getForce(2).getTorsionParameters(k)
        torsions.addTorsion(*(atom + first for atom in four), order, phase, height)
    torsions.addTorsion(0, 1, 2, 3, 1, 0.0, 1.0)
    for force in (pairs, torsions):
        crowd.addForce(force)
    found = turn_terms(crowd, ATOMS + first)
    assert found is not None and alone is not None
    assert found.surroundings is not None and len(found.surroundings.others) == first - 1
    assert replace(found, surroundings=None).to_dict() == alone.to_dict()
    everything = turn_terms(crowd)  # too many for tables: exceptions alone
    assert everything is not None and everything.surroundings is not None
    assert everything.surroundings.unlisted and len(everything.pairs) < SITES
    with pytest.raises(InputError, match="different particles 0 to 304"):
        turn_terms(crowd, [0, 0, 1])


# Dynamics with moves: torsions that nothing but their own terms decides ----------------


def free_chain(others: int = 0) -> openmm.System:
    """The chain without pairs, periodic, and particles of an ideal gas: each torsion has
    the density of its own cosine, at every pressure.
    """
    system = chain()
    system.removeForce(3)
    for force in system.getForces():
        force.setUsesPeriodicBoundaryConditions(True)
    for _ in range(others):
        system.addParticle(12.0)
    return system


def gas(system: openmm.System, kelvin: float, edge_nm: float, seed: int) -> app.Simulation:
    """The chain and its gas, ready to run."""
    topology, bonded = app.Topology(), []
    group = topology.addChain()
    for k in range(system.getNumParticles()):
        residue = topology.addResidue("X", group)
        atom = topology.addAtom("C", app.element.carbon, residue)
        bonded += [atom] if k < SITES else []
    for first, second in pairwise(bonded):
        topology.addBond(first, second)
    boxed(system, edge_nm)
    integrator = openmm.LangevinMiddleIntegrator(kelvin, 5.0, 0.001)
    integrator.setRandomNumberSeed(seed)
    made = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
    others = np.random.default_rng(seed).uniform(0, edge_nm, (system.getNumParticles() - SITES, 3))
    made.context.setPositions(np.concatenate([START * 0.1, others]))
    made.minimizeEnergy()
    made.context.setVelocitiesToTemperature(kelvin, seed)
    return made


def free_expected(kelvin: float) -> np.ndarray:
    """(6,) means of `observables` of the two independent torsions, by quadrature."""
    axis = (np.arange(360) + 0.5) / 360 * 2 * np.pi - np.pi
    kT = BOLTZMANN_EV_PER_K * kelvin * KJ_MOL_PER_EV
    first = np.exp(-2.0 * (1 + np.cos(3 * axis - 0.4)) / kT)
    second = np.exp(-2.5 * (1 + np.cos(axis + 0.8)) / kT)
    phi = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    w = np.outer(first, second).ravel()
    return w @ observables(phi) / w.sum()


@pytest.mark.long
def test_moves_between_steps_at_constant_pressure_keep_torsions_and_volume() -> None:
    """The volume of 8 molecules of an ideal gas is Gamma distributed: (8 + 1) kT / P."""
    molecules, edge_nm, kT = 8, 3.0, BOLTZMANN_EV_PER_K * 300 * KJ_MOL_PER_EV
    pressure = (molecules + 1) * kT / edge_nm**3 * 16.6054  # kJ/mol/nm^3 in bar
    system = free_chain(molecules - 1)
    system.addForce(openmm.MonteCarloBarostat(pressure, 300, 1))
    simulation = gas(system, 300, edge_nm, 1)
    sampler = ProposalSampler(simulation, uniform_proposer(TREE), 4, 2, atoms=ATOMS, seed=2)
    volumes = []
    for _ in range(2500):
        sampler.run(1)
        volume = simulation.context.getState().getPeriodicBoxVolume()
        volumes.append(volume.value_in_unit(unit.nanometer**3))
    assert np.abs(z_scores(sampler.torsions_rad[50:], free_expected(300))).max() < 4.5
    series = np.log(volumes[50:])
    mean = digamma(molecules + 1) + np.log(edge_nm**3 / (molecules + 1))
    error = np.sqrt(polygamma(1, molecules + 1) * statistical_inefficiency(series) / len(series))
    assert abs(series.mean() - mean) < 4.5 * error


@pytest.mark.long
def test_replicas_at_three_temperatures_have_their_densities_and_streams_of_their_own() -> None:
    kelvins = (300.0, 430.0, 600.0)
    simulation = gas(free_chain(), 300, 3.0, 3)
    states = [{"temperature": kelvin * unit.kelvin} for kelvin in kelvins]
    exchange = ProposalReplicaExchange(states, simulation, 4, uniform_proposer(TREE), 2, seed=4)
    rows = np.empty((800, 3, 2))
    for row in rows:
        exchange.simulate(1)
        for replica, state in enumerate(exchange.replicaStateIndex):
            positions = exchange.replicaConformation[replica].getPositions(asNumpy=True)
            row[state] = TREE.torsions(positions.value_in_unit(unit.angstrom))
    kept = rows[50:]
    for k, kelvin in enumerate(kelvins):
        assert np.abs(z_scores(kept[:, k], free_expected(kelvin))).max() < 4.5
    waves = np.exp(1j * kept)
    waves -= waves.mean(axis=0)
    for a, b in ((0, 1), (0, 2), (1, 2)):  # as for independent chains, but for their noise
        shared = np.abs((waves[:, a] * waves[:, b].conj()).mean(axis=0))
        size = np.sqrt((np.abs(waves[:, a]) ** 2).mean(axis=0) * (np.abs(waves[:, b]) ** 2).mean(0))
        assert (shared / size).max() < 0.2
