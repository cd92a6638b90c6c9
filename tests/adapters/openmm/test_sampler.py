"""ProposalSampler and replica exchange: exact on a user's System, reporters and
velocities as in MD, resume, and every refusal.
"""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from equidrift.adapters.openmm.sampler import (
    ContextMoves,
    ProposalReplicaExchange,
    ProposalSampler,
    read_checkpoint,
)
from equidrift.adapters.openmmtools.systems import alanine_dipeptide
from equidrift.errors import InexactProposalError, InputError, InputTypeError
from equidrift.files.npz import load_arrays, save_arrays
from equidrift.mmff import mmff_system
from equidrift.montecarlo.basins import correlation_time
from equidrift.montecarlo.densities import Uniform
from equidrift.montecarlo.metropolis import Statistics
from equidrift.montecarlo.proposals import TorsionProposer
from equidrift.records import Proposal
from equidrift.torsions import TorsionTree
from equidrift.units import KJ_MOL_PER_EV
from tests.sampling import (
    BUTANE,
    KT_EV,
    LOPSIDED,
    TREE,
    UNIFORM,
    p_value,
    rigid_density,
    simulation,
    start_A,
)


def state_of(context: openmm.Context) -> tuple[np.ndarray, np.ndarray]:
    state = context.getState(positions=True, velocities=True)
    return state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value


class Cartesian:
    """A symmetric step of every atom: exact without constraints."""

    name, exact = "cartesian", True

    def propose(self, positions_A, *, kT_eV, rng):
        return Proposal(positions_A + 0.02 * rng.standard_normal(positions_A.shape), 0.0)


# Exactness ----------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("proposer", [UNIFORM, LOPSIDED], ids=lambda p: p.name)
def test_moves_alone_sample_the_torsion_of_the_users_system(proposer):
    sim = simulation()
    moves = ContextMoves(sim.context, proposer)

    def energy(x_A: np.ndarray) -> float:
        sim.context.setPositions(x_A * 0.1)
        return sim.context.getState(energy=True).getPotentialEnergy()._value / KJ_MOL_PER_EV

    expected = rigid_density(energy, start_A())
    sim.context.setPositions(start_A() * 0.1)
    rng, statistics, phi = np.random.default_rng(0), Statistics.of(proposer), []
    for _ in range(400):
        _, u, x = moves.apply(
            30, temperature_K=300, rng=rng, statistics=statistics, velocities=False
        )
        phi.append(TREE.torsions(x)[0])
    assert u == pytest.approx(energy(x), abs=1e-9)
    assert p_value(np.array(phi), expected) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("constraints", [None, "HBonds"])
def test_butane_with_proposals_equals_long_plain_md(constraints):
    """pytest -m slow tests/adapters/test_openmm_sampler.py"""
    shares = []
    for n_proposals, cycles in ((0, 40_000), (3, 12_000)):
        sampler = ProposalSampler(
            simulation(constraints, seed=3 + n_proposals),
            UNIFORM,
            md_steps=50,
            n_proposals=n_proposals,
        )
        sampler.run(cycles)
        phi = sampler.torsions_rad[200:, 0]
        gauche = np.abs(phi) < 2.0
        # of the inner flank its share among gauche frames: its error among all frames
        # would miss how rarely MD comes to gauche
        series = [
            inside.astype(float)
            for inside in (gauche, gauche & (phi > 0), np.abs(phi[gauche]) < 0.9)
        ]
        errors = [np.sqrt(x.var() * correlation_time(x) / len(x)) for x in series]
        shares.append((np.array([x.mean() for x in series]), np.array(errors)))
    (md, md_error), (mc, mc_error) = shares
    assert (mc_error[:2] < md_error[:2]).all()
    assert (np.abs(md - mc) < 3.5 * np.hypot(md_error, mc_error)).all()


