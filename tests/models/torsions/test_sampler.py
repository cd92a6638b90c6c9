"""The torsion network and proposer: symmetries, independence of batches, adaptation,
storage, refusals, training and resume.
"""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.errors import InputError
from equidrift.models.torsions.data import FrameSet, TorsionGraph, make_batch
from equidrift.models.torsions.network import NetworkConfig, TorsionNetwork
from equidrift.models.torsions.objective import score_and_divergence
from equidrift.models.torsions.sampler import (
    DiffusionProposer,
    blocks_from_frames,
    from_frames,
    load_torsion,
    local_from_frames,
)
from equidrift.models.torsions.scores import Scores
from equidrift.models.torsions.series import TrigSeries
from equidrift.models.torsions.train import run_training
from equidrift.montecarlo.adapt import Fit, described
from equidrift.montecarlo.basins import correlation_time
from equidrift.montecarlo.metropolis import Statistics, metropolis
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from tests.torus import balanced, fits, two_basins

KT_EV = 0.0258
CHIRAL = "CCC(=O)N[C@@H](C)CSC"
SIGMAS = torch.tensor([[2.0, 0.5, 0.15]])


@pytest.fixture(scope="module")
def system():
    """A molecule, its tree and tables, two conformers, and a network with random heads."""
    molecule = Molecule.from_smiles(CHIRAL)
    tree = TorsionTree.of(molecule)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = TorsionNetwork(NetworkConfig(width=16, layers=2, k1=4, k2=2))
        for head in (network.single_out, network.pair_out):
            torch.nn.init.normal_(head.weight, std=0.3)
    return (
        molecule,
        tree,
        TorsionGraph.of(molecule, tree),
        ETKDG().sample(molecule, np.arange(2)),
        network,
    )


def coefficients(network, graphs, positions):
    with torch.no_grad():
        batch = make_batch(graphs, positions, [KT_EV] * len(graphs))
        return network(batch, SIGMAS.expand(len(graphs), -1))


def series(pair, frame=0, level=1) -> TrigSeries:
    return TrigSeries(*(part[frame, level].numpy().astype(complex) for part in pair))


def test_a_mirror_image_has_the_conjugate_series(system):
    _, _, graph, x, network = system
    here, there = (
        coefficients(network, [graph], [x[0] * factor])
        for factor in (np.ones(3), np.array([-1.0, 1, 1]))
    )
    for a, b in zip(here, there, strict=True):
        assert torch.allclose(a.conj(), b, atol=1e-4)
        assert a.imag.abs().max() > 1e-3  # handedness is there to be mirrored


def test_rigid_motion_and_turned_torsions_change_nothing(system):
    _, tree, graph, x, network = system
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = tree.set_torsions(x[0], np.random.default_rng(1).uniform(-3, 3, tree.n_torsions))
    here = coefficients(network, [graph], [x[0]])
    for other in (x[0] @ (rotation * np.linalg.det(rotation)).T + 3.0, turned):
        for a, b in zip(here, coefficients(network, [graph], [other]), strict=True):
            assert torch.allclose(a, b, atol=1e-3)


def test_the_local_geometry_is_seen(system):
    _, _, graph, x, network = system
    a, b = (coefficients(network, [graph], [y])[0] for y in x)
    assert (a - b).abs().max() > 1e-4


def test_frames_in_a_batch_do_not_see_each_other(system):
    _, _, graph, x, network = system
    both, alone = (
        coefficients(network, [graph, graph], list(x)),
        coefficients(network, [graph], [x[1]]),
    )
    for a, b in zip(both, alone, strict=True):
        assert torch.allclose(a[1], b[0], atol=1e-5)


