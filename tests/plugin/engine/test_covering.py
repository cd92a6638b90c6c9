"""Conformers that stand for all low candidates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.adapters.rdkit.rmsd import rmsd_matrix
from equidrift.engine.candidates import Pool
from equidrift.engine.covering import (
    MOST_SYMMETRIES,
    distances_A,
    pick_covering,
    symmetries_of,
)
from equidrift.engine.diversity import torsions
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from tests.doubles import geometry

PENTANE = Molecule.from_smiles("CCCCC")


def turned(molecule: Molecule, angles_deg: np.ndarray) -> np.ndarray:
    """Conformers (k, n_atoms, 3) with torsions (k, m)."""
    x, tree = geometry(molecule), TorsionTree.of(molecule)
    return tree.turn(x, np.radians(angles_deg) - tree.torsions(x[None]))


def pool_of(angles_deg: np.ndarray, ranks_eV: np.ndarray, slot: np.ndarray) -> Pool:
    return Pool(turned(PENTANE, angles_deg), ranks_eV, ranks_eV, slot)


def random_pool(seed: int, per_sample: int, samples: int) -> Pool:
    rng = np.random.default_rng(seed)
    count = per_sample * samples
    ranks = rng.exponential(0.1, count)
    ranks[rng.random(count) < 0.1] = np.inf
    slot = np.repeat(np.arange(samples), per_sample)
    return pool_of(rng.uniform(-180, 180, (count, 2)), ranks, slot)


def test_lowest_comes_first_and_then_what_is_near_to_none() -> None:
    angles = np.array([[180, 180], [178, 179], [181, 182], [65, 180], [65, 178], [65, 66]])
    ranks = np.array([0.0, 0.01, 0.02, 0.04, 0.05, 0.06])
    rows, signs = pick_covering(PENTANE, pool_of(angles, ranks, np.zeros(6, int)), 3, mirror=False)
    assert rows[0] == 0 and set(rows[1:].tolist()) in ({3, 5}, {4, 5}) and (signs == 1).all()


def test_candidates_that_are_high_stand_for_little() -> None:
    angles = np.array([[180, 180], [65, 180], [-65, 65]])
    for high_eV, wanted in ((1.0, 1), (0.0, 2)):  # the farther one, once it is as low
        pool = pool_of(angles, np.array([0.0, 0.0, high_eV]), np.zeros(3, int))
        assert pick_covering(PENTANE, pool, 2, mirror=False)[0].tolist() == [0, wanted]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.booleans())
def test_first_samples_are_those_of_a_shorter_run(seed: int, per: int, mirror: bool) -> None:
    pool = random_pool(seed, per, 8)
    rows, signs = pick_covering(PENTANE, pool, 8, mirror=mirror)
    for m in (1, 3, 7):
        short = pick_covering(PENTANE, pool.for_slots(m), m, mirror=mirror)
        ranks_eV = pool.for_slots(m).ranks_eV  # in another order
        before = [np.inf if r < 0 else ranks_eV[r] for r in short[0]]
        after = [np.inf if r < 0 else pool.ranks_eV[r] for r in rows[:m]]
        assert before == after and len(ranks_eV) == (pool.slot < m).sum()
        np.testing.assert_array_equal(short[1], signs[:m])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_nothing_unsound_twice_or_before_its_turn_is_taken(seed: int, mirror: bool) -> None:
    pool = random_pool(seed, 2, 8)
    rows, signs = pick_covering(PENTANE, pool, 8, mirror=mirror)
    taken = [(r, s) for r, s in zip(rows.tolist(), signs.tolist(), strict=True) if r >= 0]
    assert len(set(taken)) == len(taken)
    for k, row in enumerate(rows.tolist()):
        assert row < 0 or (np.isfinite(pool.ranks_eV[row]) and pool.slot[row] <= k)
    there = np.isfinite(pool.ranks_eV) & (pool.slot == 0)
    assert (rows[0] >= 0) == there.any()


def test_what_repeats_conformers_comes_last_and_lowest_first() -> None:
    angles = np.array([[180, 180], [180, 180], [180, 180], [65, 180]])
    pool = pool_of(angles, np.array([0.1, 0.0, 0.2, 0.5]), np.zeros(4, int))
    rows, _ = pick_covering(PENTANE, pool, 6, mirror=False)
    assert rows.tolist() == [1, 3, 0, 2, -1, -1]


def test_mirror_images_are_taken_only_when_they_are_offered() -> None:
    pool = pool_of(np.array([[65.0, 180.0]]), np.zeros(1), np.zeros(1, int))
    assert pick_covering(PENTANE, pool, 2, mirror=True)[1].tolist() == [1.0, -1.0]
    assert pick_covering(PENTANE, pool, 2, mirror=False)[0].tolist() == [0, -1]


@pytest.mark.parametrize(
    "smiles", ["CCCCC", "c1ccccc1CCc1ccccc1", "CC(C)CNC(=O)c1ccc(F)cc1", "C1CCCCC1CO"]
)
@pytest.mark.parametrize("mirror", [False, True])
def test_distances_are_those_of_rdkit_over_all_symmetries(smiles: str, mirror: bool) -> None:
    molecule = Molecule.from_smiles(smiles)
    rng = np.random.default_rng(0)
    x = turned(molecule, rng.uniform(-180, 180, (6, TorsionTree.of(molecule).n_torsions)))
    found = distances_A(molecule, x, mirror=mirror)
    images = np.stack([x, x * [1, 1, -1]], 1).reshape(-1, *x.shape[1:]) if mirror else x
    wanted = rmsd_matrix(molecule, images, images)
    # ends that change places, such as two methyls of one carbon, count as their centre
    ends = any(len(group) > 1 for group in symmetries_of(molecule)[0])
    np.testing.assert_allclose(found, wanted, atol=0.5 if ends else 2e-4)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.95


def test_symmetries_are_few_however_many_a_graph_has() -> None:
    for smiles in ("C(F)(F)(F)c1ccc(C(C)(C)C)cc1", "C(c1ccccc1)(c1ccccc1)(c1ccccc1)c1ccccc1"):
        molecule = Molecule.from_smiles(smiles)
        groups, orders = symmetries_of(molecule)
        assert 1 < len(orders) <= MOST_SYMMETRIES
        assert len(np.unique(orders, axis=0)) == len(orders)
        assert len(groups) == orders.shape[1] == int((molecule.numbers > 1).sum())
    groups, orders = symmetries_of(Molecule.from_smiles("CC(=O)[O-]"))
    assert [len(g) for g in groups] == [1, 1, 2, 2] and len(orders) == 1


def test_torsions_of_the_picks_differ_where_candidates_do() -> None:
    pool = random_pool(3, 6, 10)
    rows, _ = pick_covering(PENTANE, pool, 10, mirror=False)
    angles = torsions(PENTANE).angles_deg(pool.positions_A[rows])
    kinds = torsions(PENTANE)
    new = [kinds.is_new(angles[k], angles[:k]) for k in range(len(angles))]
    assert sum(new) >= 6
