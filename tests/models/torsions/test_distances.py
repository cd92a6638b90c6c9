"""The torsion network with all distances in view: symmetries, independence of rows and of
names, noise, data on disk, and a loss that falls.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.errors import InputError
from equidrift.geometry import wrap
from equidrift.models.shared.run import fresh
from equidrift.models.torsions.distances.data import (
    Batches,
    EnsembleSet,
    load_all,
    measured,
    noised,
)
from equidrift.models.torsions.distances.graph import HeavyGraph, Rows, heavy_atoms, turned
from equidrift.models.torsions.distances.network import DistanceConfig, DistanceNetwork
from equidrift.models.torsions.distances.objective import distance_loss
from equidrift.models.torsions.distances.train import run_training
from equidrift.models.torsions.distances.wrapped import rms_score, wrapped_score
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from tests.models.torsions.ensembles import ensemble

CHIRAL = "CCC(=O)N[C@@H](CO)CSCC"
SMALL = DistanceConfig(width=16, rounds=2, radial=12, forces=3, orders=4)


def lively(seed: int = 0) -> DistanceNetwork:
    """A small network in float64 whose heads are random instead of zero."""

    def make() -> DistanceNetwork:
        network = DistanceNetwork(SMALL)
        for head in (network.gate, network.series_out):
            torch.nn.init.normal_(head.weight, std=0.5)
        return network

    network: DistanceNetwork = fresh(make, seed)
    return network.double().requires_grad_(False)


NETWORK = lively()


def scores(
    graph: HeavyGraph, x: np.ndarray, sigma: float = 0.7, moving: np.ndarray | None = None
) -> np.ndarray:
    """(m,) of one conformer's heavy atoms (n, 3)."""
    held = np.ones(graph.n_torsions) if moving is None else moving
    values = (x, np.array([sigma]), held, np.array([0.3]))
    return NETWORK(Rows.of([graph]), *(torch.from_numpy(v) for v in values)).numpy()


@pytest.fixture(scope="module")
def system() -> tuple[Molecule, TorsionTree, HeavyGraph, np.ndarray]:
    """A chiral molecule, its tree and graph, and a conformer (n_atoms, 3)."""
    molecule = Molecule.from_smiles(CHIRAL)
    tree = TorsionTree.of(molecule)
    x = ETKDG().sample(molecule, np.arange(1))[0]
    return molecule, tree, HeavyGraph.of(molecule, tree), x


def test_scores_stay_when_the_molecule_is_rotated_and_change_sign_when_it_is_mirrored(system):
    molecule, _, graph, x = system
    x = x[heavy_atoms(molecule)]
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    here = scores(graph, x)
    assert np.abs(here).max() > 1e-2
    assert np.allclose(scores(graph, x @ rotation.T + 3.0), here, atol=1e-9)
    assert np.allclose(scores(graph, x * [-1, 1, 1]), -here, atol=1e-9)


def test_scores_follow_the_torsions_when_the_atoms_are_renamed(system):
    molecule, _, graph, x = system
    here = scores(graph, x[heavy_atoms(molecule)])
    heavy = np.random.default_rng(2).permutation(graph.n_atoms)
    where = np.argsort(heavy)
    other = HeavyGraph(
        graph.atom[heavy],
        graph.pair[np.ix_(heavy, heavy)],
        where[graph.torsions],
        graph.sides[:, heavy],
    )
    assert np.allclose(scores(other, x[heavy_atoms(molecule)][heavy]), here, atol=1e-9)


def test_scores_do_not_depend_on_the_atoms_that_define_the_angle_nor_on_which_side_turns(system):
    molecule, _, graph, x = system
    x = x[heavy_atoms(molecule)]
    here = scores(graph, x)
    bonded = graph.pair[..., 0] > 0
    torsions, sides = graph.torsions.copy(), graph.sides.copy()
    for k, (i, j) in enumerate(graph.torsions[:, 1:3].tolist()):
        others = [[n for n in np.flatnonzero(bonded[at]) if n not in (i, j)] for at in (i, j)]
        a, b = others[0][-1], others[1][-1]
        torsions[k] = (b, j, i, a)
        sides[k] = ~graph.sides[k]
        sides[k, [i, j]] = False
    assert (torsions[:, [3, 0]] != graph.torsions[:, [0, 3]]).any()
    other = HeavyGraph(graph.atom, graph.pair, torsions, sides)
    assert np.allclose(scores(other, x), here, atol=1e-9)