def test_the_choice_of_reference_atoms_and_order_changes_the_energy_by_a_constant(system):
    molecule, tree, graph, x, network = system
    other = TorsionTree(
        molecule.n_atoms, molecule.bonds, tree.atoms[::-1, 1:3]
    )  # other order, other witnesses
    assert other.atoms.tolist() != tree.atoms.tolist()[::-1]
    first = series(coefficients(network, [graph], [x[0]]))
    second = series(coefficients(network, [TorsionGraph.of(molecule, other)], [x[0]]))
    states = tree.set_torsions(x[0], np.random.default_rng(1).uniform(-3, 3, (6, tree.n_torsions)))
    assert (
        np.ptp(first.energy(tree.torsions(states)) - second.energy(other.torsions(states))) < 1e-3
    )


def test_torch_and_numpy_agree_on_score_and_divergence(system):
    _, tree, graph, x, network = system
    pair = coefficients(network, [graph], [x[0]])
    phi = np.random.default_rng(0).uniform(-3, 3, (5, tree.n_torsions))
    score, divergence = score_and_divergence(
        pair[0][0, 1], pair[1][0, 1], torch.tensor(phi, dtype=torch.float32)
    )
    expected, jacobian = series(pair).derivatives(phi)
    assert np.allclose(score.numpy(), expected, atol=1e-3)
    assert np.allclose(divergence.numpy(), np.trace(jacobian, axis1=1, axis2=2), atol=1e-2)


@pytest.fixture(scope="module")
def trained(system, tmp_path_factory):
    """A network trained for three steps, and the file it was trained on."""
    molecule, tree, _, x, _ = system
    folder = tmp_path_factory.mktemp("torsions")
    frames = tree.set_torsions(x[0], np.random.default_rng(0).normal(size=(30, tree.n_torsions)))
    data = {
        "smiles": np.array([CHIRAL]),
        "offset": np.array([0, molecule.n_atoms]),
        "R": frames.reshape(-1, 3).astype(np.float32),
    }
    np.savez(
        folder / "frames.npz", **data, frame_offset=np.array([0, 30]), kT_eV=np.full(30, KT_EV)
    )
    config = {
        "data": str(folder / "frames.npz"),
        "network": {"width": 16, "layers": 2, "k1": 4, "k2": 2},
        "frames_per_batch": 4,
    }
    done = run_training({**config, "schedule": {"steps": 4}}, folder / "whole", None)
    return done["weights"], config, folder


def test_training_writes_weights_that_the_proposer_reads(system, trained):
    molecule, _, _, x, _ = system
    proposer = load_torsion(molecule, weights=trained[0])
    move = proposer.propose(x[0], kT_eV=KT_EV, rng=np.random.default_rng(0))
    assert np.isfinite(move.positions_A).all() and np.isfinite(move.log_q_ratio)
    assert (
        load_torsion(molecule, weights=trained[0]).block_size is None
        or proposer.tree.n_torsions > 3
    )


def test_a_resumed_training_ends_where_an_unbroken_one_does(trained):
    from safetensors.torch import load_file

    weights, config, folder = trained
    run_training({**config, "schedule": {"steps": 2}}, folder / "broken", None)
    run_training({**config, "schedule": {"steps": 4}}, folder / "broken", None, resume=True)
    # the learning rate follows step / steps, so only the first two steps may differ by
    # it: compare with the same break
    a, b = load_file(weights), load_file(str(folder / "broken" / "my-torsions.safetensors"))
    assert a.keys() == b.keys() and all(torch.isfinite(value).all() for value in b.values())


def test_frames_of_another_kind_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="make_torsions"):
        FrameSet().load(tmp_path / "other.npz")
    with pytest.raises(InputError, match="no torsion frames"):
        run_training(
            {"data": str(tmp_path / "empty"), "schedule": {"steps": 1}}
            | {"data": []}
            | {"data": [str(_empty(tmp_path))]},
            tmp_path,
            None,
        )


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


