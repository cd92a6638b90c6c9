"""`TorsionProposalMove` in openmmtools: exact, plain data, distinct and repeatable
streams, combined moves, storage and resume.
"""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import openmm
import pytest
from openmm import unit
from openmmtools import cache, mcmc, multistate, states, utils
from scipy import special

from equidrift.adapters.openmmtools.move import TorsionProposalMove
from equidrift.errors import InexactProposalError, InputError, InputTypeError
from equidrift.mmff import mmff_system
from equidrift.montecarlo.proposals import LocalTorsionProposer, uniform_proposer
from equidrift.records import Proposal
from equidrift.torsions import TorsionTree
from equidrift.units import KJ_MOL_PER_EV
from tests.sampling import BUTANE, LOPSIDED, TREE, UNIFORM, p_value, rigid_density, start_A


@pytest.fixture
def contexts() -> cache.ContextCache:
    return cache.ContextCache(platform=openmm.Platform.getPlatform("Reference"))


def at(kelvin: float = 300) -> states.ThermodynamicState:
    return states.ThermodynamicState(mmff_system(BUTANE), kelvin * unit.kelvin)


def start() -> states.SamplerState:
    return states.SamplerState(start_A() * unit.angstrom)


def torsion(state: states.SamplerState) -> float:
    return float(TREE.torsions(state.positions.value_in_unit(unit.angstrom))[0])


def dynamics(n_steps: int = 5) -> mcmc.LangevinDynamicsMove:
    return mcmc.LangevinDynamicsMove(timestep=1 * unit.femtosecond, n_steps=n_steps)


@pytest.mark.long
def test_moves_sample_the_torsion_of_the_state(contexts):
    move, thermodynamic, sampler = TorsionProposalMove(LOPSIDED, 30, seed=1), at(400), start()
    context, _ = contexts.get_context(thermodynamic)

    def energy(x_A: np.ndarray) -> float:
        context.setPositions(x_A * 0.1)
        return context.getState(energy=True).getPotentialEnergy()._value / KJ_MOL_PER_EV

    expected = rigid_density(
        energy,
        start_A(),
        kT_eV=thermodynamic.kT.value_in_unit(unit.kilojoule_per_mole) / KJ_MOL_PER_EV,
    )
    phi = []
    for _ in range(300):
        move.apply(thermodynamic, sampler, context_cache=contexts)
        phi.append(torsion(sampler))
    assert p_value(np.array(phi), expected) > 0.01
    assert move.statistics["proposed"] == 9000 and move.statistics["n_applied"] == 300


MOVES = {
    "alone": lambda: TorsionProposalMove(UNIFORM, 3, seed=4, atoms=range(BUTANE.n_atoms)),
    "local": lambda: TorsionProposalMove(LocalTorsionProposer(TREE, 0.5), 3, seed=4),
    "sequence": lambda: mcmc.SequenceMove([TorsionProposalMove(LOPSIDED, 3, seed=4), dynamics()]),
    "weighted": lambda: mcmc.WeightedMove(
        [(TorsionProposalMove(LOPSIDED, 3, seed=4), 0.5), (dynamics(), 0.5)]
    ),
}


def rebuilt(plain: dict) -> mcmc.MCMCMove:
    return utils.deserialize(copy.deepcopy(plain))  # which takes its argument apart


@pytest.mark.parametrize("name", MOVES)
def test_serialization_by_pickle_copy_and_openmmtools(name, contexts):
    move = MOVES[name]()
    move.apply(at(), start(), context_cache=contexts)
    plain = utils.serialize(move)
    for again in (pickle.loads(pickle.dumps(move)), copy.deepcopy(move), rebuilt(plain)):
        assert utils.serialize(again) == plain
        again.apply(at(), start(), context_cache=contexts)
    if name in ("alone", "local"):
        json.dumps(move.__getstate__())  # plain data, the proposer too
        one, two, again = start(), start(), rebuilt(plain)
        move.apply(at(), one, context_cache=contexts)
        again.apply(at(), two, context_cache=contexts)
        assert np.array_equal(one.positions, two.positions)


