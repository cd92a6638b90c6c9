"""The simple proposers: normalised densities, samples that follow them, and chains that
stay exact however bad the proposals.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.errors import InputError
from equidrift.montecarlo.densities import Histogram, Uniform, WrappedMixture, log_wrapped_normal
from equidrift.montecarlo.metropolis import Statistics, metropolis
from equidrift.montecarlo.proposals import (
    LocalTorsionProposer,
    TorsionProposer,
    histogram_proposer,
    mixture_proposer,
    proposer_from_dict,
    uniform_proposer,
)
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from tests.torus import CHAINS, balanced, fits, grid, independent_step, integral, two_basins

KT_EV = 0.0258


def bad_histogram() -> Histogram:
    """Nothing like the target."""
    return Histogram(np.random.default_rng(5).normal(size=(9, 9)))


def bad_mixture() -> WrappedMixture:
    """Centred where the target is not, and wide."""
    return WrappedMixture([0.5, 0.5], [[2.0, 2.0], [-0.5, -2.0]], [[1.2, 0.9], [1.6, 2.0]])


DENSITIES = {
    "uniform": lambda: Uniform(2),
    "bad histogram": bad_histogram,
    "bad mixture": bad_mixture,
    "fitted mixture": lambda: WrappedMixture.fit(
        two_basins().sample(2000, np.random.default_rng(0)), 6
    ),
    "fitted histogram": lambda: Histogram.fit(
        two_basins().sample(5000, np.random.default_rng(0)), 24
    ),
}


@pytest.mark.parametrize("sigma", [0.05, 0.5, 1.49, 1.51, 3.0, 50.0])
def test_the_wrapped_normal_is_the_sum_of_its_images(sigma):
    x = np.linspace(-3.1, 3.1, 31)
    images = stats.norm.logpdf(x[:, None] + 2 * np.pi * np.arange(-200, 201), scale=sigma)
    assert np.allclose(
        log_wrapped_normal(x, sigma), logsumexp(images, axis=1), atol=1e-10, rtol=1e-10
    )


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_are_normalised_whole_and_in_blocks(name):
    density = DENSITIES[name]()
    points = grid(144, 2)
    assert integral(density.log_prob(points), 2) == pytest.approx(1.0, abs=1e-6)
    line = np.column_stack([np.full(720, 0.4), grid(720, 1)[:, 0]])
    assert integral(density.log_prob(line, np.array([1])), 1) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_follow_the_density(name):
    density = DENSITIES[name]()
    rng = np.random.default_rng(1)
    assert fits(density.sample(CHAINS, rng), density.log_prob, bins=9, fine=16) > 0.01
    block, given = np.array([1]), np.array([0.4, 0.0])
    drawn = density.sample(CHAINS, rng, given, block)
    assert np.all(drawn[:, 0] == 0.4)

    def conditional(points):
        return density.log_prob(np.column_stack([np.full(len(points), 0.4), points[:, 0]]), block)

    assert fits(drawn[:, 1:], conditional, bins=9, fine=16) > 0.01


@pytest.mark.long
@pytest.mark.parametrize("name", DENSITIES)
def test_chains_keep_the_target_and_balance_whatever_is_proposed(name):
    target, density, rng = two_basins(), DENSITIES[name](), np.random.default_rng(2)
    phi = target.sample(CHAINS, rng)
    log_q = density.log_prob(phi)
    for _ in range(3):
        before = phi
        phi, log_q = independent_step(target, density, phi, log_q, rng)
    assert fits(phi, target.log_prob) > 0.01
    assert balanced(before, phi) > 0.01


def test_a_wrong_sign_of_the_ratio_is_found_out():
    target, density, rng = two_basins(), bad_mixture(), np.random.default_rng(2)
    phi = target.sample(CHAINS, rng)
    log_q = density.log_prob(phi)
    for _ in range(3):
        before = phi
        phi, log_q = independent_step(target, density, phi, log_q, rng, sign=-1.0)
    assert fits(phi, target.log_prob) < 1e-6
    assert balanced(before, phi) < 1e-6


@pytest.fixture(scope="module")
def peptide():
    molecule = Molecule.from_smiles("CC(=O)NC(C)C(=O)NC")
    return TorsionTree.of(molecule), ETKDG().sample(molecule, np.arange(1))[0]


def run_chain(tree, x, proposer, n, sign=1.0, seed=0):
    """Torsions of a chain of whole moves in the potential whose torsions follow
    `two_basins`.
    """
    target = two_basins()

    class Signed:
        def __init__(self):
            self.tree, self.name, self.exact = tree, "signed", True

        def propose(self, positions_A, *, kT_eV, rng):
            move = proposer.propose(positions_A, kT_eV=kT_eV, rng=rng)
            return type(move)(move.positions_A, sign * move.log_q_ratio)

    def energy(y):
        return -KT_EV * float(target.log_prob(tree.torsions(y)[None])[0])

    rng, out, u = np.random.default_rng(seed), np.empty((n, 2)), energy(x)
    statistics = Statistics.of(proposer)
    for k in range(n):
        x, u, _ = metropolis(Signed(), x, u, energy, 1, kT_eV=KT_EV, rng=rng, statistics=statistics)
        out[k] = tree.torsions(x)
    return out, statistics.acceptance


def proposers(tree, x):
    frames = tree.set_torsions(x, two_basins().sample(300, np.random.default_rng(3)))
    return {
        "uniform": uniform_proposer(tree),
        "uniform, one at a time": uniform_proposer(tree, block_size=1),
        "histogram": histogram_proposer(tree, frames),
        "mixture": mixture_proposer(tree, frames, components=6),
        "mixture, one at a time": mixture_proposer(tree, frames, components=6, block_size=1),
        "bad": TorsionProposer(tree, bad_mixture()),
        "local": LocalTorsionProposer(tree, 0.8),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "uniform",
        "uniform, one at a time",
        "histogram",
        "mixture",
        "mixture, one at a time",
        "bad",
        "local",
    ],
)
def test_whole_moves_of_a_molecule_keep_the_target(peptide, name):
    tree, x = peptide
    phi, _ = run_chain(tree, x, proposers(tree, x)[name], 100_000)
    thinned = phi[100::50]  # beyond the correlation of every proposer here
    assert fits(thinned, two_basins().log_prob, bins=6) > 0.01


@pytest.mark.long
def test_a_short_chain_of_whole_moves_finds_the_weights_and_a_wrong_sign_does_not(peptide):
    tree, x = peptide
    target = two_basins()
    proposer = TorsionProposer(
        tree, WrappedMixture([0.15, 0.25, 0.6], target.means, target.sigmas * 1.3)
    )  # weights the wrong way round
    inside = two_basins().log_prob(grid(60, 2)), grid(60, 2)
    expected = np.exp(inside[0])[inside[1][:, 0] > 0].sum() / np.exp(inside[0]).sum()
    right, _ = run_chain(tree, x, proposer, 6000)
    wrong, _ = run_chain(tree, x, proposer, 3000, sign=-1.0)
    assert abs((right[:, 0] > 0).mean() - expected) < 0.08
    assert abs((wrong[:, 0] > 0).mean() - expected) > 0.2


@pytest.mark.parametrize(
    "name", ["uniform, one at a time", "histogram", "mixture", "mixture, one at a time"]
)
def test_the_ratio_is_that_of_the_densities_both_ways(peptide, name):
    tree, x = peptide
    proposer = proposers(tree, x)[name]
    rng = np.random.default_rng(4)
    first, second = proposer.propose_independent(x, 2, kT_eV=KT_EV, rng=rng)
    block = np.array(first.info["torsions"]) if proposer.block_size else None
    old, new = (
        proposer.density.log_prob(tree.torsions(y)[None], block)[0] for y in (x, first.positions_A)
    )
    assert first.log_q_ratio == pytest.approx(old - new, abs=1e-9)
    assert second.info["torsions"] == first.info["torsions"]
    assert first.info["log_q"] - second.info["log_q"] == pytest.approx(
        second.log_q_ratio - first.log_q_ratio
    )


def test_plain_data_and_pickle_give_the_same_proposals(peptide):
    tree, x = peptide
    for proposer in proposers(tree, x).values():
        wanted = proposer.propose(x, kT_eV=KT_EV, rng=np.random.default_rng(7))
        for copy in (pickle.loads(pickle.dumps(proposer)), proposer_from_dict(proposer.to_dict())):
            got = copy.propose(x, kT_eV=KT_EV, rng=np.random.default_rng(7))
            assert np.allclose(got.positions_A, wanted.positions_A, atol=1e-12)
            assert got.log_q_ratio == pytest.approx(wanted.log_q_ratio, abs=1e-9)


def test_many_states_move_as_each_alone_would(peptide):
    tree, x = peptide
    moves = LocalTorsionProposer(tree).propose_many(
        np.stack([x, x + 1.0]), kT_eV=KT_EV, rng=np.random.default_rng(0)
    )
    assert len(moves) == 2
    assert all(move.log_q_ratio == 0.0 and len(move.info["torsions"]) == 1 for move in moves)


def test_what_cannot_be_proposed_is_refused(peptide):
    tree, _ = peptide
    ring = Molecule.from_smiles("C1CCCCC1")
    for make in (
        lambda: uniform_proposer(TorsionTree.of(ring)),
        lambda: LocalTorsionProposer(TorsionTree.of(ring)),
    ):
        with pytest.raises(InputError, match="no rotatable bond"):
            make()
    with pytest.raises(InputError, match="mixture or block"):
        Histogram.fit(np.zeros((10, 4)))
    with pytest.raises(InputError, match="block_size"):
        uniform_proposer(tree, block_size=0)
    with pytest.raises(InputError, match="density has 1"):
        TorsionProposer(tree, Uniform(1))
    with pytest.raises(InputError, match="finite angles"):
        WrappedMixture.fit(np.array([[np.nan, 0.0]]))
    with pytest.raises(InputError, match="sigma_rad"):
        LocalTorsionProposer(tree, 0.0)