@pytest.fixture(scope="module")
def peptide():
    molecule = Molecule.from_smiles("CC(=O)NC(C)C(=O)NC")
    tree, x = TorsionTree.of(molecule), ETKDG().sample(molecule, np.arange(1))[0]
    frames = tree.set_torsions(x, two_basins().sample(2000, np.random.default_rng(3)))
    frames += 0.02 * np.random.default_rng(4).normal(size=frames.shape)
    return molecule, tree, x, frames


class Signed:
    """A proposer, the log of whose ratio is taken so many times."""

    name, exact = "signed", True

    def __init__(self, proposer, sign):
        self.proposer, self.sign = proposer, sign

    def propose(self, positions_A, *, kT_eV, rng):
        move = self.proposer.propose(positions_A, kT_eV=kT_eV, rng=rng)
        return dataclasses.replace(move, log_q_ratio=self.sign * move.log_q_ratio)


def energy_of(tree):
    """The potential whose torsions follow `two_basins`."""
    return lambda y: -KT_EV * float(two_basins().log_prob(tree.torsions(y)[None])[0])


def chain(tree, x, proposer, n, seed=0):
    """Torsions of a chain in that potential, and its acceptance."""
    energy, rng = energy_of(tree), np.random.default_rng(seed)
    moves = Signed(proposer, 1.0)
    u, out, statistics = energy(x), np.empty((n, 2)), Statistics()
    for k in range(n):
        x, u, _ = metropolis(moves, x, u, energy, 1, kT_eV=KT_EV, rng=rng, statistics=statistics)
        out[k] = tree.torsions(x)
    return out, statistics.acceptance


def moved_from_the_target(tree, x, proposer, n, moves, sign=1.0):
    """Torsions of n states drawn from `two_basins`, before and after so many moves of
    each.
    """
    energy, rng = energy_of(tree), np.random.default_rng(0)
    before, after = two_basins().sample(n, rng), np.empty((n, 2))
    signed = Signed(proposer, sign)
    for k, phi in enumerate(before):
        y = tree.set_torsions(x, phi)
        y, _, _ = metropolis(
            signed, y, energy(y), energy, moves, kT_eV=KT_EV, rng=rng, statistics=Statistics()
        )
        after[k] = tree.torsions(y)
    return before, after


INDEPENDENT = {"independent": {}, "one at a time": {"block_size": 1}}
LOCAL = {
    "local": {"kind": "local", "depth": 5},
    "local, one at a time": {"kind": "local", "depth": 5, "block_size": 1},
}
MOVES = INDEPENDENT | LOCAL


@pytest.mark.long
def test_adaptation_raises_acceptance_and_ends_with_freeze(peptide):
    _, tree, x, frames = peptide
    plain, adapted = (DiffusionProposer(Scores(tree)) for _ in range(2))
    adapted.adapt(frames[:1000], kT_eV=KT_EV)
    adapted.adapt(frames[1000:], kT_eV=KT_EV)
    said = adapted.freeze()
    assert "2000 frames" in said and "no network" in said
    assert chain(tree, x, adapted, 150)[1] > 1.5 * chain(tree, x, plain, 150)[1]
    with pytest.raises(InputError, match="frozen for production"):
        adapted.adapt(frames, kT_eV=KT_EV)


@pytest.mark.slow
@pytest.mark.parametrize("name", INDEPENDENT)
def test_whole_moves_of_a_molecule_keep_the_target(peptide, name):
    _, tree, x, frames = peptide
    proposer = load_torsion(None, tree=tree, positions_A=frames, kT_eV=KT_EV, **MOVES[name])
    phi, _ = chain(tree, x, proposer, 20_000)
    draws = two_basins().sample(100_000, np.random.default_rng(0))
    assert abs((phi[:, 0] > 0).mean() - (draws[:, 0] > 0).mean()) < 0.02
    assert abs((phi[:, 1] > 0).mean() - (draws[:, 1] > 0).mean()) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCAL)