def test_streams_differ_by_state_replica_and_use_and_repeat_by_seed(contexts):
    def first(kelvin=300.0, seed=0, uses=1, shift=0.0) -> float:
        move = TorsionProposalMove(UNIFORM, 1, seed=seed)
        sampler = states.SamplerState((start_A() + shift) * unit.angstrom)
        drawn: list[float] = []
        real = move.proposer.propose

        class Spy:
            tree, exact = TREE, True

            def propose(self, x, *, kT_eV, rng):
                proposal = real(x, kT_eV=kT_eV, rng=rng)
                drawn.append(float(TREE.torsions(proposal.positions_A)[0]))
                return Proposal(x, -np.inf)  # so that the chain stands still

        move._proposer = Spy()
        for _ in range(uses):
            move.apply(at(kelvin), sampler, context_cache=contexts)
        return drawn[-1]

    variants = [first(), first(kelvin=310), first(seed=1), first(uses=2), first(shift=0.5)]
    assert len({round(angle, 9) for angle in variants}) == 5
    assert first() == variants[0] and first(uses=2) == variants[3]


def test_velocities_change_with_accepted_moves_only(contexts):
    sampler, move = start(), TorsionProposalMove(UNIFORM, 1, seed=0)
    sampler.velocities = 0.1 * np.ones((BUTANE.n_atoms, 3)) * unit.nanometer / unit.picosecond
    changed = []
    for _ in range(30):
        before, accepted = (
            np.array(sampler.velocities / sampler.velocities.unit),
            move.statistics["accepted"],
        )
        move.apply(at(), sampler, context_cache=contexts)
        changed.append(not np.array_equal(before, sampler.velocities / sampler.velocities.unit))
        assert changed[-1] is (move.statistics["accepted"] > accepted)
    assert 0 < sum(changed) < 30


@pytest.mark.long
def test_stiff_bonds_hold_half_a_kT_beside_langevin_dynamics(contexts):
    """Of a freely jointed chain every turn is accepted, and equipartition tells the
    energy of a bond, whatever else is done. Velocities drawn anew gave 1.05 (w dt = .5).
    """
    n, stiffness, length_nm = 24, 250000.0, 0.15
    pairs = [(k, k + 1) for k in range(n - 1)]
    system, bonds = openmm.System(), openmm.HarmonicBondForce()
    for _ in range(n):
        system.addParticle(12.0)
    for i, j in pairs:
        bonds.addBond(i, j, length_nm, stiffness)
    system.addForce(bonds)
    state = states.ThermodynamicState(system, 300 * unit.kelvin)
    steps = np.random.default_rng(0).standard_normal((n, 3))
    steps *= length_nm / np.linalg.norm(steps, axis=1, keepdims=True)
    sampler = states.SamplerState(
        np.cumsum(steps, axis=0) * unit.nanometer,
        velocities=np.zeros((n, 3)) * unit.nanometer / unit.picosecond,
    )
    turns = uniform_proposer(TorsionTree(n, pairs, pairs[1:-1]), block_size=1)
    langevin = mcmc.LangevinDynamicsMove(
        timestep=0.5 * np.sqrt(6 / stiffness) * unit.picosecond,
        collision_rate=50 / unit.picosecond,
        n_steps=3,
    )
    move = mcmc.SequenceMove([TorsionProposalMove(turns, 1, seed=1), langevin])
    energies = []
    for _ in range(2000):
        move.apply(state, sampler, context_cache=contexts)
        x = sampler.positions.value_in_unit(unit.nanometer)
        stretch = np.linalg.norm(np.diff(x, axis=0), axis=1) - length_nm
        energies.append(0.5 * stiffness * (stretch**2).mean())
    half_kT = 0.5 * unit.MOLAR_GAS_CONSTANT_R.value_in_unit_system(unit.md_unit_system) * 300
    blocks = np.array(energies[200:]).reshape(20, -1).mean(axis=1) / half_kT
    assert abs(blocks.mean() - 1) < 3 * blocks.std(ddof=1) / np.sqrt(20)
    assert blocks.std(ddof=1) / np.sqrt(20) < 0.015


@pytest.mark.long
def test_replica_exchange_with_storage_and_resume(tmp_path, contexts):
    move = mcmc.SequenceMove([TorsionProposalMove(LOPSIDED, 5, seed=3), dynamics()])
    thermodynamic = [at(kelvin) for kelvin in (300, 400, 500)]
    path = str(tmp_path / "exchange.nc")
    reporter = multistate.MultiStateReporter(path, checkpoint_interval=1)
    sampler = multistate.ReplicaExchangeSampler(mcmc_moves=move, number_of_iterations=3)
    sampler.energy_context_cache = sampler.sampler_context_cache = contexts
    sampler.create(thermodynamic, [start()] * 3, reporter)
    sampler.run()
    counts = [m.statistics[0] for m in sampler.mcmc_moves]
    assert [c["proposed"] for c in counts] == [15] * 3 and [c["n_applied"] for c in counts] == [
        3
    ] * 3
    reporter.close()
    del sampler
    sampler = multistate.ReplicaExchangeSampler.from_storage(
        multistate.MultiStateReporter(path, open_mode="r+", checkpoint_interval=1)
    )
    assert [m.statistics[0] for m in sampler.mcmc_moves] == counts
    sampler.energy_context_cache = sampler.sampler_context_cache = contexts
    sampler.extend(2)
    assert [m.statistics[0]["proposed"] for m in sampler.mcmc_moves] == [25] * 3
    assert (
        sampler.mcmc_moves[0].move_list[0].proposer.density.means.tolist()
        == LOPSIDED.density.means.tolist()
    )