@pytest.mark.slow
def test_alanine_dipeptide_with_proposals_equals_ten_nanoseconds_of_plain_md():
    """Ramachandran of the basins with phi < 0, between which MD does cross: pytest -m
    slow tests/adapters/test_openmm_sampler.py
    """
    folder = Path(os.environ.get("EQUIDRIFT_DATA", "")) / "ala2"
    if not (folder / "ala2_ff96_obc_300K_seed1.npz").exists():
        pytest.skip("needs EQUIDRIFT_DATA/ala2, ten nanoseconds of plain MD")
    topology, system, x = alanine_dipeptide()
    bonds = [(a.index, b.index) for a, b in topology.bonds()]
    tree = TorsionTree(22, bonds, [(6, 8), (8, 14)])
    chains = [
        tree.torsions(np.load(folder / f"ala2_ff96_obc_300K_seed{k}.npz")["R"].astype(float))
        for k in (1, 2)
    ]
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    integrator.setRandomNumberSeed(5)
    sim = app.Simulation(
        topology, system, integrator, openmm.Platform.getPlatform("CPU"), {"Threads": "1"}
    )
    sim.context.setPositions(x * 0.1)
    sim.context.setVelocitiesToTemperature(300, 1)
    sampler = ProposalSampler(sim, TorsionProposer(tree, Uniform(2)), md_steps=50, n_proposals=10)
    sampler.run(8_000)
    found = []
    for chain in (np.concatenate(chains), np.asarray(sampler.torsions_rad[200:])):
        phi, psi = chain[chain[:, 0] < 0].T
        series = [np.cos(phi), np.cos(psi), np.sin(psi), (np.abs(psi) < 1.2).astype(float)]
        errors = [np.sqrt(u.var() * correlation_time(u) / len(u)) for u in series]
        found.append((np.array([u.mean() for u in series]), np.array(errors)))
    (md, md_error), (mc, mc_error) = found
    assert (np.abs(md - mc) < 3.5 * np.hypot(md_error, mc_error)).all(), (
        md,
        mc,
        md_error,
        mc_error,
    )
    assert (
        np.hypot(md_error, mc_error) < 0.05
    ).all()  # errors so large that everything agrees would show nothing


def rigid_chain() -> tuple[openmm.System, np.ndarray, app.Topology]:
    """Four atoms whose bonds and angles are constrained and nothing pulls: only the
    constraints decide the torsion.
    """
    system, topology = openmm.System(), app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for mass in (
        12.0,
        12.0,
        12.0,
        12.0,
    ):  # lighter ones in the middle would favour more, but OpenMM's constraint solver diverges
        system.addParticle(mass)
        topology.addAtom("C", app.element.carbon, residue)
    x = np.array([[0.5, 1.4, 0.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [2.0, 1.0, 1.0]])
    for i, j in ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3)):
        system.addConstraint(i, j, float(np.linalg.norm(x[i] - x[j])) * 0.1)
    atoms = list(topology.atoms())
    for i in range(3):
        topology.addBond(atoms[i], atoms[i + 1])
    return system, x, topology


@pytest.mark.slow
def test_constrained_angles_are_weighted_as_dynamics_weigh_them():
    """Rigid constraints alone favour some torsions (Fixman); moves must agree with
    dynamics, which know nothing of our formula.
    """
    system, x, topology = rigid_chain()
    proposer = TorsionProposer(TorsionTree(4, [(0, 1), (1, 2), (2, 3)], [(1, 2)]), Uniform(1))
    means = []
    for md_steps, n_proposals, cycles in ((40, 0, 60_000), (1, 5, 20_000)):
        integrator = openmm.LangevinMiddleIntegrator(300, 20, 0.002)
        integrator.setRandomNumberSeed(4)
        sim = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
        sim.context.setPositions(x * 0.1)
        sim.context.setVelocitiesToTemperature(300, 1)
        sampler = ProposalSampler(sim, proposer, md_steps, n_proposals)
        sampler.run(cycles)
        series = np.cos(np.outer(sampler.torsions_rad[:, 0], [1, 2]))
        means.append(
            (
                series.mean(axis=0),
                np.sqrt(series.var(axis=0) * correlation_time(series) / len(series)),
            )
        )
        assert sampler.moves.metric.varies
    (md, md_error), (mc, mc_error) = means
    assert (np.abs(md - mc) < 4 * np.hypot(md_error, mc_error)).all()
    assert np.abs(md[1]) > 5 * md_error[1]  # a flat torsion would have 0 here


