"""Candidates bred from others: what they keep, what is new in them, and that they follow
from the samples before them alone.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import equidrift
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.adapters.rdkit.relaxing import mmff_relax
from equidrift.checks.conditions import Known
from equidrift.checks.geometry import check_geometry
from equidrift.engine.candidates import Pool, free_torsions
from equidrift.engine.chain import Chain
from equidrift.engine.crossing import (
    FIRST,
    NEAREST_A,
    Wanted,
    candidates_of,
    crossing_of,
    generations,
)
from equidrift.geometry import dihedrals
from equidrift.records import Molecule
from equidrift.seeds import sample_seeds

CHIRAL = Molecule.from_smiles("C[C@H](O)CC(=O)N[C@@H](C)CCc1ccccc1")
STIFF = Molecule.from_smiles("c1ccc2ccccc2c1")
BLOCK_SEED = 1 << 41


def pool_of(molecule: Molecule, count: int = 4, each: int = 3) -> Pool:
    """Relaxed conformers as the candidates of the first samples of a block."""
    raw = ETKDGMMFF(max_iterations=0).sample(molecule, np.arange(count * each))
    positions_A, energies_eV = mmff_relax(molecule, raw)
    return Pool(positions_A, energies_eV, energies_eV, np.repeat(np.arange(count), each))


PARENTS = pool_of(CHIRAL)
LOW = [1, 4, 7, 10]


@given(st.lists(st.integers(1, 64), min_size=1, max_size=6))
def test_generations_hold_each_sample_once_when_a_block_is_drawn_in_parts(ends: list[int]) -> None:
    begin, held = 0, []
    for end in sorted(ends):
        for birth, first, stop in generations(begin, end):
            assert birth <= first < stop <= max(2 * birth, FIRST)
            held.extend(range(first, stop))
        begin = max(begin, end)
    assert held == list(range(max(ends)))


def test_crossed_candidates_keep_bonds_angles_and_chirality_and_are_all_new() -> None:
    crossing = crossing_of(CHIRAL)
    made, slot = crossing(PARENTS, BLOCK_SEED, range(4, 8), 3)
    assert 4 <= len(made) <= 12 and set(slot.tolist()) <= {4, 5, 6, 7}
    bonds = CHIRAL.bonds
    lengths = np.linalg.norm(made[:, bonds[:, 0]] - made[:, bonds[:, 1]], axis=-1)
    known = PARENTS.positions_A[:, bonds[:, 0]] - PARENTS.positions_A[:, bonds[:, 1]]
    known = np.linalg.norm(known, axis=-1)
    gaps = np.abs(lengths[:, None] - known[None]).max(-1).min(1)
    assert gaps.max() < 1e-9, "each has the bonds of one of its parents"
    angles_deg = [
        *crossing.kinds.angles_deg(PARENTS.positions_A),
        *crossing.kinds.angles_deg(made),
    ]
    for k in range(len(PARENTS.slot), len(angles_deg)):
        assert crossing.kinds.is_new(angles_deg[k], np.array(angles_deg[:k]))
    relaxed = mmff_relax(CHIRAL, made)[0]
    assert (check_geometry(CHIRAL, relaxed) == "").all()


@pytest.mark.parametrize("ends", [False, True])
def test_crossed_candidates_keep_what_is_held_where_it_is(ends: bool) -> None:
    crossing, held = crossing_of(CHIRAL), np.array([0, 1, 2, 3])
    if ends:  # a bond between two held parts is not turned
        held = np.array([0, 1, 2, 3, 6, 7])
    known = Known(CHIRAL, held, PARENTS.positions_A[0, held])
    alike = known.placed(np.repeat(PARENTS.positions_A[:1], len(PARENTS.slot), axis=0))
    rng = np.random.default_rng(0)
    free = free_torsions(crossing.tree, known)
    assert 0 < len(free) < crossing.tree.n_torsions + (not ends)
    turns = np.zeros((len(alike), crossing.tree.n_torsions))
    turns[:, free] = rng.uniform(-np.pi, np.pi, (len(alike), len(free)))
    x = known.placed(crossing.tree.turn(alike[0], turns))
    pool = Pool(x, PARENTS.energies_eV, PARENTS.ranks_eV, PARENTS.slot)
    made, slot = crossing(pool, BLOCK_SEED, range(4, 8), 3, known)
    assert len(made) == len(slot) > 0
    np.testing.assert_allclose(made[:, held], x[:1, held].repeat(len(made), axis=0), atol=1e-6)
    i, j = CHIRAL.bonds.T
    lengths, before = (np.linalg.norm(p[:, i] - p[:, j], axis=-1) for p in (made, x[:1]))
    assert np.abs(lengths - before).max() < 1e-4


def test_crossed_torsions_are_those_of_the_parents() -> None:
    made, _ = crossing_of(CHIRAL)(PARENTS, BLOCK_SEED, range(4, 8), 3)
    atoms = crossing_of(CHIRAL).tree.atoms
    gaps = dihedrals(made, atoms)[:, None] - dihedrals(PARENTS.positions_A, atoms)[None]
    assert np.abs((gaps + np.pi) % (2 * np.pi) - np.pi).min(1).max() < 1e-6


def test_crossed_candidates_have_no_close_contacts() -> None:
    crossing = crossing_of(CHIRAL)
    made, _ = crossing(PARENTS, BLOCK_SEED, range(4, 12), 4)
    apart = made[:, crossing.pairs[:, 0]] - made[:, crossing.pairs[:, 1]]
    assert np.linalg.norm(apart, axis=-1).min() > min(NEAREST_A)
    bound = {frozenset(pair) for pair in CHIRAL.bonds.tolist()}
    assert not bound & {frozenset(pair) for pair in crossing.pairs.tolist()}


def test_crossings_of_a_sample_follow_from_the_samples_before_it_alone() -> None:
    crossing = crossing_of(CHIRAL)
    whole, slot = crossing(PARENTS, BLOCK_SEED, range(4, 8), 3)
    fewer, whose = crossing(PARENTS, BLOCK_SEED, range(4, 6), 3)
    np.testing.assert_array_equal(whole[slot < 6], fewer)
    np.testing.assert_array_equal(slot[slot < 6], whose)
    other, _ = crossing(PARENTS, BLOCK_SEED + 64, range(4, 6), 3)
    assert len(other) != len(fewer) or np.abs(other - fewer).max() > 0.1


def test_parents_low_in_energy_are_taken_more_often() -> None:
    favoured = PARENTS.energies_eV.copy()
    favoured[:] = 5.0
    favoured[LOW] = 0.0
    pool = Pool(PARENTS.positions_A, favoured, favoured, PARENTS.slot)
    made, _ = crossing_of(CHIRAL)(pool, BLOCK_SEED, range(4, 8), 3)
    atoms = crossing_of(CHIRAL).tree.atoms
    gaps = dihedrals(made, atoms)[:, None] - dihedrals(pool.positions_A[LOW], atoms)[None]
    assert len(made) and np.abs((gaps + np.pi) % (2 * np.pi) - np.pi).min(1).max() < 1e-6


@pytest.mark.parametrize("spoilt", ["all", "none left but one"])
def test_nothing_is_crossed_when_there_are_no_two_sound_parents(spoilt: str) -> None:
    ranks = np.full(len(PARENTS.slot), np.inf)
    if spoilt != "all":
        ranks[0] = 0.0
    pool = Pool(PARENTS.positions_A, PARENTS.energies_eV, ranks, PARENTS.slot)
    made, slot = crossing_of(CHIRAL)(pool, BLOCK_SEED, range(4, 8), 3)
    assert made.shape == (0, CHIRAL.n_atoms, 3) and slot.shape == (0,)


def drawn(molecule: Molecule, parents: Pool | None) -> tuple[list[int], np.ndarray]:
    """The seeds that are drawn for samples 4 to 7 of a block, and the candidates' slots."""
    seeds: list[int] = []

    def draw(wanted: np.ndarray) -> np.ndarray:
        seeds.extend(wanted.tolist())
        return np.zeros((len(wanted), molecule.n_atoms, 3))

    _, slot = candidates_of(Wanted(BLOCK_SEED, 4, range(4, 8), 4), molecule, parents, draw)
    return seeds, slot


