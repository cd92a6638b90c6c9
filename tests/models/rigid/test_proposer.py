"""Moves of rigid bodies: densities, detailed balance, and water beside an ion."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from openmm import app, unit
from openmmtools import cache, states

from equidrift.adapters.ase.montecarlo import ProposalMonteCarlo
from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmmtools.move import TorsionProposalMove
from equidrift.errors import InputError
from equidrift.models.rigid import rotations
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.mixture import PoseMixture
from equidrift.models.rigid.proposer import LocalRigidProposer, RigidProposer, adapt_rigid
from equidrift.montecarlo.adapt import Alternating
from equidrift.montecarlo.metropolis import Statistics, metropolis
from equidrift.testing import ProposerContract
from tests.models.rigid import water_ion
from tests.models.rigid.water_ion import KT_EV, START_A, WATER_A

# a body of three atoms with a dipole, one of two, and three anchors
FRAME_A = np.array([[5.0, 0, 0], [0, 6.0, 1.0], [0, 0, 7.0]])
TRIANGLE = np.vstack([WATER_A, FRAME_A])
STICK = np.vstack([[[0, 0, 0.6], [0, 0, -0.6]], FRAME_A])


def lopsided(radius_A: float = 8.0) -> PoseMixture:
    """A density that fits nothing, but closes nothing either."""
    return PoseMixture(
        np.array([0.7, 0.3]),
        np.stack([np.eye(3), rotations.exp(np.array([0.5, 1.5, 0.0]))]),
        np.array([0.9, 0.4]),
        np.array([[0.2, 0.0, 0.0], [0.0, 0.5, -0.3]]),
        np.stack([0.3 * np.eye(3), 0.6 * np.eye(3)]),
        np.zeros(3),
        radius_A,
        0.2,
    )


class TestOfALaboratory(ProposerContract):
    def make(self) -> RigidProposer:
        return RigidProposer(RigidBody(TRIANGLE, [0, 1, 2]), lopsided())

    def start_A(self) -> np.ndarray:
        return TRIANGLE


class TestOfAFrame(TestOfALaboratory):
    def make(self) -> RigidProposer:
        return RigidProposer(RigidBody(TRIANGLE, [0, 1, 2], [3, 4, 5]), lopsided())


class TestOfAnIon(TestOfALaboratory):
    def make(self) -> RigidProposer:
        return RigidProposer(RigidBody(TRIANGLE, [0, 1, 2], [3]), lopsided())


class TestSmallSteps(TestOfALaboratory):
    def make(self) -> LocalRigidProposer:
        return LocalRigidProposer([0, 1, 2])


def run(proposer, x, energy, n, seed=0):
    """Positions (n, atoms, 3) along a chain."""
    rng, statistics, frames = np.random.default_rng(seed), Statistics(), []
    u = energy(x)
    for _ in range(n):
        x, u, _ = metropolis(proposer, x, u, energy, 4, kT_eV=KT_EV, rng=rng, statistics=statistics)
        frames.append(x)
    return np.array(frames), statistics


def blocks(series: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error by blocks."""
    means = series[: len(series) // 20 * 20].reshape(20, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(20))


@pytest.mark.long
@pytest.mark.parametrize(
    ("start_A", "anchors", "small_steps"),
    [
        pytest.param(TRIANGLE, [], False, id="triangle"),
        pytest.param(TRIANGLE, [3, 4, 5], True, id="triangle in a frame, with small steps"),
        pytest.param(STICK, [3, 4, 5], False, id="stick in a frame"),
    ],
)
def test_moves_keep_a_trapped_dipole_in_a_field_whatever_its_pose_is_told_from(
    start_A, anchors, small_steps
):
    """A harmonic trap and a field, both of the anchors' frame: <r^2> = 3 kT / k, and
    Langevin's function coth a - 1 / a tells the mean cosine.
    """
    atoms = list(range(len(start_A) - 3))
    anchors = [k - 3 + len(atoms) for k in anchors]
    stiffness, a = 3 * KT_EV, 2.0
    turn = rotations.exp(np.array([0.4, -1.0, 0.3])) if anchors else np.eye(3)
    x0 = start_A @ turn.T
    field = turn @ np.array([0.0, 0.6, 0.8])
    trap = x0[-3:].mean(axis=0) if anchors else np.zeros(3)

    def cosine(x):
        axis = x[..., 0, :] - x[..., atoms[1:], :].mean(axis=-2)
        return axis @ field / np.linalg.norm(axis, axis=-1)

    def squares(x):
        return ((x[..., atoms, :].mean(axis=-2) - trap) ** 2).sum(axis=-1)

    proposer = RigidProposer(RigidBody(start_A, atoms, anchors), lopsided())
    if small_steps:
        proposer = Alternating(proposer, LocalRigidProposer(atoms, 0.4, 0.8))
    x, statistics = run(
        proposer, x0, lambda x: stiffness / 2 * squares(x) - a * KT_EV * cosine(x), 1200
    )
    assert statistics.acceptance > 0.05
    for series, right in ((cosine(x), 1 / np.tanh(a) - 1 / a), (squares(x), 1.0)):
        mean, error = blocks(series)
        assert abs(mean - right) < 4 * error and error < 0.12


@pytest.mark.long
def test_moves_keep_the_place_of_an_ion_seen_from_a_body():
    def energy(x):
        return float(1.5 * KT_EV * ((seen(x) - [0.3, 0.2, 0.1]) ** 2).sum())

    def seen(x):
        return body.pose(x, np.random.default_rng(0))[1]

    body = RigidBody(START_A, [0, 1, 2], [3])
    x, _ = run(RigidProposer(body, lopsided()), START_A, energy, 1200)
    places = np.array([seen(frame) for frame in x])
    for axis, right in enumerate((0.3, 0.2, 0.1)):
        mean, error = blocks(places[:, axis])
        assert abs(mean - right) < 4 * error and error < 0.12
        mean, error = blocks((places[:, axis] - right) ** 2)
        assert abs(mean - 1 / 3) < 4 * error


def test_density_of_poses_is_normalised_and_is_that_of_its_draws():
    density, rng = lopsided(4.0), np.random.default_rng(0)
    wide = PoseMixture.ball(np.zeros(3), 6.0)
    turns, places = wide.sample(40000, rng)
    p = np.exp(density.log_prob(turns, places) - wide.log_prob(turns, places))
    assert p.mean() == pytest.approx(1, abs=5 * p.std() / np.sqrt(len(p)))
    close = PoseMixture.ball(np.zeros(3), 1.0)
    turns, places = close.sample(40000, rng)
    p = np.exp(density.log_prob(turns, places) - close.log_prob(turns, places))
    share = (np.linalg.norm(density.sample(20000, rng)[1], axis=1) < 1).mean()
    error = np.hypot(p.std() / 200, np.sqrt(share * (1 - share) / 20000))
    assert abs(p.mean() - share) < 4 * error and share > 10 * error


def test_body_put_into_its_own_pose_stands_where_it_stood():
    rng = np.random.default_rng(1)
    for atoms, anchors in (([0, 1, 2], []), ([0, 1, 2], [3, 4, 5]), ([0, 1, 2], [3]), ([0], [3])):
        body = RigidBody(TRIANGLE, atoms, anchors)
        x = TRIANGLE @ rotations.haar(1, rng)[0].T + 1.0
        turn, place = body.pose(x, rng)
        (again,) = body.placed(x, turn, turn[None], place[None])
        np.testing.assert_allclose(again, x, atol=1e-9)


@pytest.mark.parametrize(
    ("atoms", "anchors", "match"),
    [([], [3], "a body needs atoms"), ([0, 1], [1], "named once"), ([0, 9], [], "must be 0 to 5")],
)
def test_body_refuses_atoms_that_cannot_be(atoms, anchors, match):
    with pytest.raises(InputError, match=match):
        RigidBody(TRIANGLE, atoms, anchors)


def test_fits_refuse_too_few_frames():
    body = RigidBody(START_A, [0, 1, 2], [3])
    with pytest.raises(InputError, match="20 poses or more"):
        RigidProposer.fit(body, [START_A] * 5)
    with pytest.raises(InputError, match="80 are needed"):
        adapt_rigid(lambda *_: None, body, 10, radius_A=4.0)


@pytest.fixture(scope="module")
def learned():
    """A mixture fitted in an adaptive phase."""
    body, here = RigidBody(START_A, [0, 1, 2], [3]), [START_A]

    def advance(proposer, cycles):
        frames, statistics = run(proposer, here[0], lambda x: float(water_ion.energy_eV(x)), cycles)
        here[0] = frames[-1]
        return frames, statistics

    return adapt_rigid(advance, body, 500, radius_A=4.0)


def judged(x: np.ndarray) -> None:
    """Whether frames (k, 4, 3) agree with quadrature."""
    distance, angle = (values.mean() for values in water_ion.observables(x))
    right = water_ion.expected()
    assert abs(distance - right[0]) < 0.05 and abs(angle - right[1]) < 3


@pytest.mark.long
def test_learned_moves_place_a_water_beside_an_ion_better_than_uniform_ones(learned):
    uniform = RigidProposer(learned.proposer.body, PoseMixture.ball(np.zeros(3), 4.0))
    accepted = {}
    for name, proposer in (("learned", learned.proposer), ("uniform", uniform)):
        x, statistics = run(proposer, START_A, lambda x: float(water_ion.energy_eV(x)), 400)
        accepted[name] = statistics.acceptance
        if name == "learned":
            judged(x[50:])
    assert accepted["learned"] > 20 * accepted["uniform"] and accepted["learned"] > 0.1


def water_and_sodium() -> tuple[app.Topology, openmm.System]:
    """A rigid TIP3P water and a sodium ion."""
    system, pairs = openmm.System(), openmm.NonbondedForce()
    for mass in (15.999, 1.008, 1.008, 22.99):
        system.addParticle(mass)
    distances = np.linalg.norm(WATER_A[[0, 0, 1]] - WATER_A[[1, 2, 2]], axis=1)
    for (i, j), d in zip(((0, 1), (0, 2), (1, 2)), distances, strict=True):
        system.addConstraint(i, j, 0.1 * d)
        pairs.addException(i, j, 0, 1, 0)
    for charge, sigma, epsilon in (
        (-0.834, 0.315061, 0.6364),
        (0.417, 1, 0),
        (0.417, 1, 0),
        (1, 0.24393, 0.36585),
    ):
        pairs.addParticle(charge, sigma, epsilon)
    system.addForce(pairs)
    topology = app.Topology()
    chain = topology.addChain()
    water, ion = (topology.addResidue(name, chain) for name in ("HOH", "NA"))
    elements = app.element.oxygen, app.element.hydrogen, app.element.hydrogen
    o, *hydrogens = (topology.addAtom(e.symbol, e, water) for e in elements)
    for h in hydrogens:
        topology.addBond(o, h)
    topology.addAtom("NA", app.element.sodium, ion)
    return topology, system


@pytest.mark.long
def test_openmm_samples_a_rigid_water_beside_an_ion(learned):
    topology, system = water_and_sodium()
    platform = openmm.Platform.getPlatform("Reference")
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    sim = app.Simulation(topology, system, integrator, platform)
    sim.context.setPositions(START_A * 0.1)
    sampler = ProposalSampler(sim, learned.proposer, md_steps=2, n_proposals=4)
    frames = []
    for _ in range(500):
        sampler.run(1)
        state = sim.context.getState(positions=True)
        frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    judged(np.array(frames))
    assert sampler.statistics.acceptance > 0.1


@pytest.mark.long
def test_openmmtools_samples_a_rigid_water_beside_an_ion(learned):
    state = states.ThermodynamicState(water_and_sodium()[1], 300 * unit.kelvin)
    sampler = states.SamplerState(START_A * unit.angstrom)
    contexts = cache.ContextCache(platform=openmm.Platform.getPlatform("Reference"))
    move, frames = TorsionProposalMove(learned.proposer, 4, seed=1), []
    for _ in range(500):
        move.apply(state, sampler, context_cache=contexts)
        frames.append(sampler.positions.value_in_unit(unit.angstrom))
    judged(np.array(frames))


class WaterIon(Calculator):
    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": float(water_ion.energy_eV(self.atoms.positions))}


@pytest.mark.long
def test_ase_samples_a_rigid_water_beside_an_ion(learned):
    atoms = Atoms("OH2Na", START_A, calculator=WaterIon())
    mc = ProposalMonteCarlo(atoms, learned.proposer, 300, n_proposals=4, seed=2)
    frames = []
    mc.attach(lambda: frames.append(atoms.positions.copy()))
    mc.run(500)
    judged(np.array(frames[20:]))