def test_drawing_velocities_often_does_not_heat_stiff_modes():
    """At w dt = 0.57 velocities drawn at whole steps would make the mean square
    displacement 9 % too large.
    """
    n, mass, omega = 300, 12.0, 0.57 / 0.002
    system, well = (
        openmm.System(),
        openmm.CustomExternalForce(f"0.5*{mass * omega**2!r}*(x^2 + y^2 + z^2)"),
    )
    for k in range(n):
        system.addParticle(mass)
        well.addParticle(k, [])
    system.addForce(well)
    topology = app.Topology()
    residue = topology.addResidue("W", topology.addChain())
    for _ in range(n):
        topology.addAtom("C", app.element.carbon, residue)
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    integrator.setRandomNumberSeed(2)
    sim = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
    wanted = KT_EV * KJ_MOL_PER_EV / (mass * omega**2)
    sim.context.setPositions(np.random.default_rng(0).normal(size=(n, 3)) * np.sqrt(wanted))
    sim.context.setVelocitiesToTemperature(300, 1)

    class Same:
        def propose(self, positions_A, *, kT_eV, rng):
            return Proposal(positions_A.copy(), 0.0)

    sampler, squares = ProposalSampler(sim, Same(), md_steps=20, n_proposals=1), []
    for _ in range(150):
        sampler.run(1)
        squares.append((state_of(sim.context)[0] ** 2).mean())
    assert sampler.statistics.acceptance == 1.0
    assert np.mean(squares[5:]) == pytest.approx(wanted, rel=0.025)
    assert integrator.getFriction()._value == 1.0


# As in MD -----------------------------------------------------------------------------


def test_rejections_leave_positions_and_velocities_to_the_last_bit():
    class Awful:
        def propose(self, positions_A, *, kT_eV, rng):
            return Proposal(positions_A * 0.2, 0.0)

    sim = simulation()
    before = state_of(sim.context)
    statistics = Statistics()
    ContextMoves(sim.context, Awful()).apply(
        5, temperature_K=300, rng=np.random.default_rng(0), statistics=statistics
    )
    assert (statistics.proposed, statistics.accepted) == (5, 0)
    assert all(np.array_equal(a, b) for a, b in zip(before, state_of(sim.context), strict=True))


def test_velocities_are_drawn_anew_after_an_accepted_move_and_respect_constraints():
    sim = simulation("HBonds")
    moves, statistics, rng = (
        ContextMoves(sim.context, UNIFORM),
        Statistics.of(UNIFORM),
        np.random.default_rng(0),
    )
    kinetic = []
    for _ in range(150):
        before = state_of(sim.context)[1]
        accepted, _, _ = moves.apply(20, temperature_K=300, rng=rng, statistics=statistics)
        x, v = state_of(sim.context)
        assert np.array_equal(before, v) is (accepted == 0)
        for k in range(sim.system.getNumConstraints()) if accepted else ():
            i, j, _ = sim.system.getConstraintParameters(k)
            assert abs(np.dot(x[i] - x[j], v[i] - v[j])) < 1e-4
        if accepted:
            kinetic.append(sim.context.getState(energy=True).getKineticEnergy()._value)
    freedom = 3 * BUTANE.n_atoms - sim.system.getNumConstraints()
    wanted = freedom / 2 * KT_EV * KJ_MOL_PER_EV
    assert len(kinetic) > 80
    # LangevinMiddle reports the kinetic energy half a step on, with forces of the new
    # place: a few per cent
    assert np.mean(kinetic) == pytest.approx(wanted, rel=0.1)


def test_reporters_are_called_as_in_md_and_files_are_read_back(tmp_path):
    import MDAnalysis as mda

    sim = simulation()
    sim.reporters += [
        app.XTCReporter(str(tmp_path / "a.xtc"), 20),
        app.DCDReporter(str(tmp_path / "a.dcd"), 10),
    ]
    ProposalSampler(sim, UNIFORM, md_steps=20, n_proposals=3).run(5)
    assert sim.currentStep == 100
    sim.reporters.clear()
    for name, frames in (("a.xtc", 5), ("a.dcd", 10)):
        assert (
            len(
                mda.Universe.empty(BUTANE.n_atoms, trajectory=False)
                .load_new(str(tmp_path / name))
                .trajectory
            )
            == frames
        )