def four_sites() -> openmm.System:
    """Bonds, angles and one torsion, 3 (1 + cos phi) kJ/mol, with nothing else: so phi
    has the density exp(-3 cos phi / kT) at every temperature.
    """
    system = openmm.System()
    forces = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    for k in range(4):
        system.addParticle(12.0)
        if k < 3:
            forces[0].addBond(k, k + 1, 0.15, 100000.0)
        if k < 2:
            forces[1].addAngle(k, k + 1, k + 2, 1.9, 400.0)
    forces[2].addTorsion(0, 1, 2, 3, 1, 0.0, 3.0)
    for force in forces:
        system.addForce(force)
    return system


@pytest.mark.long
def test_replica_exchange_samples_the_torsion_of_every_temperature(tmp_path, contexts):
    """<cos phi> = -I1(3 / kT) / I0(3 / kT), by Bessel functions of SciPy."""
    kelvins, iterations = (300.0, 430.0, 600.0), 250
    tree = TorsionTree(4, [(0, 1), (1, 2), (2, 3)], [(1, 2)])
    x = np.array([[-0.5, 1.4, 0], [0, 0, 0], [1.5, 0, 0], [2.0, 1.0, 1.0]])
    move = mcmc.SequenceMove([TorsionProposalMove(uniform_proposer(tree), 4, seed=3), dynamics(10)])
    reporter = multistate.MultiStateReporter(str(tmp_path / "exchange.nc"), checkpoint_interval=1)
    sampler = multistate.ReplicaExchangeSampler(
        mcmc_moves=move, number_of_iterations=iterations, online_analysis_interval=None
    )
    sampler.energy_context_cache = sampler.sampler_context_cache = contexts
    thermodynamic = [states.ThermodynamicState(four_sites(), t * unit.kelvin) for t in kelvins]
    sampler.create(thermodynamic, [states.SamplerState(x * unit.angstrom)] * 3, reporter)
    sampler.run()
    cosines = np.zeros((iterations, 3))
    visits = np.zeros((iterations, 3), int)
    for k in range(iterations):
        visits[k] = reporter.read_replica_thermodynamic_states(k + 1)
        for state, replica in zip(visits[k], reporter.read_sampler_states(k + 1), strict=True):
            positions = replica.positions.value_in_unit(unit.angstrom)
            cosines[k, state] = np.cos(tree.torsions(positions)[0])
    assert all(len(set(visits[:, replica])) == 3 for replica in range(3))
    gas_constant = unit.MOLAR_GAS_CONSTANT_R.value_in_unit_system(unit.md_unit_system)
    for column, kelvin in zip(cosines.T, kelvins, strict=True):
        ratio = 3.0 / (gas_constant * kelvin)
        right = -special.iv(1, ratio) / special.iv(0, ratio)
        blocks = column.reshape(25, -1).mean(axis=1)
        error = blocks.std(ddof=1) / 5
        assert abs(blocks.mean() - right) < 4 * error and error < 0.08
    assert np.abs(np.corrcoef(cosines.T)[np.triu_indices(3, 1)]).max() < 0.3


def test_move_refuses_proposers_without_density_or_plain_form(contexts):
    class NoDensity:
        name, exact = "generator", False

        def propose(self, positions_A, *, kT_eV, rng):
            return Proposal(positions_A, None)

    class NoPlainForm(NoDensity):
        exact = True

    with pytest.raises(InexactProposalError, match="no proposal density"):
        TorsionProposalMove(NoDensity())
    with pytest.raises(InputTypeError, match="no to_dict"):
        TorsionProposalMove(NoPlainForm())
    with pytest.raises(InputError, match="n_proposals must be 0 or more"):
        TorsionProposalMove(UNIFORM, -1)
    other = states.ThermodynamicState(mmff_system("CCC"), 300 * unit.kelvin)
    with pytest.raises(InputError, match="for 14 atoms, but there are 11"):
        TorsionProposalMove(UNIFORM).apply(
            other, states.SamplerState(np.zeros((11, 3)) * unit.nanometer), context_cache=contexts
        )