def test_rows_of_a_batch_do_not_see_each_other(system):
    molecule, _, graph, x = system
    second = ensemble("CCOCC(=O)NC")
    both = [graph, second.graph]
    places = [x[heavy_atoms(molecule)], second.drawn_A[0].astype(float)]
    values = (
        np.concatenate(places),
        np.array([0.7, 0.2]),
        np.ones(graph.n_torsions + second.graph.n_torsions),
        np.array([0.3, 0.3]),
    )
    joined = NETWORK(Rows.of(both), *(torch.from_numpy(v) for v in values)).numpy()
    alone = [scores(g, p, s) for g, p, s in zip(both, places, (0.7, 0.2), strict=True)]
    assert np.allclose(joined, np.concatenate(alone), atol=1e-9)


def test_score_sees_distant_atoms_the_level_and_which_torsions_are_noised(system):
    molecule, tree, graph, x = system
    near = graph.torsions[:, 1]
    first, last = divmod(int(graph.pair[near[:, None], near, 1].argmax()), graph.n_torsions)
    assert graph.pair[near[first], near[last], 1] - 1 >= 4  # bonds between them
    far = tree.turn(x, np.eye(tree.n_torsions)[last] * 0.5)[heavy_atoms(molecule)]
    x = x[heavy_atoms(molecule)]
    here = scores(graph, x)
    assert np.abs(here - scores(graph, far))[first] > 1e-5
    assert np.abs(here - scores(graph, x, 0.2)).max() > 1e-3
    held = np.eye(graph.n_torsions)[0]
    assert np.abs(here - scores(graph, x, moving=held)).max() > 1e-3


def test_turning_heavy_atoms_in_torch_is_what_the_tree_does(system):
    molecule, tree, graph, x = system
    delta = np.random.default_rng(0).uniform(-3, 3, (4, tree.n_torsions))
    heavy = heavy_atoms(molecule)
    start = torch.from_numpy(np.repeat(x[None, heavy], 4, axis=0))
    made = turned(graph, start, torch.from_numpy(delta)).numpy()
    wanted = tree.turn(x[None], delta)[:, heavy]
    apart = lambda y: np.linalg.norm(y[:, :, None] - y[:, None], axis=-1)  # noqa: E731 - short
    assert np.allclose(apart(made), apart(wanted), atol=1e-9)
    assert np.allclose(
        wrap(measured(graph, made) - measured(graph, x[heavy]) - delta), 0, atol=1e-9
    )


@pytest.mark.parametrize("sigma", [0.1, 0.8, 2.0])
def test_noise_has_the_score_and_mean_square_that_quadrature_gives(sigma):
    x = (np.arange(20_000) + 0.5) * (2 * np.pi / 20_000) - np.pi
    images = x[:, None] + 2 * np.pi * np.arange(-6, 7)
    density = np.exp(-0.5 * (images / sigma) ** 2).sum(axis=1)
    score = wrapped_score(torch.from_numpy(x), torch.full((len(x),), sigma).double()).numpy()
    inner = density > 1e-8 * density.max()
    assert np.allclose(score[inner], np.gradient(np.log(density), x)[inner], atol=1e-2 / sigma)
    mean_square = (density * score**2).sum() / density.sum()
    assert rms_score(np.array([sigma]))[0] == pytest.approx(np.sqrt(mean_square), rel=2e-3)