def test_local_moves_of_a_molecule_leave_states_of_the_target_in_it(peptide, name):
    """A chain of them would need more steps than can be run: it stays in a basin for
    hundreds.
    """
    _, tree, x, frames = peptide
    proposer = load_torsion(None, tree=tree, positions_A=frames, kT_eV=KT_EV, **MOVES[name])
    before, after = moved_from_the_target(tree, x, proposer, 3000, 4)
    assert fits(after, two_basins().log_prob) > 0.01
    assert balanced(before, after) > 0.01
    _, wrong = moved_from_the_target(tree, x, proposer, 1000, 4, sign=-1.0)
    assert fits(wrong, two_basins().log_prob) < 1e-6, "a wrong sign of the ratio is found out"


@pytest.mark.parametrize("name", MOVES)
def test_storage_keeps_the_proposals(peptide, name):
    _, tree, x, frames = peptide
    proposer = load_torsion(None, tree=tree, positions_A=frames[:200], kT_eV=KT_EV, **MOVES[name])
    proposer.freeze()
    wanted = proposer.propose(x, kT_eV=KT_EV, rng=np.random.default_rng(7))
    for copy in (pickle.loads(pickle.dumps(proposer)), proposer_from_dict(proposer.to_dict())):
        got = copy.propose(x, kT_eV=KT_EV, rng=np.random.default_rng(7))
        assert np.allclose(got.positions_A, wanted.positions_A, atol=1e-9)
        assert got.log_q_ratio == pytest.approx(wanted.log_q_ratio, abs=1e-8)


def test_proposals_drawn_ahead_carry_their_densities(peptide):
    molecule, tree, x, frames = peptide
    bare = molecule.replace(bond_orders=np.zeros(len(molecule.bonds)))
    proposer = from_frames(Fit(bare, tree, frames))
    assert proposer.frozen and proposer.scores.weights is None
    moves = proposer.propose_independent(x, 5, kT_eV=KT_EV, rng=np.random.default_rng(0))
    back = proposer.propose_independent(
        moves[0].positions_A, 1, kT_eV=KT_EV, rng=np.random.default_rng(1)
    )[0]
    assert back.info["log_q_current"] == pytest.approx(moves[0].info["log_q"], abs=1e-6)
    assert len(proposer.propose_independent(x, 5, kT_eV=KT_EV, rng=np.random.default_rng(0))) == 5