def test_virtual_sites_follow_the_atoms():
    system = mmff_system(BUTANE)
    site = system.addParticle(0.0)
    system.setVirtualSite(site, openmm.TwoParticleAverageSite(0, 3, 0.5, 0.5))
    pull = openmm.CustomExternalForce(
        "10*x^2+10*y^2+10*z^2"
    )  # so that the site's place has an energy
    pull.addParticle(site)
    system.addForce(pull)
    for force in system.getForces():
        if isinstance(force, openmm.CMMotionRemover):
            raise AssertionError("not expected")
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(np.vstack([start_A() * 0.1, [[0, 0, 0]]]))
    context.computeVirtualSites()
    statistics = Statistics.of(UNIFORM)
    moves = ContextMoves(context, UNIFORM)
    accepted, u, _ = moves.apply(
        60, temperature_K=300, rng=np.random.default_rng(1), statistics=statistics
    )
    x = context.getState(positions=True).getPositions(asNumpy=True)._value
    assert accepted and x[site] == pytest.approx((x[0] + x[3]) / 2, abs=1e-12)
    assert u == pytest.approx(
        context.getState(energy=True).getPotentialEnergy()._value / KJ_MOL_PER_EV, abs=1e-9
    )


def test_energy_of_the_integrators_force_groups_decides():
    system = mmff_system(BUTANE)
    wall = openmm.CustomTorsionForce("1000*(1-cos(theta-3.14159265))")
    wall.addTorsion(0, 1, 2, 3, [])
    wall.setForceGroup(31)
    system.addForce(wall)
    sim = simulation(system=system)
    sim.context.setPositions(TREE.set_torsions(start_A(), [np.pi]) * 0.1)
    for groups, gauche in ((0xFFFFFFFF, False), (0x7FFFFFFF, True)):
        sim.integrator.setIntegrationForceGroups(groups)
        sampler = ProposalSampler(sim, UNIFORM, md_steps=0, n_proposals=20)
        sampler.run(25)
        assert (np.abs(sampler.torsions_rad) < 2).any() == gauche


def test_nan_energies_are_rejected_and_counted():
    system = mmff_system(BUTANE)
    broken = openmm.CustomTorsionForce(
        "sqrt(cos(theta-3.14159265))"
    )  # NaN for half of all torsions
    broken.addTorsion(0, 1, 2, 3, [])
    system.addForce(broken)
    sim = simulation(system=system)
    sim.context.setPositions(TREE.set_torsions(start_A(), [np.pi]) * 0.1)
    sampler = ProposalSampler(sim, UNIFORM, md_steps=0, n_proposals=200)
    sampler.run(1)
    assert 60 < sampler.statistics.not_finite < 140 and np.isfinite(sampler.energies_eV).all()
    sim.context.setPositions(TREE.set_torsions(start_A(), [0.1]) * 0.1)
    with pytest.raises(InputError, match="energy is nan eV before any move"):
        sampler.run(1)


# Seeds and resume ---------------------------------------------------------------------


def test_same_seed_same_chain_and_resume_is_identical(tmp_path):
    def made(seed: int = 5) -> ProposalSampler:
        return ProposalSampler(simulation(), UNIFORM, md_steps=10, n_proposals=4, seed=seed)

    whole = (
        made()
    )  # one after the other, as the Reference platform has one random stream for all Contexts
    whole.run(12)
    first = made()
    first.run(5)
    first.save(tmp_path / "c", extra={"note": [1, 2]})
    first.run(3)  # is lost
    again = made()
    assert again.load(tmp_path / "c") == {"note": [1, 2]}
    again.run(7)
    assert np.array_equal(whole.torsions_rad, again.torsions_rad) and np.array_equal(
        whole.energies_eV, again.energies_eV
    )
    assert all(
        np.array_equal(a, b)
        for a, b in zip(
            state_of(whole.simulation.context), state_of(again.simulation.context), strict=True
        )
    )
    counts = [
        {key: value for key, value in s.statistics.to_dict().items() if key != "seconds"}
        for s in (whole, again)
    ]
    assert counts[0] == counts[1]
    other = made(seed=6)
    other.run(12)
    assert not np.array_equal(other.torsions_rad, whole.torsions_rad)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    sampler = ProposalSampler(simulation(), UNIFORM, md_steps=10, n_proposals=4)
    sampler.save(tmp_path / "c")
    with pytest.raises(InputError, match="has md_steps=10, not 20"):
        ProposalSampler(simulation(), UNIFORM, md_steps=20, n_proposals=4).load(tmp_path / "c")
    (tmp_path / "d").write_text("nonsense")
    (tmp_path / "e").write_bytes((tmp_path / "c").read_bytes()[:-200])
    for name in ("d", "e", "missing"):
        with pytest.raises(InputError, match="no checkpoint of a ProposalSampler"):
            sampler.load(tmp_path / name)