def test_noised_conformers_lie_by_the_noise_from_a_minimum_and_keep_the_rest():
    e = ensemble(CHIRAL, minima=4)
    positions, sigma, moving, _, noise = (
        part.numpy() for part in noised(e, 16, np.random.default_rng(0))
    )
    x, m = positions.reshape(16, -1, 3), e.graph.n_torsions
    phi = measured(e.graph, x)
    off = np.abs(wrap(phi[:, None] - noise.reshape(16, 1, m) - e.phi[None])).max(axis=-1)
    assert (off.min(axis=1) < 1e-3).all()
    assert (noise.reshape(16, m)[moving.reshape(16, m) == 0] == 0).all()
    assert (sigma[1:] > sigma[:-1]).all()
    bond = e.graph.pair[..., 0] > 0
    apart = lambda y: np.linalg.norm(y[:, None] - y[None], axis=-1)[bond]  # noqa: E731 - short
    assert all(np.allclose(apart(y), apart(e.drawn_A[0]), atol=1e-3) for y in x)


def test_batches_depend_on_the_seed_and_the_step_alone():
    batches = Batches(EnsembleSet([ensemble("CCCO"), ensemble("CCOCC")]), 3, 2, seed=4)
    first, again, later = batches(7), batches(7), batches(8)
    assert torch.equal(first.positions_A, again.positions_A)
    assert torch.equal(first.noise, again.noise)
    assert first.sigmas.tolist() != later.sigmas.tolist()


def test_ensembles_come_back_from_disk_as_they_were(tmp_path: Path):
    every = EnsembleSet([ensemble("CCCO"), ensemble(CHIRAL)])
    every.save(tmp_path / "packed.npz")
    again = load_all([str(tmp_path / "packed.npz")])
    for a, b in zip(every.ensembles, again.ensembles, strict=True):
        assert a.smiles == b.smiles
        assert np.array_equal(a.graph.sides, b.graph.sides)
        assert np.array_equal(a.graph.torsions, b.graph.torsions)
        assert np.array_equal(a.relaxed_A, b.relaxed_A)
        assert np.array_equal(a.fits, b.fits)


def test_other_files_and_bonds_that_turn_hydrogens_alone_are_refused(tmp_path: Path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="pack_torsion_ensembles"):
        load_all([str(tmp_path / "other.npz")])
    with pytest.raises(InputError, match="no training data"):
        load_all([str(tmp_path / "missing.npz")])
    molecule = Molecule.from_smiles("CCO")
    with pytest.raises(InputError, match="turns hydrogens alone"):
        HeavyGraph.of(molecule, TorsionTree.of(molecule, hydrogens=True))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A config of a short training, on ten molecules of which one is held out."""
    folder = tmp_path_factory.mktemp("distances")
    smiles = ("CCCO", "CCOC", "CCCN", "OCCO", "NCCO", "CCCF", "COCC=O", "CCCC", "OCCC#N", "CCSC")
    EnsembleSet([ensemble(s) for s in smiles]).save(folder / "packed.npz")
    sizes = {"width": 24, "rounds": 2, "radial": 12, "forces": 4, "orders": 4}
    schedule = {"steps": 120, "learning_rate": 5e-3, "warmup_steps": 5, "ema": 0.9}
    return {
        "data": str(folder / "packed.npz"),
        "network": sizes,
        "schedule": schedule,
        "held_out": 0.2,
    }


@pytest.mark.long
def test_loss_of_molecules_that_were_held_out_falls(packed, tmp_path):
    done = run_training(packed, tmp_path, None)
    assert done["held_out_loss_before"] == pytest.approx(1.0, abs=0.2)  # a network that answers 0
    assert done["held_out_loss_after"] < 0.75


def test_loss_of_a_perfect_answer_is_zero():
    e = ensemble("CCCO")
    batch = Batches(EnsembleSet([e]), 2, 4)(0)
    scale = torch.from_numpy(rms_score(batch.sigmas.numpy())).float()[batch.rows.row_of_torsion]
    perfect = wrapped_score(batch.noise, batch.sigmas[batch.rows.row_of_torsion]) / scale
    assert distance_loss(lambda *_: perfect, batch) == pytest.approx(0.0, abs=1e-10)