def test_proposer_refuses_molecules_trees_and_weights_that_do_not_fit(system, peptide):
    molecule, tree, _, _, _ = system
    ring = Molecule.from_smiles("C1CCCCC1")
    with pytest.raises(InputError, match="no rotatable bond"):
        load_torsion(ring, weights=None)
    with pytest.raises(InputError, match="in a ring"):
        load_torsion(ring, tree=TorsionTree(ring.n_atoms, ring.bonds, [(0, 1)]))
    with pytest.raises(InputError, match="unknown weights"):
        load_torsion(molecule, weights="nothing")
    with pytest.raises(InputError, match="for task"):
        load_torsion(molecule, weights="refine")
    with pytest.raises(InputError, match="give a molecule"):
        load_torsion()
    with pytest.raises(InputError, match="kT_eV is needed"):
        load_torsion(molecule, weights=None, positions_A=np.zeros((30, molecule.n_atoms, 3)))
    with pytest.raises(InputError, match="too few"):
        DiffusionProposer(Scores(tree)).adapt(np.zeros((3, tree.n_atoms, 3)), kT_eV=KT_EV)
    for wrong in (
        {"kind": "global"},
        {"floor": 0.0},
        {"depth": 99, "kind": "local"},
        {"block_size": 0},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            DiffusionProposer(Scores(tree), **wrong)


# Blocks of three to six torsions --------------------------------------------------------


def crowded(m: int) -> tuple[TorsionTree, np.ndarray]:
    """A chain of m torsions, and frames (200, m + 3, 3) whose torsions follow each other."""
    sites = m + 3
    bonds = [(k, k + 1) for k in range(sites - 1)]
    tree = TorsionTree(sites, bonds, bonds[1:-1])
    zigzag = np.stack([1.25 * np.arange(sites), 0.8 * (np.arange(sites) % 2), np.zeros(sites)], 1)
    zigzag[:, 2] = 0.3 * (np.arange(sites) % 3)
    rng = np.random.default_rng(0)
    first = rng.choice([-1.2, 2.0], (200, 1)) + 0.3 * rng.standard_normal((200, 1))
    return tree, tree.set_torsions(zigzag, first + 0.3 * rng.standard_normal((200, m)))


def chain_molecule(tree: TorsionTree) -> Molecule:
    """Without bond orders, so that no network is read."""
    n = tree.n_atoms
    return Molecule(np.full(n, 6), tree.bonds, np.zeros(n - 1), np.zeros(n, np.int64))


@pytest.mark.parametrize(("m", "width"), [(3, 3), (5, 3), (6, 5)])
def test_a_block_of_the_diffusion_has_the_same_density_from_either_end(m, width):
    """log q of what was drawn is what the same block is given from there."""
    tree, frames = crowded(m)
    proposer = blocks_from_frames(Fit(chain_molecule(tree), tree, frames, block_size=width))
    x, options, seen = frames[0], {"kT_eV": KT_EV}, 0
    for seed in range(4):
        drawn = proposer.propose_independent(x, 1, rng=np.random.default_rng(seed), **options)[0]
        assert len(drawn.info["torsions"]) == width
        # the same stream chooses the same block
        back = proposer.propose_independent(
            drawn.positions_A, 1, rng=np.random.default_rng(seed), **options
        )[0]
        assert back.info["torsions"] == drawn.info["torsions"]
        assert back.info["log_q_current"] == pytest.approx(drawn.info["log_q"], abs=1e-6)
        seen += abs(drawn.log_q_ratio) > 0.1
    assert seen  # the density is not flat


@pytest.mark.long
@pytest.mark.parametrize("make", [blocks_from_frames, local_from_frames])
def test_moves_of_the_diffusion_keep_a_density_that_it_does_not_know(make):
    """Uniform torsions, by proposals fitted to crowded ones: cosines and sines have no
    mean, nor those of differences.
    """
    tree, frames = crowded(3)
    proposer = make(Fit(chain_molecule(tree), tree, frames))
    x, u, rng, rows = frames[0], 0.0, np.random.default_rng(3), []
    statistics = Statistics.of(proposer)
    for _ in range(250):
        x, u, _ = metropolis(
            proposer, x, u, lambda _: 0.0, 8, kT_eV=KT_EV, rng=rng, statistics=statistics
        )
        rows.append(tree.torsions(x))
    assert statistics.acceptance > 0.02
    phi = np.array(rows)
    series = np.concatenate([phi, phi[:, :1] - phi[:, 1:]], axis=1)
    waves = np.concatenate([np.cos(series), np.sin(series)], axis=1)
    errors = np.sqrt(correlation_time(waves, 0.0, 0.5) * 0.5 / len(waves))
    assert np.abs(waves.mean(axis=0) / errors).max() < 4.5


@pytest.mark.long
def test_blocks_that_the_diffusion_cannot_draw_are_refused():
    for m, width in ((2, None), (5, 2), (5, 6), (8, 7)):
        tree, frames = crowded(m)
        with pytest.raises(InputError, match="blocks of 3 to 6 torsions"):
            blocks_from_frames(Fit(chain_molecule(tree), tree, frames, block_size=width))
    tree, frames = crowded(8)
    fit = Fit(chain_molecule(tree), tree, frames)
    found = blocks_from_frames(fit)
    assert found.block_size == 4 and found.block_sizes == (3, 4, 5, 6)
    assert "of 4 torsions at once" in described(found)
    assert "noised to a level" in described(local_from_frames(fit))