def test_a_checkpoint_is_refused_by_file_and_field_when_it_is_tampered_with(tmp_path):
    path = tmp_path / "c.npz"
    sampler = ProposalSampler(simulation(), UNIFORM, md_steps=10, n_proposals=4)
    sampler.save(path)
    arrays = load_arrays(path)
    meta = json.loads(str(arrays["meta"]))
    read_checkpoint(path)
    damages = [
        ({"cycle": -1}, "cycle: input should be greater than or equal to 0"),
        ({"seed": "1"}, "seed: input should be a valid integer"),
        ({"temperature_K": 0.0}, "temperature_K: input should be greater than 0"),
        ({"outputs": {"x": 5}}, "'outputs' and 'heads' name different files"),
        ({"outputs": {"x": 5}, "heads": {"x": "q"}}, "heads.x: string should match pattern"),
        ({"statistics": {}}, "the field 'statistics.labels' is missing"),
        ({"statistics": {**meta["statistics"], "turned": [1, 2, 3]}}, "3 counts of turns"),
        ({"extra": None}, "extra: input should be a valid dictionary"),
    ]
    for change, message in damages:
        save_arrays(path, {**arrays, "meta": np.array(json.dumps({**meta, **change}))})
        with pytest.raises(InputError, match=re.escape(message)) as error:
            sampler.load(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    for change, message in (
        ({"context": np.zeros(3)}, "'context' has the type float64"),
        ({"torsions_rad": np.zeros((5, 1))}, "torsions_rad has 5 rows, energies_eV 0"),
        ({"energies_eV": np.zeros((1, 1))}, "'energies_eV' has the type float64 and the shape"),
        ({"more": np.zeros(1)}, "expected the arrays context"),
    ):
        save_arrays(path, {**arrays, **change})
        with pytest.raises(InputError, match=re.escape(message)):
            sampler.load(path)


# Replica exchange ---------------------------------------------------------------------


def test_replica_exchange_moves_every_replica_at_its_temperature():
    sim = simulation()
    random.seed(1)
    states = [{"temperature": t * unit.kelvin} for t in (300, 2000)]
    sampler = ProposalReplicaExchange(states, sim, 5, UNIFORM, n_proposals=6)
    sampler.simulate(60)
    cold, hot = sampler.statistics
    assert cold.proposed == hot.proposed == 360
    assert hot.acceptance > 1.3 * cold.acceptance > 0
    assert sampler.currentIteration == 60


def test_replica_exchange_repeats_itself():
    def torsions() -> list[float]:
        random.seed(3)
        sampler = ProposalReplicaExchange(
            [{"temperature": t * unit.kelvin} for t in (300, 400)],
            simulation(),
            5,
            UNIFORM,
            n_proposals=3,
        )
        sampler.simulate(6)
        return [
            TREE.torsions(c.getPositions(asNumpy=True)._value * 10)[0]
            for c in sampler.replicaConformation
        ]

    assert torsions() == torsions()


def test_replica_exchange_takes_weighted_force_groups():
    system = mmff_system(BUTANE)
    hold = openmm.CustomTorsionForce("500*(1-cos(theta-3.14159265))")
    hold.addTorsion(0, 1, 2, 3, [])
    hold.setForceGroup(20)
    system.addForce(hold)
    every = dict.fromkeys(range(32), 1.0)
    states = [{"groups": {**every, 20: 0.0}}, {"groups": every}]
    sampler = ProposalReplicaExchange(states, simulation(system=system), 0, UNIFORM, n_proposals=40)
    sampler.exchangesPerIteration = 0
    sampler.simulate(10)
    held = [
        abs(TREE.torsions(c.getPositions(asNumpy=True)._value * 10)[0])
        for c in sampler.replicaConformation
    ][1]
    assert held > 2.8 or abs(held - abs(TREE.torsions(start_A())[0])) < 1e-6
    assert sampler.statistics[0].acceptance > 2 * sampler.statistics[1].acceptance


# What is refused ----------------------------------------------------------------------


def test_refuses_cartesian_moves_of_constrained_atoms_only():
    with pytest.raises(InputError, match=r"constrained distance.*torsion proposer"):
        constrained = ProposalSampler(simulation("HBonds"), Cartesian(), md_steps=0, n_proposals=1)
        before = state_of(constrained.simulation.context)
        constrained.run(1)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(before, state_of(constrained.simulation.context), strict=True)
    )
    sampler = ProposalSampler(simulation(), Cartesian(), md_steps=1, n_proposals=20)
    sampler.run(3)
    assert sampler.statistics.accepted > 0 and sampler.torsions_rad.shape == (3, 0)


