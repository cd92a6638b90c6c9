"""The exact density of the diffusion with all distances in view, against finite
differences, quadrature and chains; turned conformers; proposals.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.checks.geometry import check_geometry
from equidrift.errors import InputError, MoleculeError
from equidrift.geometry import wrap
from equidrift.models.torsions.distances.conformers import TurnedConformers
from equidrift.models.torsions.distances.flow import (
    TorsionScore,
    TracedFlow,
    drawn_torsions,
    step_sigmas,
)
from equidrift.models.torsions.distances.graph import HeavyGraph, heavy_atoms
from equidrift.models.torsions.distances.network import DistanceNetwork
from equidrift.models.torsions.distances.sampler import (
    DistanceDensity,
    DistanceProposer,
    TorsionTurner,
    load_distance_proposer,
)
from equidrift.montecarlo.metropolis import Statistics, metropolis
from equidrift.records import Molecule
from equidrift.testing.proposer import ProposerContract
from equidrift.torsions import TorsionTree
from tests.models.networks import conformer
from tests.models.torsions.ensembles import saved
from tests.models.torsions.test_distances import lively
from tests.torus import fits, grid, independent_step, integral, two_basins

KT_EV = 0.0258
CHIRAL = {1: "CC[C@H](C)F", 2: "CC[C@H](C)OC", 3: "CC[C@H](C)OCC"}  # by their torsions


def scores(m: int, network: DistanceNetwork, mirror: float = 1.0, **block) -> TorsionScore:
    """Of a chiral molecule with m torsions, or of its mirror image."""
    molecule, x = conformer(CHIRAL[m])
    graph = HeavyGraph.of(molecule, TorsionTree.of(molecule))
    place = x[heavy_atoms(molecule)] * [1, 1, mirror]
    return TorsionScore(network, graph, place, KT_EV, **block)


CALM, LOUD = 0.3, 4.0  # answers of a network that no step folds by, and of one that many do


def scaled(factor: float) -> DistanceNetwork:
    """A random network whose answers are so many times larger."""
    network = lively()
    for head in (network.gate, network.series_out):
        head.weight.mul_(factor)
        if head.bias is not None:
            head.bias.mul_(factor)
    return network


@pytest.mark.parametrize("m", [1, 2, 3])
def test_jacobian_is_that_of_finite_differences(m):
    score, h = scores(m, lively()), 1e-5
    phi = np.random.default_rng(0).uniform(-3, 3, (5, m))
    _, jacobian = score.derivatives(phi, 0.5)
    steps = h * np.eye(m)
    wanted = [(score.score(phi + d, 0.5) - score.score(phi - d, 0.5)) / (2 * h) for d in steps]
    assert np.abs(jacobian).max() > 1e-2
    assert np.allclose(jacobian, np.stack(wanted, axis=-1), atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(("m", "bins"), [(1, 360), (2, 36)])
def test_density_integrates_to_one(m, bins):
    flow = TracedFlow(scores(m, scaled(CALM)), steps=4)
    assert integral(flow.log_prob(grid(bins, m)), m) == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("m", [1, 2])
def test_draws_carry_the_density_of_the_map_from_their_start(m):
    flow, h = TracedFlow(scores(m, scaled(CALM)), steps=4), 1e-5
    start = np.random.default_rng(0).uniform(-np.pi, np.pi, (6, m))
    phi, log_det = flow.forward(start)
    columns = [
        wrap(flow.forward(start + d)[0] - flow.forward(start - d)[0]) / (2 * h)
        for d in h * np.eye(m)
    ]
    wanted = np.linalg.slogdet(np.stack(columns, axis=-1))[1]
    assert np.allclose(log_det, wanted, atol=1e-5)
    back, again = flow.backward(phi)
    assert np.abs(wrap(back - start)).max() < 1e-6
    assert np.allclose(log_det, again, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("factor", [CALM, LOUD])
def test_draws_follow_the_density_even_where_steps_fold(factor):
    flow = TracedFlow(scores(1, scaled(factor)), steps=4)
    start = np.random.default_rng(3).uniform(-np.pi, np.pi, (100, 1))
    back, _ = flow.backward(flow.forward(start)[0])
    lost = ~(np.abs(wrap(back - start)) < 1e-6).all(axis=1)
    assert lost.any() == (factor == LOUD)
    phi, log_q = flow.sample_with_log_prob(300, np.random.default_rng(1))
    made = np.isfinite(log_q)
    assert made.mean() > 0.9
    assert np.allclose(log_q[made][:50], flow.log_prob(phi[made][:50]), atol=1e-5)
    # where steps fold the density is as sharp as a spike: a coarse grid would miss it
    assert fits(phi[made], flow.log_prob, bins=8, fine=96) > 0.001


@pytest.mark.parametrize("factor", [CALM, pytest.param(LOUD, marks=pytest.mark.slow)])
def test_chains_keep_their_target_whatever_the_network(factor):
    target, rng = two_basins(1), np.random.default_rng(4)
    flow = TracedFlow(scores(1, scaled(factor)), steps=3)
    phi = target.sample(500, rng)
    log_q = flow.log_prob(phi)
    for _ in range(2):
        phi, log_q = independent_step(target, flow, phi, log_q, rng)
    assert fits(phi, target.log_prob, bins=8) > 0.001


def test_mirror_image_has_the_mirrored_density():
    here, there = (TracedFlow(scores(2, scaled(CALM), sign), steps=4) for sign in (1.0, -1.0))
    phi = np.random.default_rng(0).uniform(-3, 3, (10, 2))
    assert np.allclose(here.log_prob(phi), there.log_prob(-phi), atol=1e-6)
    assert np.abs(here.log_prob(phi) - here.log_prob(-phi)).max() > 1e-2


def test_density_of_a_block_depends_on_the_torsions_that_are_held():
    network, block = scaled(CALM), np.array([0, 2])
    molecule, x = conformer(CHIRAL[3])
    tree = TorsionTree.of(molecule)
    graph, heavy = HeavyGraph.of(molecule, tree), heavy_atoms(molecule)
    phi = np.random.default_rng(0).uniform(-3, 3, (4, 2))
    log_q = []
    for turn in (0.0, 1.5):
        place = tree.turn(x, np.array([0.0, turn, 0.0]))[heavy]
        flow = TracedFlow(TorsionScore(network, graph, place, KT_EV, block), steps=3)
        log_q.append(flow.log_prob(phi))
    assert np.isfinite(log_q).all()
    assert np.abs(log_q[0] - log_q[1]).max() > 1e-3


def test_density_depends_on_the_frozen_geometry_and_not_on_the_present_torsions():
    network = scaled(CALM)
    molecule, x = conformer(CHIRAL[2])
    tree = TorsionTree.of(molecule)
    graph, heavy = HeavyGraph.of(molecule, tree), heavy_atoms(molecule)
    phi = np.random.default_rng(0).uniform(-3, 3, (4, 2))
    other = ETKDG().sample(molecule, np.array([5]))[0]
    places = (x, tree.turn(x, np.array([1.0, -2.0])), other)
    log_q = [
        TracedFlow(TorsionScore(network, graph, y[heavy], KT_EV), steps=3).log_prob(phi)
        for y in places
    ]
    assert np.allclose(log_q[0], log_q[1], atol=1e-6)
    assert np.abs(log_q[0] - log_q[2]).max() > 1e-4


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network with random heads."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return saved(scaled(CALM), path)


def test_turned_conformers_keep_geometry_and_stereo_and_follow_their_seeds(weights):
    molecule = Molecule.from_smiles("CC[C@H](C)C(=O)NCCOC")
    tree, seeds = TorsionTree.of(molecule), np.arange(5)
    x = ETKDG().sample(molecule, seeds)
    x[3] = np.nan
    turner = TorsionTurner(weights, steps=4)
    made = turner.turned(molecule, x, seeds)
    good = [0, 1, 2, 4]
    assert np.isnan(made[3]).all()
    assert not set(check_geometry(molecule, made[good])) & {"stereo", "bond length"}
    i, j = molecule.bonds.T
    lengths = [np.linalg.norm(y[good][:, i] - y[good][:, j], axis=-1) for y in (x, made)]
    assert np.allclose(*lengths, atol=1e-6)
    alone = turner.turned(molecule, x[[4]], seeds[[4]])
    assert np.allclose(wrap(tree.torsions(alone[0]) - tree.torsions(made[4])), 0, atol=1e-3)
    assert np.abs(wrap(tree.torsions(made[good]) - tree.torsions(x[good]))).max() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [None, 1])
def test_whole_moves_of_a_molecule_keep_the_target(weights, block_size):
    molecule, x = conformer("CCOCC")
    tree, target, rng = TorsionTree.of(molecule), two_basins(2), np.random.default_rng(0)
    proposer = load_distance_proposer(
        molecule, weights, tree=tree, block_size=block_size, steps=2, floor=0.3
    )

    def energy(y):
        return -KT_EV * float(target.log_prob(tree.torsions(y)[None])[0])

    states, statistics = tree.set_torsions(x, target.sample(150, rng)), Statistics()
    end = np.array(
        [
            metropolis(
                proposer, y, energy(y), energy, 1, kT_eV=KT_EV, rng=rng, statistics=statistics
            )[0]
            for y in states
        ]
    )
    assert statistics.acceptance > 0.02
    before, after = tree.torsions(states), tree.torsions(end)
    assert np.abs(wrap(before - after)).max() > 0.1
    means = [np.exp(1j * phi).mean(axis=0) for phi in (target.sample(20_000, rng), after)]
    assert np.abs(means[0] - means[1]).max() < 4 / np.sqrt(len(states))


def test_proposals_drawn_ahead_carry_the_density_of_the_way_back(weights):
    molecule, x = conformer("CCOCC")
    proposer = load_distance_proposer(molecule, weights, block_size=None, steps=3, floor=0.0)
    rng = np.random.default_rng(0)
    moves = proposer.propose_independent(x, 2, kT_eV=KT_EV, rng=rng)
    assert len(moves) == 2
    back = proposer.propose_independent(moves[0].positions_A, 1, kT_eV=KT_EV, rng=rng)[0]
    assert back.info["log_q_current"] == pytest.approx(moves[0].info["log_q"], abs=1e-4)


class TestContract(ProposerContract):
    """Of a proposer of random weights; its plain form names the file."""

    @pytest.fixture
    def model(self, weights: Path) -> DistanceProposer:
        molecule, _ = conformer("CCOCC")
        return load_distance_proposer(molecule, weights, block_size=1, steps=3)

    def start_A(self) -> np.ndarray:
        return conformer("CCOCC")[1].copy()


def test_noise_is_left_or_taken_away_by_the_last_step():
    score = scores(2, lively())
    start = np.random.default_rng(0).uniform(-3, 3, (4, 2))
    noisy = drawn_torsions(score, start, 5, clean=False)
    assert np.allclose(noisy, TracedFlow(score, 5).forward(start)[0], atol=1e-9)
    assert np.abs(wrap(drawn_torsions(score, start, 5) - noisy)).max() > 1e-4


def test_wrong_requests_are_refused(weights):
    molecule = Molecule.from_smiles("CCOCC")
    tree = TorsionTree.of(molecule)
    with pytest.raises(InputError, match="steps"):
        step_sigmas(0)
    with pytest.raises(InputError, match="kT_eV"):
        TorsionTurner(weights, kT_eV=0.0)
    with pytest.raises(InputError, match="floor"):
        DistanceProposer(DistanceDensity(molecule, tree, weights), floor=1.0)
    unknown = molecule.replace(bond_orders=np.zeros(len(molecule.bonds)))
    with pytest.raises(MoleculeError, match="bond orders"):
        load_distance_proposer(unknown, weights, tree=tree)
    with pytest.raises(InputError, match="for task"):
        TorsionTurner("refine")


@pytest.mark.parametrize("random", [True, False])
def test_conformers_of_one_start_share_its_geometry_and_follow_their_own_seeds(weights, random):
    molecule = Molecule.from_smiles("CC[C@H](C)C(=O)NCCOC")
    model = TurnedConformers(None if random else weights, shared=3, steps=3)
    tree, seeds = TorsionTree.of(molecule), np.arange(4, 10)
    made = model.sample(molecule, seeds)
    alone = model.sample(molecule, seeds[[3]])
    assert np.allclose(wrap(tree.torsions(alone[0]) - tree.torsions(made[3])), 0, atol=1e-3)
    assert np.abs(wrap(tree.torsions(made[2]) - tree.torsions(made[3]))).max() > 0.1
    ring = Molecule.from_smiles("C1CCCCC1")
    assert np.isfinite(model.sample(ring, seeds)).all()
    i, j = molecule.bonds.T
    lengths = np.linalg.norm(made[:, i] - made[:, j], axis=-1)
    assert np.allclose(lengths[2:5], lengths[2], atol=1e-6)  # seeds 6, 7 and 8
    assert np.abs(lengths[1] - lengths[2]).max() > 1e-4
    with pytest.raises(InputError, match="shared"):
        TurnedConformers(None, shared=0)


def test_weights_of_ones_own_make_candidates_of_the_default_chain(weights):
    ensemble = equidrift.sample("CC[C@H](C)C(=O)NCCOC", 4, model=str(weights), seed=3)
    again = equidrift.sample("CC[C@H](C)C(=O)NCCOC", 2, model=str(weights), seed=3, timeout_s=60)
    assert ensemble.valid.all() and ensemble.provenance["model"] == "small.safetensors"
    assert np.allclose(again.positions_A, ensemble.positions_A[:2], atol=1e-3)
    plain = equidrift.sample("CC[C@H](C)C(=O)NCCOC", 4, seed=3)
    assert np.abs(plain.positions_A - ensemble.positions_A).max() > 0.1


def test_starts_have_the_limit_and_the_candour_of_what_makes_them(weights, monkeypatch):
    model = TurnedConformers(weights, device="cpu")
    molecule = Molecule.from_smiles("CCO")
    limited = model.timed(2.5)
    assert limited.start is not model.start and limited.turner is model.turner
    assert not model.never_embeds(molecule)
    monkeypatch.setattr(type(model.start), "never_embeds", lambda *_: True)
    assert model.never_embeds(molecule)


def test_shipped_weights_turn_candidates_of_the_default_chain_by_their_name():
    ensemble = equidrift.sample("CC[C@H](C)C(=O)NCCOC", 4, model="torsions-all", seed=3)
    assert ensemble.valid.all() and ensemble.provenance["model"] == "torsions-all"
    again = equidrift.sample("CC[C@H](C)C(=O)NCCOC", 2, model="torsions-all", seed=3)
    assert np.allclose(again.positions_A, ensemble.positions_A[:2], atol=1e-3)  # float32