def test_a_sample_has_one_draw_of_its_own_and_is_given_the_rest_by_crossing() -> None:
    seeds, slot = drawn(CHIRAL, PARENTS)
    assert seeds[:4] == [BLOCK_SEED + k for k in range(4, 8)] and slot[:4].tolist() == [4, 5, 6, 7]
    assert 4 <= len(seeds) < 8 and len(set(seeds)) == len(seeds)
    assert np.bincount(slot, minlength=8)[4:].max() == 4


def test_stiff_molecules_get_one_further_draw_and_no_crossing() -> None:
    seeds, slot = drawn(STIFF, pool_of(STIFF))
    assert len(seeds) == len(set(seeds)) == 8 and np.bincount(slot)[4:].tolist() == [2] * 4


def test_large_rings_are_drawn_for_half_of_the_candidates() -> None:
    ring = Molecule.from_smiles("CCC(C)C1CCCCCCCCCCC1")
    assert crossing_of(ring).large_ring and not crossing_of(CHIRAL).large_ring
    assert not crossing_of(Molecule.from_smiles("C1CCC2CCCCC2C1")).large_ring
    seeds, slot = drawn(ring, pool_of(ring))
    assert np.bincount(slot)[4:].tolist() == [4] * 4 and 12 <= len(set(seeds)) < 16


def test_all_candidates_are_drawn_when_crossing_is_off() -> None:
    seeds, slot = drawn(CHIRAL, None)
    assert len(set(seeds)) == 16 and np.bincount(slot)[4:].tolist() == [4] * 4


@pytest.mark.long
def test_crossing_embeds_less_and_ends_no_higher_in_energy() -> None:
    """Sixteen conformers of each, by the mean of the lowest eight energies."""
    seeds = sample_seeds(0, 0, 16)
    embedded: dict[bool, int] = {}
    mean_eV: dict[bool, float] = {}
    for cross in (True, False):
        chain = Chain(refiner=None, select="energy", num_threads=1, cross=cross)
        count = 0
        original = chain.start.sample

        def counted(molecule: Molecule, seeds: np.ndarray) -> np.ndarray:
            nonlocal count
            count += len(seeds)
            return np.asarray(original(molecule, seeds))  # noqa: B023 - called in this turn

        chain.start.sample = counted  # type: ignore[assignment, method-assign]
        made = chain.sample(CHIRAL, seeds)
        embedded[cross] = count
        mean_eV[cross] = float(np.sort(mmff_relax(CHIRAL, made, 0)[1])[:8].mean())
    assert embedded[True] <= 0.6 * embedded[False]
    assert mean_eV[True] < mean_eV[False] + 0.03


@pytest.mark.parametrize(("cross", "told"), [(True, "drawn and crossed"), (False, "drawn")])
def test_provenance_tells_whether_candidates_are_crossed(cross: bool, told: str) -> None:
    options = {"select": "energy", "effort": 2, "num_threads": 1}
    ensemble = equidrift.sample("CCCCOC", 2, cross=cross, **options)
    assert ensemble.provenance["candidates"] == told
    assert ensemble.provenance["options"]["cross"] is cross