def test_refuses_a_proposer_without_density():
    class Sampler:
        name, exact = "generator", False

        def propose(self, positions_A, *, kT_eV, rng):
            return Proposal(positions_A, None)

    with pytest.raises(InexactProposalError, match="generator has no proposal density"):
        ProposalSampler(simulation(), Sampler())


def test_refuses_rings_of_the_topology():
    sim = simulation()
    atoms = list(sim.topology.atoms())
    sim.topology.addBond(atoms[0], atoms[3])
    with pytest.raises(InputError, match="bond 1-2, which lies in a ring of this topology"):
        ProposalSampler(sim, UNIFORM)


def test_refuses_torsions_that_end_at_virtual_sites():
    system = mmff_system(BUTANE)
    system.setParticleMass(3, 0)
    system.setVirtualSite(3, openmm.TwoParticleAverageSite(1, 2, 0.5, 0.5))
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    with pytest.raises(InputError, match="ends at a virtual site"):
        ContextMoves(context, UNIFORM)


def test_refuses_to_move_what_mass_zero_holds():
    system = mmff_system(BUTANE)
    for k in (0, 3):
        system.setParticleMass(k, 0)
    with pytest.raises(InputError, match="held fixed"):
        ProposalSampler(simulation(system=system), UNIFORM, md_steps=0, n_proposals=2).run(1)


def test_a_molecule_split_across_the_box_is_put_together_before_it_moves():
    system = mmff_system(BUTANE)
    system.setDefaultPeriodicBoxVectors(*np.eye(3) * 2.0)
    periodic = openmm.CustomExternalForce("0*periodicdistance(x, y, z, 0, 0, 0)")
    periodic.addParticle(0)
    system.addForce(periodic)
    sim = simulation(system=system)
    assert system.usesPeriodicBoundaryConditions()
    ProposalSampler(sim, UNIFORM, md_steps=0).run(1)
    split = start_A() * 0.1
    split[2:] += [2.0, -4.0, 0]
    sim.context.setPositions(split)
    sampler = ProposalSampler(sim, UNIFORM, md_steps=0)
    sampler.run(1)
    whole = sim.context.getState(positions=True).getPositions(asNumpy=True)._value * 10
    lengths = np.linalg.norm(np.diff(whole[BUTANE.bonds], axis=1)[:, 0], axis=1)
    assert lengths.max() < 1.7
    assert sampler.energies_eV[0] < 5  # of butane, not of bonds as long as the box


def test_refuses_other_atoms():
    other = TorsionProposer(TorsionTree(4, [(0, 1), (1, 2), (2, 3)], [(1, 2)]), Uniform(1))
    with pytest.raises(InputError, match="for 4 atoms, but there are 14"):
        ProposalSampler(simulation(), other)
    with pytest.raises(InputError, match="different particles 0 to 13"):
        ProposalSampler(simulation(), UNIFORM, atoms=[0, 0])
    moved = ProposalSampler(
        simulation(), other, 0, atoms=[0, 1, 2, 3]
    )  # the hydrogens stay behind: allowed, hardly accepted
    moved.run(1)
    assert moved.statistics.proposed == 10
    with pytest.raises(InputError, match="constrained to each other"):
        ProposalSampler(simulation("HBonds"), other, atoms=[0, 1, 2, 3])


def test_refuses_temperatures_that_differ_and_counts_that_are_none():
    with pytest.raises(InputError, match="temperature_K=310, but the integrator keeps 300 K"):
        ProposalSampler(simulation(), UNIFORM, temperature_K=310)
    verlet = app.Simulation(
        simulation().topology,
        mmff_system(BUTANE),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatform("Reference"),
    )
    with pytest.raises(InputError, match="temperature_K is needed"):
        ProposalSampler(verlet, UNIFORM)
    assert ProposalSampler(verlet, UNIFORM, temperature_K=300).temperature_K == 300
    with pytest.raises(InputTypeError, match="md_steps must be an integer"):
        ProposalSampler(simulation(), UNIFORM, md_steps=1.5)
    with pytest.raises(InputTypeError, match=r"openmm\.app\.Simulation, not Context"):
        ProposalSampler(simulation().context, UNIFORM)
